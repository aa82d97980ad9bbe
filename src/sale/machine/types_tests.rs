use super::*;
use crate::sale::{Command, Details, Key, Remaining, ReservationId, SaleSpec, Status, Types, User};

fn lines(text: &str) -> Lines {
    Lines::from_text(text).unwrap()
}

fn sale(total: u64, types: &str) -> Machine {
    let types = Types::from_text(types).unwrap();
    Machine::new(SaleSpec { types, hold_ms: 1_000, ..SaleSpec::with_total(total) })
}

fn ask(n: u128, asked: &str, key: &str) -> Command {
    let lines = Lines::from_text(asked);
    Command::Reserve(Reserve {
        id: ReservationId(n),
        quantity: lines.as_ref().map_or(1, Lines::units),
        user: User::new("ann").ok(),
        key: Key::new(key).ok(),
        details: Details { lines, ..Details::default() }.boxed(),
        trace: None,
    })
}

fn granted(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Granted { .. })
}

fn short(name: &str, free: u64) -> Outcome {
    Outcome::TypeSoldOut { name: crate::sale::TypeName::new(name).unwrap(), free }
}

/// Held and confirmed, by type.
fn counts(sale: &Machine) -> String {
    TypeUnits::list_to_text(&sale.view().by_type)
}

#[test]
fn a_request_gets_all_its_lines_or_none() {
    let mut sale = sale(9, "adult:3,child:9");
    assert!(granted(sale.apply(0, &ask(1, "adult:2,child:1", ""))));
    assert_eq!(sale.apply(0, &ask(2, "adult:2,child:1", "")), short("adult", 1));
    assert_eq!((counts(&sale).as_str(), sale.free()), ("2:0,1:0", 6));
    // The total is shared: fewer units are left than the cap of the type allows.
    assert_eq!(sale.apply(0, &ask(3, "child:7", "")), Outcome::SoldOut { free: 6 });
    let free: Vec<_> = sale.view().types().map(|(.., free)| free).collect();
    assert_eq!(free, [1, 6]);
    assert!(granted(sale.apply(0, &ask(4, "adult:1,child:5", ""))));
    assert_eq!(sale.apply(0, &ask(5, "adult:1", "")), Outcome::SoldOut { free: 0 });
}

#[test]
fn lines_are_required_exactly_if_the_sale_has_types() {
    let mut typed = sale(9, "adult:3");
    assert_eq!(typed.apply(0, &ask(1, "", "")), Outcome::LinesRequired);
    let unknown = Outcome::UnknownType { name: crate::sale::TypeName::new("dog").unwrap() };
    assert_eq!(typed.apply(0, &ask(1, "adult:1,dog:1,eel:1", "")), unknown);
    let mut plain = Machine::new(SaleSpec::with_total(9));
    assert_eq!(plain.apply(0, &ask(1, "adult:1", "")), Outcome::LinesUnexpected);
    assert_eq!((typed.free(), plain.free()), (9, 9));
}

#[test]
fn the_same_key_with_other_lines_is_another_request() {
    let mut sale = sale(9, "adult:3,child:3");
    assert!(granted(sale.apply(0, &ask(1, "adult:1,child:1", "k"))));
    assert_eq!(sale.apply(0, &ask(2, "adult:2", "k")), Outcome::KeyReused);
    assert_eq!(sale.apply(0, &ask(2, "", "k")), Outcome::KeyReused);
    let to = Remaining::Lines(lines("child:1"));
    assert!(matches!(
        sale.apply(0, &Command::CancelTo(ReservationId(1), to)),
        Outcome::Reservation(_)
    ));
    assert_eq!(sale.apply(0, &ask(2, "child:1", "k")), Outcome::KeyReused);
    let again = sale.apply(0, &ask(2, "adult:1,child:1", "k"));
    assert!(matches!(again, Outcome::Replayed(first) if first.lines() == Some(&lines("child:1"))));
}

#[test]
fn all_lines_of_a_reservation_change_together() {
    let mut sale = sale(9, "adult:2,child:9");
    let id = ReservationId(1);
    assert!(granted(sale.apply(0, &ask(1, "adult:2,child:2", ""))));
    sale.apply(0, &Command::Extend(id, Some(2_000)));
    sale.apply(1_500, &Command::Expire { batch_max: 9 });
    assert_eq!(counts(&sale), "2:0,2:0", "it was extended");
    sale.apply(2_000, &Command::Expire { batch_max: 9 });
    assert_eq!(counts(&sale), "0:0,0:0");
    // Another reservation has one adult unit: a late confirmation would exceed the cap.
    assert!(granted(sale.apply(2_000, &ask(2, "adult:1", ""))));
    assert_eq!(sale.apply(2_000, &Command::Confirm(id)), Outcome::Expired);
    sale.apply(2_000, &Command::Cancel(ReservationId(2)));
    assert!(matches!(sale.apply(2_000, &Command::Confirm(id)), Outcome::Reservation(_)));
    assert_eq!(counts(&sale), "0:2,0:2");
    sale.apply(2_000, &Command::Refund(id));
    assert_eq!((counts(&sale).as_str(), sale.free()), ("0:0,0:0", 9));
}

#[test]
fn a_partial_cancel_never_restores_cancelled_lines() {
    let mut sale = sale(9, "adult:3,child:3");
    let id = ReservationId(1);
    sale.apply(0, &ask(1, "adult:2,child:2", ""));
    let to = |sale: &mut Machine, text: &str| {
        let remaining = Remaining::Lines(Lines::from_text(text).unwrap_or_default());
        match sale.apply(0, &Command::CancelTo(id, remaining)) {
            Outcome::Reservation(row) if row.status == Status::Cancelled => "cancelled".to_owned(),
            Outcome::Reservation(row) => row.lines().unwrap().to_text(),
            outcome => format!("{outcome:?}"),
        }
    };
    assert_eq!(to(&mut sale, "adult:3"), "RemainingTooLarge { quantity: 4 }");
    assert_eq!(to(&mut sale, "dog:1"), "RemainingTooLarge { quantity: 4 }");
    for _ in 0..2 {
        assert_eq!(to(&mut sale, "adult:1,child:2"), "adult:1,child:2");
        assert_eq!((counts(&sale).as_str(), sale.free()), ("1:0,2:0", 6));
    }
    // Cancelled lines do not come back, even if the request names more.
    assert_eq!(to(&mut sale, "adult:2,child:1"), "adult:1,child:1");
    let number = sale.apply(0, &Command::CancelTo(id, Remaining::Units(1)));
    assert_eq!(number, Outcome::LinesRequired);
    assert_eq!(to(&mut sale, "child:1"), "child:1");
    assert_eq!(to(&mut sale, "adult:1"), "cancelled", "that was all that is left of it");
    assert_eq!((counts(&sale).as_str(), sale.free()), ("0:0,0:0", 9));
}

#[test]
fn a_restored_sale_recounts_its_ticket_types() {
    let mut sale = sale(9, "adult:3,child:3");
    for n in 1..=3 {
        assert!(granted(sale.apply(0, &ask(n, "adult:1,child:1", ""))));
    }
    sale.apply(0, &Command::Confirm(ReservationId(1)));
    sale.apply(0, &Command::Cancel(ReservationId(2)));
    let mut restored = Machine::restore(sale.view().spec, 0);
    sale.rows().iter().for_each(|row| restored.restore_row(row.clone()));
    assert_eq!((counts(&sale).as_str(), counts(&restored).as_str()), ("1:1,1:1", "1:1,1:1"));
    assert_eq!(restored.apply(0, &ask(4, "adult:2", "")), short("adult", 1));
}
