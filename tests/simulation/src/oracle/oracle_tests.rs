//! A broken promise of each kind must be found, and a kept one must not be.

use super::testing::{Stage, ask, ask_tagged, buy, granted, machine_of, sale};
use super::*;
use crate::call::Purchase;
use crate::time::SECOND;
use stampede::purchase::{LinesReason, RejectReason};
use stampede::sale::{
    Creation, Reservation, ReservationId, SaleSpec, SaleView, Split, Status, TypeName,
};

const ID: ReservationId = ReservationId(7);

const NONE: &[&str] = &[];
const TRUTH: &[&str] = &["I6 truth"];
const LATE: &[&str] = &["I7 pay late"];
const DURABLE: &[&str] = &["I3 durable"];

fn refused(reason: RejectReason) -> Told {
    Told::Purchase(Purchase::Rejected(reason))
}

fn sold_out(free: u64) -> Told {
    refused(RejectReason::SoldOut { free })
}

/// A sale of two units, both of which ann has from 1,000 to 2,000 ms.
fn stage() -> Stage {
    let mut stage = Stage::begin(SaleSpec { hold_ms: 60_000, ..SaleSpec::with_total(2) });
    stage.ask(990, 1, buy("ann", "k", 2));
    let bought = stage.run(1_000, &ask_tagged(1, 7, 2, "ann", "k"));
    stage.tell(1_010, 1, granted(7, 2, "ann", &bought));
    stage.run(2_000, &Command::Cancel(ID));
    assert_eq!(stage.names(), [""; 0]);
    stage
}

#[test]
fn a_ledger_that_sells_one_more_is_found() {
    let mut stage = Stage::begin(SaleSpec::with_total(1));
    stage.run(1, &ask(1, 1, "", ""));
    let granted = Outcome::Granted { expires_at_ms: stage.now_ms(2) + 300_000 };
    stage.say(2, &ask(2, 1, "", ""), &granted);
    assert_eq!(stage.names(), ["I1 never oversell"]);
    stage.say(3, &ask(3, 1, "", ""), &granted);
    assert_eq!(stage.names().len(), 1, "the sale is not looked at any more");
}

#[test]
fn a_ledger_that_sells_one_fewer_is_found() {
    let mut stage = Stage::begin(SaleSpec::with_total(1));
    stage.say(2, &ask(2, 1, "", ""), &Outcome::SoldOut { free: 0 });
    assert_eq!(stage.names(), ["I6 truth"]);
}

#[test]
fn a_claim_that_is_not_looked_up_is_found() {
    let mut stage = Stage::begin(SaleSpec::with_total(9));
    stage.run(1, &ask(1, 1, "ann", "k"));
    let granted = Outcome::Granted { expires_at_ms: stage.now_ms(2) + 300_000 };
    stage.say(2, &ask(2, 1, "ann", "k"), &granted);
    assert_eq!(stage.names(), ["I4 exactly once"]);
}

#[test]
fn counters_that_are_not_those_of_the_rows_are_found() {
    let mut stage = stage();
    let id = stage.sale.clone();
    stage.oracle.counters(&id, 2, 0, 0);
    assert_eq!(stage.names(), [""; 0]);
    stage.oracle.counters(&id, 3, 0, 0);
    assert_eq!(stage.names(), ["I2 conserve"]);
}

#[test]
fn sold_out_is_true_up_to_400_ms_later_and_with_a_key_at_once() {
    for (key, asked_ms, told_ms, free, names) in [
        ("", 1_100, 1_200, 0, NONE),
        ("", 2_300, 2_390, 0, NONE),
        ("", 2_410, 2_420, 0, TRUTH),
        ("", 1_500, 9_000, 0, NONE),
        ("", 100, 200, 0, TRUTH),
        ("k", 1_100, 1_200, 0, NONE),
        ("k", 2_300, 2_310, 0, TRUTH),
        ("", 1_100, 1_200, 1, TRUTH),
        ("", 3_000, 3_001, 2, TRUTH),
    ] {
        let mut stage = stage();
        stage.ask(asked_ms, 2, buy("bob", key, 1));
        stage.tell(told_ms, 2, sold_out(free));
        assert_eq!(stage.names(), names, "{key} {asked_ms} {told_ms} {free}");
    }
}

#[test]
fn a_clock_that_is_old_makes_an_answer_older() {
    let mut stage = stage();
    stage.oracle.asked(2_410 * MS, 20 * MS, CallId(2), &buy("bob", "", 1));
    stage.tell(2_420, 2, sold_out(0));
    assert_eq!(stage.names(), [""; 0]);
}

#[test]
fn other_refusals_are_true_only_if_the_ledger_gave_them() {
    let limit = RejectReason::LimitReached { limit_per_user: 1 };
    let early = |opens_at_ms| RejectReason::NotOpen { opens_at_ms };
    for reason in [
        limit,
        early(5),
        RejectReason::Closed,
        RejectReason::UserRequired,
        RejectReason::QuantityTooLarge { quantity_max: 10 },
        RejectReason::QuantityTooSmall { quantity_min: 1 },
        RejectReason::ReservationsExhausted { reservations_max: 9 },
        RejectReason::UserReservationsExhausted { reservations_per_user_max: 9 },
        RejectReason::KeyReused,
        RejectReason::UnknownSale,
        RejectReason::AllowanceExhausted,
        RejectReason::Damaged,
    ] {
        let mut stage = stage();
        stage.ask(3_000, 2, buy("bob", "l", 1));
        stage.tell(3_001, 2, refused(reason));
        assert_eq!(stage.names(), ["I6 truth"], "{reason:?}");
    }
    for lines in [
        LinesReason::Required,
        LinesReason::SoldOut { name: TypeName::new("adult").unwrap(), free: 0 },
    ] {
        let mut stage = stage();
        stage.ask(3_000, 2, buy("bob", "l", 1));
        stage.tell(3_001, 2, Told::Purchase(Purchase::Lines(lines)));
        assert_eq!(stage.names(), ["I6 truth"]);
    }
}

#[test]
fn a_refusal_of_the_ledger_is_passed_on() {
    let spec = SaleSpec { limit_per_user: 1, ..SaleSpec::with_total(9) };
    let mut stage = Stage::begin(spec);
    stage.ask(1, 1, buy("bob", "", 2));
    stage.run(2, &ask_tagged(1, 7, 2, "bob", ""));
    stage.tell(3, 1, refused(RejectReason::LimitReached { limit_per_user: 1 }));
    stage.run(4, &Command::Close);
    stage.ask(5, 2, buy("bob", "", 2));
    stage.tell(6, 2, refused(RejectReason::Closed));
    stage.run(7, &Command::Remove);
    stage.ask(8, 3, buy("bob", "", 2));
    stage.tell(9, 3, refused(RejectReason::UnknownSale));
    assert_eq!(stage.names(), [""; 0]);
    let settings = Settings { stock: Some(3), ..Settings::default() };
    let mut stage = Stage::with(settings, SaleSpec::with_total(9));
    stage.ask(1, 1, buy("bob", "", 2));
    stage.tell(3, 1, refused(RejectReason::AllowanceExhausted));
    assert_eq!(stage.names(), [""; 0]);
}

#[test]
fn the_answer_of_one_part_is_not_that_of_the_sale() {
    for (units, names) in [(2, TRUTH), (0, NONE)] {
        let split = Split::Head { parts: 2 };
        let mut stage = Stage::begin(SaleSpec { split, ..SaleSpec::with_total(units) });
        let spec = SaleSpec { split: Split::Part { of: 2 }, ..SaleSpec::with_total(0) };
        for number in [1, 2] {
            let (spec, creation) = (spec.clone(), Creation(5));
            let part = sale("s").part(number, 2).unwrap();
            stage.run_at(&part, 0, &Command::CreatePart { spec, creation });
        }
        stage.ask(1_000, 1, buy("", "", 1));
        let part = sale("s").part(1, 2).unwrap();
        let answer = stage.run_at(&part, 1_001, &ask_tagged(1, 7, 1, "", ""));
        assert_eq!(answer, Outcome::SoldOut { free: 0 });
        stage.tell(1_002, 1, sold_out(0));
        assert_eq!(stage.names(), names);
    }
}

#[test]
fn a_grant_that_the_ledger_did_not_make_is_found() {
    let mut stage = Stage::begin(SaleSpec::with_total(9));
    let granted_until = Outcome::Granted { expires_at_ms: stage.now_ms(2) + 300_000 };
    stage.ask(1, 1, buy("ann", "", 1));
    stage.tell(2, 1, granted(7, 1, "ann", &granted_until));
    assert_eq!(stage.names(), ["I4 exactly once"]);
    // Of another id, of other units, until another time.
    for (id, quantity, later_ms) in [(8, 1, 0), (7, 2, 0), (7, 1, 1)] {
        let mut stage = Stage::begin(SaleSpec::with_total(9));
        stage.ask(1, 1, buy("ann", "", 1));
        stage.run(2, &ask_tagged(1, 7, 1, "ann", ""));
        let expires_at_ms = stage.now_ms(2) + 300_000 + later_ms;
        stage.tell(3, 1, granted(id, quantity, "ann", &Outcome::Granted { expires_at_ms }));
        assert_eq!(stage.names(), ["I4 exactly once"], "{id} {quantity} {later_ms}");
    }
}

#[test]
fn a_replay_shows_what_the_key_has_and_nothing_older() {
    let replay = |stage: &mut Stage, asked_ms: u64, row: Reservation, key: &str| {
        stage.ask(asked_ms, 2, buy("ann", key, 2));
        stage.run(asked_ms + 1, &ask_tagged(2, 8, 2, "ann", "k"));
        stage.tell(asked_ms + 2, 2, Told::Purchase(Purchase::Replayed(Box::new(row))));
    };
    let now = |stage: &Stage| stage.oracle.place(&stage.sale).unwrap().rows()[&ID].shown();
    let mut right = stage();
    let row = now(&right);
    assert_eq!(row.status, Status::Cancelled);
    replay(&mut right, 3_000, row.clone(), "k");
    assert_eq!(right.names(), [""; 0]);
    let mut old = stage();
    replay(&mut old, 3_000, Reservation { status: Status::Held, ..row.clone() }, "k");
    assert_eq!(old.names(), ["I4 exactly once"]);
    let mut other = stage();
    replay(&mut other, 3_000, Reservation { id: ReservationId(99), ..row }, "k");
    assert_eq!(other.names(), ["I4 exactly once"]);
}

#[test]
fn a_claim_that_was_found_is_shown() {
    let mut stage = stage();
    let Command::Reserve(reserve) = ask_tagged(2, 0, 2, "ann", "k") else { unreachable!() };
    stage.ask(3_000, 2, buy("ann", "k", 2));
    let found = stage.run(3_001, &Command::FindClaim(reserve, Creation::UNKNOWN));
    assert_eq!(found, Outcome::Claimed(ID));
    let Outcome::Reservation(row) = stage.run(3_002, &Command::ShowReservation(ID)) else {
        unreachable!()
    };
    stage.tell(3_003, 2, Told::Purchase(Purchase::Replayed(row)));
    assert_eq!(stage.names(), [""; 0]);
}

#[test]
fn an_answer_about_a_reservation_is_one_that_the_ledger_gave_meanwhile() {
    let ask_about = |stage: &mut Stage, told: Told| {
        let sale = stage.sale.clone();
        stage.ask(3_000, 2, Call::Confirm { sale, id: ID });
        let answer = stage.run(3_001, &Command::Confirm(ID));
        assert_eq!(answer, Outcome::AlreadyCancelled);
        stage.tell(3_002, 2, told);
    };
    let mut right = stage();
    ask_about(&mut right, Told::Reservation(Outcome::AlreadyCancelled));
    assert_eq!(right.names(), [""; 0]);
    for outcome in [Outcome::Expired, Outcome::UnknownReservation, Outcome::AlreadyRefunded] {
        let mut wrong = stage();
        ask_about(&mut wrong, Told::Reservation(outcome));
        assert_eq!(wrong.names(), ["I7 pay late"]);
    }
    let mut late = stage();
    let sale = late.sale.clone();
    late.ask(3_000, 2, Call::Cancel { sale, id: ID });
    late.tell(3_002, 2, Told::Reservation(Outcome::AlreadyCancelled));
    assert_eq!(late.names(), ["I6 truth"], "the ledger was not asked");
}

#[test]
fn a_late_payment_is_refused_only_if_no_part_has_the_units() {
    for (left, names) in [(1, LATE), (0, NONE)] {
        let split = Split::Head { parts: 2 };
        let mut stage = Stage::begin(SaleSpec { split, ..SaleSpec::with_total(1 + left) });
        let split = Split::Part { of: 2 };
        let spec = SaleSpec { split, hold_ms: 10, ..SaleSpec::with_total(0) };
        let part = sale("s").part(1, 2).unwrap();
        for number in [1, 2] {
            let (spec, creation) = (spec.clone(), Creation(5));
            let part = sale("s").part(number, 2).unwrap();
            stage.run_at(&part, 0, &Command::CreatePart { spec, creation });
        }
        stage.run(1, &Command::TransferOut { to: 1, gave: 0, units: 1 });
        stage.run_at(&part, 2, &Command::TransferIn { from: 0, gave: 1 });
        stage.run_at(&part, 3, &ask(7, 1, "", ""));
        stage.run_at(&part, 20, &Command::Expire { batch_max: 9 });
        stage.run_at(&part, 21, &ask(8, 1, "", ""));
        stage.ask(1_000, 2, Call::Confirm { sale: part.clone(), id: ID });
        assert_eq!(stage.run_at(&part, 1_001, &Command::Confirm(ID)), Outcome::Expired);
        stage.tell(1_002, 2, Told::Reservation(Outcome::Expired));
        assert_eq!(stage.names(), names);
    }
}

#[test]
fn a_sale_is_shown_as_it_was_100_ms_ago_at_most() {
    let view = stage().view();
    let half = SaleView { held: 2, ..view.clone() };
    for (asked_ms, shown, names) in [
        (3_000, Some(&view), NONE),
        (2_050, Some(&half), NONE),
        (2_150, Some(&half), TRUTH),
        (3_000, None, TRUTH),
    ] {
        let mut stage = stage();
        stage.ask(asked_ms, 2, Call::View { sale: stage.sale.clone() });
        stage.tell(asked_ms + 1, 2, Told::View(shown.cloned().map(Box::new)));
        assert_eq!(stage.names(), names, "{asked_ms} {shown:?}");
    }
}

#[test]
fn a_script_of_an_earlier_term_is_found_and_a_plain_read_is_not() {
    let mut stage = Stage::begin(SaleSpec::with_total(9));
    let mut run = |at_ms: u64, term: u64, command: Command| {
        let (id, now_ms) = (stage.sale.clone(), stage.now_ms(at_ms));
        let origin = Origin { node: Node(0), term: Some(term) };
        stage.oracle.executed_unheard(at_ms * MS, origin, &id, now_ms, &command);
        stage.names()
    };
    assert_eq!(run(1, 2, ask(1, 1, "", "")), [""; 0]);
    assert_eq!(run(2, 3, Command::Show), [""; 0]);
    assert_eq!(run(3, 2, Command::Peek { parts: 0 }), [""; 0]);
    assert_eq!(run(4, 2, ask(2, 1, "", "")), ["F fence"]);
}

#[test]
fn a_restart_may_lose_only_what_nobody_was_told() {
    for (is_told, names) in [(false, NONE), (true, DURABLE)] {
        let mut stage = Stage::begin(SaleSpec { hold_ms: 1_000, ..SaleSpec::with_total(3) });
        stage.ask(0, 1, buy("ann", "k", 1));
        let bought = stage.run(1, &ask_tagged(1, 7, 1, "ann", "k"));
        match is_told {
            true => stage.tell(2, 1, granted(7, 1, "ann", &bought)),
            false => stage.tell(2, 1, Told::Nothing),
        }
        let machine = machine_of(3, 1_000, &[]);
        let id = stage.sale.clone();
        assert_eq!(stage.oracle.recovered(3, &id, Some(&machine)), 1);
        stage.oracle.end(9 * SECOND);
        assert_eq!(stage.names(), names);
    }
    let mut stage = Stage::begin(SaleSpec::with_total(3));
    let id = stage.sale.clone();
    stage.oracle.recovered(3, &id, None);
    assert_eq!(stage.names(), [""; 0], "it was not there before it was created");
    let machine = machine_of(4, 1_000, &[]);
    stage.oracle.recovered(4, &id, Some(&machine));
    assert_eq!(stage.names(), ["I3 durable"]);
}

#[test]
fn a_failover_may_forget_what_the_settings_allow() {
    for (may_forget, names) in [(true, NONE), (false, DURABLE)] {
        let mut stage = Stage::begin(SaleSpec::with_total(3));
        stage.ask(0, 1, buy("ann", "k", 1));
        let bought = stage.run(1, &ask_tagged(1, 7, 1, "ann", "k"));
        stage.tell(2, 1, granted(7, 1, "ann", &bought));
        let id = stage.sale.clone();
        assert_eq!(stage.oracle.position(Node(0), &id), 2);
        stage.oracle.copied(3_000, &id, (Node(0), Node(1)), 1, may_forget);
        // The new primary sells the unit again, to the same key.
        let (at, now_ms) = (4 * MS, stage.now_ms(4));
        let origin = Origin { node: Node(1), term: None };
        stage.ask(3, 2, buy("ann", "k", 1));
        let command = ask_tagged(2, 8, 1, "ann", "k");
        let bought = stage.oracle.executed_unheard(at, origin, &id, now_ms, &command);
        if may_forget {
            stage.tell(5, 2, granted(8, 1, "ann", &bought));
        } else {
            stage.tell(5, 2, Told::Nothing);
        }
        stage.oracle.end(9 * SECOND);
        assert_eq!(stage.names(), names);
    }
}

#[test]
fn a_former_primary_must_not_be_believed_unless_the_settings_allow_it() {
    for (may_forget, names) in [(true, NONE), (false, DURABLE)] {
        let mut stage = Stage::begin(SaleSpec::with_total(3));
        let id = stage.sale.clone();
        stage.oracle.copied(1_000, &id, (Node(0), Node(1)), 1, may_forget);
        stage.ask(2, 1, buy("ann", "", 1));
        let (origin, now_ms) = (Origin::default(), stage.now_ms(3));
        let command = ask_tagged(1, 7, 1, "ann", "");
        let bought = stage.oracle.executed_unheard(3 * MS, origin, &id, now_ms, &command);
        stage.tell(4, 1, granted(7, 1, "ann", &bought));
        stage.oracle.end(9 * SECOND);
        assert_eq!(stage.names(), names);
    }
}

#[test]
fn an_evicted_sale_owes_nothing_and_may_begin_again() {
    let (old, mut stage) = (stage().view(), stage());
    let id = stage.sale.clone();
    stage.oracle.lost_by_setting(3 * SECOND, &id);
    assert_eq!(stage.run(3_001, &Command::ShowReservation(ID)), Outcome::UnknownSale);
    let view = SaleView { creation: Creation(6), now_ms: stage.now_ms(3_002), ..old };
    let spec = view.spec.clone();
    stage.say(3_002, &Command::Create(spec), &Outcome::Created(Box::new(view)));
    stage.oracle.end(9 * SECOND);
    assert_eq!(stage.names(), [""; 0]);
}

#[test]
fn a_number_of_a_creation_is_used_once() {
    let mut stage = Stage::begin(SaleSpec::with_total(3));
    let view = SaleView { now_ms: stage.now_ms(2), ..stage.view() };
    stage.run(1, &Command::Close);
    stage.run(1, &Command::Remove);
    stage.say(2, &Command::Create(view.spec.clone()), &Outcome::Created(Box::new(view)));
    assert_eq!(stage.names(), ["I4 exactly once"]);
}

#[test]
fn whoever_is_never_told_is_found_at_the_end() {
    let mut stage = stage();
    stage.ask(3_000, 2, buy("bob", "", 1));
    stage.oracle.end(9 * SECOND);
    assert_eq!(stage.names(), ["W waiters"]);
}

#[test]
fn units_that_a_dead_script_counted_are_with_nobody() {
    let mut stage = Stage::begin(SaleSpec::with_total(3));
    let id = stage.sale.clone();
    stage.oracle.leaked(1, Node(0), &id, 2);
    assert_eq!(stage.run(2, &ask(1, 2, "", "")), Outcome::SoldOut { free: 1 });
    stage.oracle.counters(&id, 1, 0, 0);
    stage.oracle.end(9 * SECOND);
    assert_eq!(stage.names(), [""; 0]);
}

#[test]
fn the_embedded_ledger_expires_by_itself_and_knows_no_parts() {
    let settings = Settings { ledger: Ledger::Embedded, ..Settings::default() };
    let mut stage = Stage::with(settings, SaleSpec { hold_ms: 5, ..SaleSpec::with_total(3) });
    stage.run(1, &ask(1, 2, "", ""));
    let (id, now_ms) = (stage.sale.clone(), stage.now_ms(6));
    stage.oracle.expired(6 * MS, &id, now_ms, 2);
    assert_eq!((stage.names(), stage.view().held), (vec![], 0));
    let reset = Command::Reset { total: None, force: true };
    assert_eq!(stage.run(7, &reset), Outcome::UnknownSale);
    stage.oracle.expired(8 * MS, &id, stage.now_ms(8), 1);
    assert_eq!(stage.names(), ["I5 never strand"], "nothing was due");
}

#[test]
fn kinds_are_counted() {
    let mut stage = stage();
    stage.say(3_000, &ask(9, 9, "", ""), &Outcome::SoldOut { free: 2 });
    stage.oracle.end(9 * SECOND);
    let seen = stage.oracle.seen();
    assert_eq!((seen["sold_out"], seen["told_granted"], seen["linear_left_out"]), (1, 1, 1));
    assert_eq!(stage.names(), [""; 0]);
}
