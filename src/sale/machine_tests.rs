use super::*;
use crate::limits::{
    LIMIT_COUNT_LINES_MAX, LIMIT_COUNT_UNITS_MAX, QUANTITY_MAX, RETURNED_MAX_DEFAULT,
    RETURNED_PER_UNIT_DEFAULT, TIME_MS_MAX, TOTAL_MAX,
};
use crate::sale::{Key, Remaining, Terms, User};

fn id(n: u128) -> ReservationId {
    ReservationId(n)
}

fn ask(n: u128, quantity: u32, user: &str, key: &str) -> Command {
    Command::Reserve(Reserve {
        id: id(n),
        quantity,
        user: User::new(user).ok(),
        key: Key::new(key).ok(),
        details: None,
        trace: None,
    })
}

fn machine(total: u64, change: impl FnOnce(&mut SaleSpec)) -> Machine {
    let mut spec = SaleSpec { hold_ms: 1000, ..SaleSpec::with_total(total) };
    change(&mut spec);
    Machine::new(spec)
}

fn status(machine: &mut Machine, n: u128) -> Status {
    match machine.apply(0, &Command::ShowReservation(id(n))) {
        Outcome::Reservation(reservation) => reservation.status,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn sells_exactly_the_total() {
    let mut sale = machine(3, |_| ());
    for n in 0..3 {
        let granted = Outcome::Granted { expires_at_ms: 1005 };
        assert_eq!(sale.apply(5, &ask(n, 1, "", "")), granted);
    }
    assert_eq!(sale.apply(5, &ask(9, 1, "", "")), Outcome::SoldOut { free: 0 });
}

#[test]
fn a_smaller_request_gets_the_remaining_units() {
    let mut sale = machine(3, |_| ());
    assert_eq!(sale.apply(0, &ask(1, 4, "", "")), Outcome::SoldOut { free: 3 });
    assert!(matches!(sale.apply(0, &ask(2, 3, "", "")), Outcome::Granted { .. }));
}

#[test]
fn a_repeated_key_finds_its_reservation_after_sold_out_or_close() {
    let mut sale = machine(1, |_| ());
    assert!(matches!(sale.apply(0, &ask(1, 1, "ann", "k")), Outcome::Granted { .. }));
    assert!(matches!(sale.apply(0, &ask(2, 1, "ann", "k")), Outcome::Replayed(r) if r.id == id(1)));
    assert_eq!(sale.apply(0, &ask(3, 1, "bob", "k")), Outcome::SoldOut { free: 0 });
    sale.apply(1, &Command::Close);
    assert!(matches!(sale.apply(1, &ask(4, 1, "ann", "k")), Outcome::Replayed(r) if r.id == id(1)));
    assert_eq!(sale.apply(1, &ask(5, 1, "ann", "l")), Outcome::Closed);
}

#[test]
fn a_key_belongs_to_the_request_that_used_it_first() {
    let mut sale = Machine::new(SaleSpec::with_total(9));
    sale.apply(0, &ask(1, 2, "ann", "k"));
    for (n, quantity) in [(2, 1), (3, 3)] {
        assert_eq!(sale.apply(0, &ask(n, quantity, "ann", "k")), Outcome::KeyReused);
    }
    sale.apply(0, &Command::Cancel(id(1)));
    sale.apply(1, &Command::Close);
    assert_eq!(sale.apply(1, &ask(4, 1, "ann", "k")), Outcome::KeyReused);
    assert_eq!((sale.free(), sale.rows().len()), (9, 1));
}

#[test]
fn claims_keep_user_and_key_separate() {
    let mut sale = machine(9, |_| ());
    assert!(matches!(sale.apply(0, &ask(1, 1, "ab", "c")), Outcome::Granted { .. }));
    assert!(matches!(sale.apply(0, &ask(2, 1, "a", "bc")), Outcome::Granted { .. }));
    assert!(matches!(sale.apply(0, &ask(3, 1, "", "abc")), Outcome::Granted { .. }));
}

#[test]
fn a_limit_per_user_counts_units_and_requires_a_user() {
    let mut sale = machine(9, |spec| spec.limit_per_user = 2);
    let limit = Outcome::LimitReached { limit_per_user: 2 };
    assert_eq!(sale.apply(0, &ask(1, 1, "", "")), Outcome::UserRequired);
    assert_eq!(sale.apply(0, &ask(2, 3, "ann", "")), limit);
    assert!(matches!(sale.apply(0, &ask(3, 2, "ann", "")), Outcome::Granted { .. }));
    assert_eq!(sale.apply(0, &ask(4, 1, "ann", "")), limit);
    assert!(matches!(sale.apply(0, &ask(5, 1, "bob", "")), Outcome::Granted { .. }));
    sale.apply(0, &Command::Cancel(id(3)));
    assert!(matches!(sale.apply(0, &ask(6, 2, "ann", "")), Outcome::Granted { .. }));
}

#[test]
fn a_sale_opens_and_closes_by_clock_and_by_command() {
    let mut sale = machine(9, |spec| (spec.opens_at_ms, spec.closes_at_ms) = (100, 200));
    assert_eq!(sale.apply(99, &ask(1, 1, "", "")), Outcome::NotOpen { opens_at_ms: 100 });
    assert!(matches!(sale.apply(100, &ask(2, 1, "", "")), Outcome::Granted { .. }));
    assert_eq!(sale.apply(200, &ask(3, 1, "", "")), Outcome::Closed);
    sale.apply(201, &Command::Open);
    assert!(matches!(sale.apply(201, &ask(4, 1, "", "")), Outcome::Granted { .. }));
    sale.apply(202, &Command::Close);
    assert_eq!(sale.apply(202, &ask(5, 1, "", "")), Outcome::Closed);
}

#[test]
fn expiry_returns_units_once() {
    let mut sale = machine(2, |_| ());
    sale.apply(0, &ask(1, 1, "", ""));
    sale.apply(500, &ask(2, 1, "", ""));
    let expire = Command::Expire { batch_max: 10 };
    let released = |units, next_due_ms| Outcome::Released { units, more: false, next_due_ms };
    assert_eq!(sale.apply(999, &expire), released(0, Some(1000)));
    assert_eq!(sale.apply(1000, &expire), released(1, Some(1500)));
    assert_eq!(sale.apply(1000, &expire), released(0, Some(1500)));
    sale.apply(1001, &Command::Confirm(id(2)));
    assert_eq!(sale.apply(1001, &expire), released(0, None));
    assert_eq!((status(&mut sale, 1), status(&mut sale, 2)), (Status::Expired, Status::Confirmed));
    assert_eq!(sale.free(), 1);
}

#[test]
fn a_late_confirmation_succeeds_only_if_units_are_left() {
    let mut sale = machine(1, |_| ());
    sale.apply(0, &ask(1, 1, "", ""));
    sale.apply(1000, &Command::Expire { batch_max: 10 });
    assert!(matches!(sale.apply(1001, &ask(2, 1, "", "")), Outcome::Granted { .. }));
    assert_eq!(sale.apply(1002, &Command::Confirm(id(1))), Outcome::Expired);
    sale.apply(1003, &Command::Cancel(id(2)));
    assert!(matches!(sale.apply(1004, &Command::Confirm(id(1))), Outcome::Reservation(_)));
    assert_eq!(sale.view().confirmed, 1);
}

#[test]
fn confirm_is_idempotent_and_exclusive_with_cancel() {
    let mut sale = machine(2, |_| ());
    sale.apply(0, &ask(1, 1, "", ""));
    sale.apply(0, &ask(2, 1, "", ""));
    for _ in 0..2 {
        assert!(matches!(sale.apply(0, &Command::Confirm(id(1))), Outcome::Reservation(_)));
    }
    assert!(matches!(sale.apply(0, &Command::Cancel(id(2))), Outcome::Reservation(_)));
    assert_eq!(sale.apply(0, &Command::Cancel(id(2))), Outcome::AlreadyCancelled);
    assert_eq!(sale.apply(0, &Command::Cancel(id(1))), Outcome::AlreadyConfirmed);
    assert_eq!(sale.apply(0, &Command::Confirm(id(2))), Outcome::AlreadyCancelled);
    assert_eq!(sale.apply(0, &Command::Confirm(id(3))), Outcome::UnknownReservation);
    let view = sale.view();
    assert_eq!((view.held, view.confirmed, view.free()), (0, 1, 1));
}

#[test]
fn added_stock_sells_and_is_bounded() {
    let mut sale = machine(0, |_| ());
    assert_eq!(sale.apply(0, &ask(1, 1, "", "")), Outcome::SoldOut { free: 0 });
    sale.apply(0, &Command::AddStock(1));
    assert!(matches!(sale.apply(0, &ask(2, 1, "", "")), Outcome::Granted { .. }));
    assert_eq!(sale.apply(0, &Command::AddStock(TOTAL_MAX)), Outcome::TotalTooLarge);
    assert_eq!(sale.apply(0, &Command::AddStock(u64::MAX)), Outcome::TotalTooLarge);
}

#[test]
fn restoring_the_rows_rebuilds_the_same_machine() {
    let mut sale = machine(9, |spec| spec.limit_per_user = 1);
    for (n, user) in [(1, "ann"), (2, "bob"), (3, "cat"), (4, "dan")] {
        sale.apply(0, &ask(n, 1, user, "k"));
    }
    sale.apply(0, &Command::Confirm(id(1)));
    sale.apply(0, &Command::Cancel(id(2)));
    let mut copy = Machine::new(sale.view().spec);
    copy.restore_now(sale.view().now_ms);
    copy.reserve_rows(sale.rows().len());
    sale.rows().iter().cloned().for_each(|row| copy.restore_row(row));
    assert_eq!(copy.view(), sale.view());
    assert_eq!(copy.rows(), sale.rows());
    for machine in [&mut sale, &mut copy] {
        let limit = Outcome::LimitReached { limit_per_user: 1 };
        assert_eq!(machine.apply(1, &ask(9, 1, "cat", "")), limit);
        assert!(matches!(machine.apply(1, &ask(8, 1, "ann", "k")), Outcome::Replayed(_)));
        let released = Outcome::Released { units: 2, more: false, next_due_ms: None };
        assert_eq!(machine.apply(1000, &Command::Expire { batch_max: 9 }), released);
    }
}

#[test]
fn the_head_of_a_split_sale_sells_nothing() {
    let mut head = machine(9, |spec| spec.split = Split::Head { parts: 4 });
    assert_eq!(head.apply(0, &ask(1, 1, "ann", "k")), Outcome::Split { parts: 4 });
    assert_eq!(head.free(), 9);
}

#[test]
fn a_repeated_transfer_between_parts_moves_units_once() {
    let mut one = machine(5, |spec| spec.split = Split::Part { of: 2 });
    let mut other = machine(0, |spec| spec.split = Split::Part { of: 2 });
    one.apply(0, &ask(1, 2, "", ""));
    let give = Command::TransferOut { to: 2, gave: 0, units: 9 };
    for _ in 0..2 {
        assert_eq!(one.apply(0, &give), Outcome::Sent { gave: 3 }, "what is free, and once");
    }
    assert_eq!((one.free(), one.view().spec.total), (0, 2));
    for units in [3, 0] {
        assert_eq!(
            other.apply(0, &Command::TransferIn { from: 1, gave: 3 }),
            Outcome::Received { units }
        );
    }
    // A count older than the last received one is a late repetition.
    assert_eq!(
        other.apply(0, &Command::TransferIn { from: 1, gave: 1 }),
        Outcome::Received { units: 0 }
    );
    assert!(matches!(other.apply(0, &ask(2, 3, "", "")), Outcome::Granted { .. }));
    let places = [3, 9].map(|to| one.apply(0, &Command::TransferOut { to, gave: 0, units: 1 }));
    assert_eq!(places, [Outcome::NotSplit, Outcome::NotSplit]);
    let mut whole = machine(5, |_| ());
    assert_eq!(whole.apply(0, &Command::TransferIn { from: 0, gave: 1 }), Outcome::NotSplit);
}

fn change(terms: Terms) -> Command {
    Command::ChangeTerms(terms)
}

fn expiry_order(sale: &mut Machine, now_ms: u64) -> Vec<u128> {
    let mut order = Vec::new();
    while let Outcome::Released { units: 1.., .. } =
        sale.apply(now_ms, &Command::Expire { batch_max: 1 })
    {
        order.extend(sale.changed().iter().map(|&row| sale.rows()[row as usize].id.0));
    }
    order
}

#[test]
fn a_refund_returns_the_units_once_and_is_final() {
    let mut sale = machine(2, |spec| spec.limit_per_user = 1);
    sale.apply(0, &ask(1, 1, "ann", "k"));
    assert_eq!(sale.apply(1, &Command::Refund(id(1))), Outcome::NotConfirmed);
    sale.apply(1, &Command::Confirm(id(1)));
    for _ in 0..2 {
        match sale.apply(2, &Command::Refund(id(1))) {
            Outcome::Reservation(stands) => assert_eq!(stands.status, Status::Refunded),
            outcome => panic!("{outcome:?}"),
        }
        assert_eq!((sale.view().held, sale.view().confirmed, sale.free()), (0, 0, 2));
    }
    assert_eq!(sale.rows()[0].changed_at_ms, 2, "the second one changed nothing");
    assert_eq!(sale.apply(3, &Command::Confirm(id(1))), Outcome::AlreadyRefunded);
    assert_eq!(sale.apply(3, &Command::Cancel(id(1))), Outcome::AlreadyRefunded);
    // The claim keeps its reservation, and the user may buy again.
    assert!(matches!(sale.apply(3, &ask(2, 1, "ann", "k")), Outcome::Replayed(r) if r.id == id(1)));
    assert!(matches!(sale.apply(3, &ask(3, 1, "ann", "l")), Outcome::Granted { .. }));
    sale.apply(4, &Command::Cancel(id(3)));
    assert_eq!(sale.apply(4, &Command::Refund(id(3))), Outcome::AlreadyCancelled);
    sale.apply(5, &ask(4, 1, "bob", ""));
    sale.apply(2_000, &Command::Expire { batch_max: 9 });
    assert_eq!(sale.apply(2_000, &Command::Refund(id(4))), Outcome::Expired);
    assert_eq!(sale.apply(2_000, &Command::Refund(id(9))), Outcome::UnknownReservation);
}

#[test]
fn a_changed_hold_time_applies_to_later_reservations_only() {
    let mut sale = machine(9, |_| ());
    sale.apply(0, &ask(1, 1, "", ""));
    sale.apply(0, &change(Terms { hold_ms: Some(100), ..Terms::default() }));
    for (at_ms, n) in [(10, 2), (20, 3)] {
        assert_eq!(
            sale.apply(at_ms, &ask(n, 1, "", "")),
            Outcome::Granted { expires_at_ms: at_ms + 100 }
        );
    }
    sale.apply(30, &change(Terms { hold_ms: Some(5_000), ..Terms::default() }));
    sale.apply(30, &ask(4, 1, "", ""));
    sale.apply(30, &change(Terms { hold_ms: Some(970), ..Terms::default() }));
    sale.apply(30, &ask(5, 1, "", ""));
    assert_eq!(sale.next_due_ms(), Some(110));
    // A copy that is made of the rows expires them in the same order.
    let mut copy = Machine::restore(sale.view().spec, 30);
    sale.rows().iter().cloned().for_each(|row| copy.restore_row(row));
    for sale in [&mut sale, &mut copy] {
        assert_eq!(sale.deadline_count(), 5);
        assert_eq!(expiry_order(sale, 109), [0; 0]);
        assert_eq!(expiry_order(sale, 999), [2, 3]);
        assert_eq!(expiry_order(sale, 9_000), [1, 5, 4], "of two at one time the earlier row");
        assert_eq!((sale.next_due_ms(), sale.free()), (None, 9));
    }
}

#[test]
fn a_limit_added_later_counts_existing_reservations() {
    let mut sale = machine(9, |_| ());
    sale.apply(0, &ask(1, 3, "ann", ""));
    sale.apply(0, &ask(2, 1, "bob", ""));
    sale.apply(0, &ask(3, 1, "", ""));
    sale.apply(0, &Command::Confirm(id(1)));
    let limit = |n| change(Terms { limit_per_user: Some(n), ..Terms::default() });
    assert!(matches!(sale.apply(0, &limit(2)), Outcome::Sale(_)));
    let reached = Outcome::LimitReached { limit_per_user: 2 };
    assert_eq!(sale.apply(0, &ask(4, 1, "ann", "")), reached);
    assert_eq!(sale.apply(0, &ask(5, 2, "bob", "")), reached);
    assert_eq!(sale.apply(0, &ask(6, 1, "", "")), Outcome::UserRequired);
    assert!(matches!(sale.apply(0, &ask(7, 1, "bob", "")), Outcome::Granted { .. }));
    // A user above the limit keeps the units. Refunded units no longer count.
    sale.apply(0, &Command::Refund(id(1)));
    assert!(matches!(sale.apply(0, &ask(8, 2, "ann", "")), Outcome::Granted { .. }));
    sale.apply(0, &limit(0));
    assert!(matches!(sale.apply(0, &ask(9, 2, "bob", "")), Outcome::Granted { .. }));
    sale.apply(0, &limit(3));
    assert_eq!(
        sale.apply(0, &ask(10, 1, "bob", "")),
        Outcome::LimitReached { limit_per_user: 3 },
        "what was bought without a limit is counted as well"
    );
}

#[test]
fn a_limit_on_a_sale_too_large_to_count_is_refused() {
    let units = LIMIT_COUNT_UNITS_MAX + 1;
    let mut sale = machine(units, |spec| spec.quantity_max = QUANTITY_MAX);
    sale.apply(0, &ask(1, units as u32, "ann", ""));
    let terms = Terms { limit_per_user: Some(1), hold_ms: Some(7), ..Terms::default() };
    let before = sale.view();
    assert_eq!(sale.apply(0, &change(terms)), Outcome::TooManyToCount { units });
    assert_eq!(sale.view(), before);
    sale.apply(0, &Command::Cancel(id(1)));
    assert!(matches!(sale.apply(0, &change(terms)), Outcome::Sale(_)));
}

#[test]
fn terms_change_together_with_the_closing_time_or_not_at_all() {
    let mut sale = machine(9, |spec| (spec.opens_at_ms, spec.closes_at_ms) = (100, 200));
    let closes = |ms| Terms { closes_at_ms: Some(ms), ..Terms::default() };
    let early = Terms { quantity_max: Some(1), ..closes(100) };
    assert_eq!(sale.apply(150, &change(early)), Outcome::ClosesTooEarly { opens_at_ms: 100 });
    assert_eq!(sale.view().spec.quantity_max, 10);
    assert_eq!(sale.apply(250, &ask(1, 1, "", "")), Outcome::Closed);
    sale.apply(250, &change(Terms { quantity_max: Some(1), ..closes(300) }));
    assert!(matches!(sale.apply(250, &ask(2, 1, "", "")), Outcome::Granted { .. }));
    assert_eq!(sale.apply(250, &ask(3, 2, "", "")), Outcome::QuantityTooLarge { quantity_max: 1 });
    sale.apply(299, &change(closes(TIME_MS_MAX)));
    assert!(matches!(sale.apply(TIME_MS_MAX - 1, &ask(4, 1, "", "")), Outcome::Granted { .. }));
    sale.apply(300, &change(closes(101)));
    assert_eq!(sale.apply(300, &ask(5, 1, "", "")), Outcome::Closed);
}

#[test]
fn take_stock_takes_only_free_units() {
    let mut sale = machine(9, |_| ());
    sale.apply(0, &ask(1, 2, "", ""));
    sale.apply(0, &ask(2, 3, "", ""));
    sale.apply(0, &Command::Confirm(id(2)));
    let take = |units, at_most| Command::TakeStock { units, at_most };
    assert_eq!(sale.apply(0, &take(5, false)), Outcome::TooFewFree { free: 4 });
    let taken = |outcome| match outcome {
        Outcome::StockTaken { units, view } => (units, view.spec.total, view.free()),
        outcome => panic!("{outcome:?}"),
    };
    assert_eq!(taken(sale.apply(0, &take(1, false))), (1, 8, 3));
    assert_eq!(taken(sale.apply(0, &take(u64::MAX, true))), (3, 5, 0));
    assert_eq!(taken(sale.apply(0, &take(1, true))), (0, 5, 0));
    assert_eq!(sale.apply(0, &ask(3, 1, "", "")), Outcome::SoldOut { free: 0 });
}

fn hold_of(sale: &mut Machine, n: u128) -> (u32, u64) {
    match sale.apply(0, &Command::ShowReservation(id(n))) {
        Outcome::Reservation(found) => (found.quantity, found.expires_at_ms),
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn a_hold_is_extended_within_its_bound_and_never_shortened() {
    let mut sale = machine(9, |spec| {
        spec.hold_ms = 100;
        spec.rules.extend_max_ms = 150;
    });
    for n in 1..=3 {
        sale.apply(0, &ask(n, 1, "", ""));
    }
    let extend = |sale: &mut Machine, now_ms, n, hold_ms| {
        sale.apply(now_ms, &Command::Extend(id(n), hold_ms))
    };
    assert!(
        matches!(extend(&mut sale, 20, 1, None), Outcome::Reservation(r) if r.expires_at_ms == 120)
    );
    assert!(
        matches!(extend(&mut sale, 20, 1, Some(1)), Outcome::Reservation(r) if r.expires_at_ms == 120)
    );
    let limit = Outcome::ExtensionLimit { expires_at_ms_max: 250 };
    assert_eq!(extend(&mut sale, 20, 1, Some(231)), limit);
    assert!(matches!(extend(&mut sale, 20, 1, Some(230)), Outcome::Reservation(_)));
    assert_eq!(extend(&mut sale, 200, 1, None), limit, "from its first deadline on");
    // A reservation past its deadline can be extended until its units are returned.
    assert!(matches!(extend(&mut sale, 200, 3, Some(10)), Outcome::Reservation(_)));
    assert_eq!(expiry_order(&mut sale, 209), [2]);
    assert_eq!(expiry_order(&mut sale, 250), [3, 1]);
    assert_eq!(extend(&mut sale, 250, 1, None), Outcome::Expired);
    sale.apply(250, &ask(4, 1, "", ""));
    sale.apply(250, &Command::Confirm(id(4)));
    assert_eq!(extend(&mut sale, 250, 4, None), Outcome::AlreadyConfirmed);
    assert_eq!(extend(&mut sale, 250, 9, None), Outcome::UnknownReservation);
}

#[test]
fn extended_deadlines_are_the_same_after_a_restart() {
    let mut sale = machine(9, |spec| spec.hold_ms = 100);
    for n in 1..=4 {
        sale.apply(n as u64, &ask(n, 1, "", ""));
    }
    for (n, hold_ms) in [(1, 200), (2, 150), (1, 220)] {
        sale.apply(10, &Command::Extend(id(n), Some(hold_ms)));
    }
    let mut again = Machine::restore(sale.view().spec, sale.view().now_ms);
    sale.rows().iter().for_each(|row| again.restore_row(row.clone()));
    let of = |sale: &Machine| {
        let mut rows: Vec<_> = sale.deadlines().collect();
        rows.sort_unstable();
        rows
    };
    assert_eq!((of(&sale), of(&again)), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
    for sale in [&mut sale, &mut again] {
        assert_eq!(sale.next_due_ms(), Some(103));
        assert_eq!(expiry_order(sale, 1_000), [3, 4, 2, 1]);
    }
}

#[test]
fn an_extended_short_hold_does_not_expire_early() {
    let mut sale = machine(9, |spec| spec.hold_ms = 100);
    sale.apply(0, &ask(1, 1, "", ""));
    sale.apply(0, &change(Terms { hold_ms: Some(10), ..Terms::default() }));
    sale.apply(0, &ask(2, 1, "", ""));
    sale.apply(0, &ask(3, 1, "", ""));
    sale.apply(0, &Command::Extend(id(2), Some(60)));
    assert_eq!(expiry_order(&mut sale, 10), [3]);
    assert_eq!(sale.next_due_ms(), Some(60));
    assert_eq!(expiry_order(&mut sale, 100), [2, 1]);
}

#[test]
fn a_partial_cancel_or_refund_applies_once() {
    let mut sale = machine(9, |spec| spec.limit_per_user = 5);
    sale.apply(0, &ask(1, 5, "ann", "k"));
    let units = Remaining::Units;
    let to = |sale: &mut Machine, n| sale.apply(1, &Command::CancelTo(id(1), units(n)));
    let refund_to = |sale: &mut Machine, n| sale.apply(1, &Command::RefundTo(id(1), units(n)));
    assert_eq!(to(&mut sale, 6), Outcome::RemainingTooLarge { quantity: 5 });
    for _ in 0..2 {
        assert!(matches!(to(&mut sale, 3), Outcome::Reservation(r) if r.quantity == 3));
        assert_eq!((sale.free(), hold_of(&mut sale, 1).0), (6, 3));
    }
    // A late request for a larger remainder changes nothing.
    assert!(matches!(to(&mut sale, 5), Outcome::Reservation(r) if r.quantity == 3));
    assert_eq!(to(&mut sale, 6), Outcome::RemainingTooLarge { quantity: 3 });
    assert_eq!(sale.apply(1, &ask(2, 3, "ann", "")), Outcome::LimitReached { limit_per_user: 5 });
    assert!(matches!(sale.apply(1, &ask(3, 2, "ann", "")), Outcome::Granted { .. }));
    assert_eq!(refund_to(&mut sale, 1), Outcome::NotConfirmed);
    sale.apply(1, &Command::Confirm(id(1)));
    assert_eq!(to(&mut sale, 1), Outcome::AlreadyConfirmed);
    assert!(matches!(refund_to(&mut sale, 2), Outcome::Reservation(r) if r.quantity == 2));
    assert_eq!((sale.view().held, sale.view().confirmed, sale.free()), (2, 2, 5));
    // The key belongs to the original request for five units.
    assert_eq!(sale.apply(1, &ask(4, 2, "ann", "k")), Outcome::KeyReused);
    assert!(matches!(sale.apply(1, &ask(4, 5, "ann", "k")), Outcome::Replayed(_)));
    for _ in 0..2 {
        assert!(
            matches!(refund_to(&mut sale, 0), Outcome::Reservation(r) if r.status == Status::Refunded)
        );
    }
    assert_eq!(
        (refund_to(&mut sale, 1), to(&mut sale, 0)),
        (Outcome::AlreadyRefunded, Outcome::AlreadyRefunded)
    );
    for _ in 0..2 {
        let cancelled = sale.apply(1, &Command::CancelTo(id(3), units(0)));
        assert!(matches!(cancelled, Outcome::Reservation(r) if r.status == Status::Cancelled));
    }
    assert_eq!(sale.apply(1, &Command::CancelTo(id(3), units(1))), Outcome::AlreadyCancelled);
    assert_eq!(sale.free(), 9);
}

#[test]
fn the_rules_of_a_sale_bound_each_request() {
    let mut sale = machine(9, |spec| {
        spec.rules = Rules { quantity_min: 2, reservations_max: Some(2), ..Rules::default() };
        spec.limit_per_user = 4;
    });
    assert_eq!(sale.apply(0, &ask(1, 1, "ann", "")), Outcome::QuantityTooSmall { quantity_min: 2 });
    for n in [1, 2] {
        assert!(matches!(
            sale.apply(0, &ask(n, 2, "ann", "k")),
            Outcome::Granted { .. } | Outcome::Replayed(_)
        ));
        assert_eq!(sale.rows().len(), 1, "a repeated key makes none");
    }
    sale.apply(0, &Command::Cancel(id(1)));
    assert!(matches!(sale.apply(0, &ask(3, 2, "ann", "l")), Outcome::Granted { .. }));
    sale.apply(0, &Command::Cancel(id(3)));
    let exhausted = Outcome::ReservationsExhausted { reservations_max: 2 };
    assert_eq!(sale.apply(0, &ask(4, 2, "bob", "")), exhausted, "reserving and cancelling ends");
    assert!(matches!(sale.apply(0, &ask(4, 2, "ann", "l")), Outcome::Replayed(_)));
    let fewer = change(Terms { quantity_max: Some(1), ..Terms::default() });
    assert_eq!(sale.apply(0, &fewer), Outcome::QuantityMaxTooSmall { quantity_min: 2 });
    assert_eq!(sale.view().spec.quantity_max, SaleSpec::with_total(9).quantity_max);
}

#[test]
fn cancelled_reservations_count_toward_the_per_user_bound() {
    let mut sale = machine(9, |spec| spec.rules.reservations_per_user_max = 2);
    assert_eq!(sale.apply(0, &ask(1, 1, "", "")), Outcome::UserRequired);
    for n in [1, 2] {
        assert!(matches!(sale.apply(0, &ask(n, 1, "ann", "")), Outcome::Granted { .. }));
        sale.apply(0, &Command::Cancel(id(n)));
    }
    let exhausted = Outcome::UserReservationsExhausted { reservations_per_user_max: 2 };
    assert_eq!(sale.apply(0, &ask(3, 1, "ann", "")), exhausted);
    assert_eq!(
        sale.apply(0, &ask(3, 99, "ann", "")),
        Outcome::QuantityTooLarge { quantity_max: 10 }
    );
    assert!(matches!(sale.apply(0, &ask(3, 9, "bob", "k")), Outcome::Granted { .. }));
    assert!(matches!(sale.apply(0, &ask(4, 9, "bob", "k")), Outcome::Replayed(_)));
    assert_eq!(sale.apply(0, &ask(4, 1, "bob", "l")), Outcome::SoldOut { free: 0 });
    let made = |sale: &Machine| {
        let mut made: Vec<_> =
            sale.made_by_user().map(|(user, made)| (user.to_owned(), made)).collect();
        made.sort();
        made
    };
    assert_eq!(made(&sale), [("ann".to_owned(), 2), ("bob".to_owned(), 1)]);
    let mut copy = Machine::restore(sale.view().spec, 0);
    sale.rows().iter().for_each(|row| copy.restore_row(row.clone()));
    assert_eq!(made(&copy), made(&sale));
    assert_eq!(copy.apply(0, &ask(5, 1, "ann", "")), exhausted);
}

#[test]
fn a_sale_without_its_own_bound_ends_after_too_many_returns() {
    let mut sale = machine(2, |_| {});
    let row = |n: u64, status| {
        let mut sale = machine(2, |_| {});
        sale.apply(0, &ask(1, 1, "", ""));
        let made = sale.rows()[0].clone();
        Row { id: id(1_000 + u128::from(n)), status, expires_at_ms: TIME_MS_MAX, ..made }
    };
    let gone = row(0, Status::Cancelled);
    for n in 1..RETURNED_MAX_DEFAULT {
        sale.restore_row(Row { id: id(1_000 + u128::from(n)), ..gone.clone() });
    }
    sale.restore_row(row(0, Status::Held));
    assert!(matches!(sale.apply(0, &ask(1, 1, "ann", "k")), Outcome::Granted { .. }));
    sale.apply(0, &Command::Cancel(id(1)));
    let exhausted = Outcome::ReservationsExhausted { reservations_max: RETURNED_MAX_DEFAULT };
    assert_eq!(sale.apply(0, &ask(2, 1, "ann", "")), exhausted);
    assert!(matches!(sale.apply(0, &ask(2, 1, "ann", "k")), Outcome::Replayed(_)));
    assert!(matches!(sale.apply(0, &Command::Confirm(id(1_000))), Outcome::Reservation(_)));
    // A larger total allows more returns.
    let enough = RETURNED_MAX_DEFAULT / RETURNED_PER_UNIT_DEFAULT;
    sale.apply(0, &Command::AddStock(enough));
    assert!(matches!(sale.apply(0, &ask(2, 1, "ann", "")), Outcome::Granted { .. }));
    sale.apply(0, &Command::TakeStock { units: 3, at_most: false });
    assert_eq!(sale.apply(0, &ask(3, 1, "ann", "")), exhausted);
}

#[test]
fn a_late_confirmation_is_not_counted_as_returned() {
    let mut sale = machine(9, |spec| spec.hold_ms = 5);
    for n in 1..5 {
        sale.apply(0, &ask(n, 1, "", ""));
    }
    sale.apply(0, &Command::Confirm(id(1)));
    sale.apply(0, &Command::Refund(id(1)));
    sale.apply(0, &Command::CancelTo(id(2), Remaining::Units(0)));
    sale.apply(9, &Command::Expire { batch_max: 9 });
    assert_eq!(sale.returned, 4);
    sale.apply(9, &Command::Confirm(id(3)));
    sale.apply(9, &Command::Confirm(id(3)));
    assert_eq!(sale.returned, 3);
    let mut copy = Machine::restore(sale.view().spec, 0);
    sale.rows().iter().for_each(|row| copy.restore_row(row.clone()));
    assert_eq!(copy.returned, 3);
}

#[test]
fn bounds_added_later_count_earlier_reservations() {
    let mut sale = machine(9, |_| {});
    for (n, user) in [(1, "ann"), (2, "ann"), (3, "")] {
        sale.apply(0, &ask(n, 1, user, ""));
        sale.apply(0, &Command::Cancel(id(n)));
    }
    let min = |n| Terms { quantity_min: Some(n), ..Terms::default() };
    let plain = sale.view();
    let too_large = Outcome::QuantityMinTooLarge { quantity_max: 10 };
    assert_eq!(sale.apply(0, &change(Terms { hold_ms: Some(7), ..min(11) })), too_large);
    assert_eq!(sale.view(), plain, "all or nothing");
    let terms = Terms {
        reservations_max: Some(Some(5)),
        reservations_per_user_max: Some(2),
        extend_max_ms: Some(0),
        ..min(2)
    };
    assert!(matches!(sale.apply(0, &change(terms)), Outcome::Sale(_)));
    assert_eq!(sale.apply(0, &ask(4, 1, "bob", "")), Outcome::QuantityTooSmall { quantity_min: 2 });
    let exhausted = Outcome::UserReservationsExhausted { reservations_per_user_max: 2 };
    assert_eq!(sale.apply(0, &ask(4, 2, "ann", "")), exhausted);
    assert!(matches!(sale.apply(0, &ask(4, 2, "bob", "")), Outcome::Granted { .. }));
    assert!(matches!(
        sale.apply(0, &Command::Extend(id(4), Some(TIME_MS_MAX))),
        Outcome::ExtensionLimit { .. }
    ));
    assert!(matches!(sale.apply(0, &ask(5, 2, "bob", "")), Outcome::Granted { .. }));
    let exhausted = Outcome::ReservationsExhausted { reservations_max: 5 };
    assert_eq!(sale.apply(0, &ask(6, 2, "eve", "")), exhausted);
    let none = Terms {
        reservations_max: Some(None),
        reservations_per_user_max: Some(0),
        extend_max_ms: Some(plain.spec.rules.extend_max_ms),
        ..min(1)
    };
    sale.apply(0, &change(none));
    assert_eq!(sale.view().spec, plain.spec);
    assert_eq!(sale.made_by_user().count(), 0);
    assert!(matches!(sale.apply(0, &ask(6, 1, "", "")), Outcome::Granted { .. }));
}

#[test]
fn a_reservation_bound_cannot_be_added_to_a_large_sale() {
    let quantity = LIMIT_COUNT_UNITS_MAX as u32 + 1;
    let mut sale = machine(u64::from(quantity), |spec| spec.quantity_max = quantity);
    let all = Terms { reservations_max: Some(Some(9)), ..Terms::default() };
    let one = Terms { reservations_per_user_max: Some(9), ..Terms::default() };
    sale.apply(0, &ask(1, quantity, "", ""));
    for terms in [all, one] {
        let units = quantity.into();
        assert_eq!(sale.apply(0, &change(terms)), Outcome::TooManyToCount { units });
    }
    sale.apply(0, &Command::Cancel(id(1)));
    let gone = sale.rows()[0].clone();
    for n in 2..=u128::from(LIMIT_COUNT_LINES_MAX) {
        sale.restore_row(Row { id: id(n), ..gone.clone() });
    }
    let mut more = Machine::restore(sale.view().spec, 0);
    sale.rows().iter().for_each(|row| more.restore_row(row.clone()));
    more.restore_row(Row { id: id(1 << 64), ..gone });
    for terms in [all, one] {
        assert_eq!(more.apply(0, &change(terms)), Outcome::TooManyToCount { units: 0 });
        assert!(matches!(sale.apply(0, &change(terms)), Outcome::Sale(_)));
    }
    // A bound that exists already changes without a count.
    assert!(matches!(
        sale.apply(0, &ask(1 << 64, 1, "ann", "")),
        Outcome::ReservationsExhausted { .. }
    ));
    let more = Terms { reservations_max: Some(Some(1 << 30)), ..Terms::default() };
    assert!(matches!(sale.apply(0, &change(more)), Outcome::Sale(_)));
    assert!(matches!(sale.apply(0, &ask(1 << 64, 1, "ann", "")), Outcome::Granted { .. }));
}

#[test]
fn a_split_sale_cannot_bound_all_its_reservations() {
    let mut part = machine(9, |spec| spec.split = Split::Part { of: 2 });
    let all = |max| change(Terms { reservations_max: Some(max), ..Terms::default() });
    assert_eq!(part.apply(0, &all(Some(1))), Outcome::BoundOfParts);
    for max in [Some(0), None] {
        assert!(matches!(part.apply(0, &all(max)), Outcome::Sale(_)));
    }
    let one = Terms { reservations_per_user_max: Some(1), ..Terms::default() };
    assert!(matches!(part.apply(0, &change(one)), Outcome::Sale(_)));
}
