//! The checker accepts what can have happened and refuses what cannot.

use stampede::sale::{Command, Key, Machine, Outcome, ReservationId, Reserve, SaleSpec, User};

use super::super::chance::{Chance, seed};
use super::*;

const ONE_UNIT: Rules = Rules { total: 1, limit_per_user: 2, hearsay: 0, is_split: false };

fn operation(began: u64, ended: u64, call: Call, said: Option<Said>) -> Operation {
    Operation { began, ended, call, said }
}

fn buy(began: u64, ended: u64, owner: &str, said: impl Into<Option<Said>>) -> Operation {
    let (user, key) = owner.split_once('/').unwrap_or((owner, ""));
    let key = (!key.is_empty()).then(|| key.to_owned());
    operation(began, ended, Call::Buy { user: user.to_owned(), key }, said.into())
}

fn cancel(began: u64, ended: u64, id: &str, said: impl Into<Option<Said>>) -> Operation {
    operation(began, ended, Call::Cancel(id.to_owned()), said.into())
}

fn reservation(id: &str, is_new: Option<bool>, status: Option<Status>) -> Said {
    Said::Reservation { id: id.to_owned(), is_new, status }
}

fn granted(id: &str) -> Said {
    reservation(id, Some(true), Some(Status::Held))
}

fn replayed(id: &str) -> Said {
    reservation(id, Some(false), Some(Status::Held))
}

fn cancelled(id: &str) -> Said {
    reservation(id, None, Some(Status::Cancelled))
}

#[track_caller]
fn takes(rules: Rules, history: &[Operation]) {
    if let Err(wrong) = check(&rules, history) {
        panic!("{wrong}");
    }
}

#[track_caller]
fn refuses(rules: Rules, history: &[Operation]) {
    assert!(matches!(check(&rules, history), Err(Wrong::NoOrder(_))), "it was taken");
}

#[test]
fn a_lost_ticket() {
    // Granted and gone: the key gets another reservation, or the answer that there is none.
    let first = buy(1, 2, "ann/k", granted("a"));
    refuses(ONE_UNIT, &[first.clone(), buy(3, 4, "ann/k", Said::SoldOut)]);
    refuses(ONE_UNIT, &[first.clone(), buy(3, 4, "ann/k", replayed("b"))]);
    let look = |held| {
        let counts = Said::Counts { total: 1, held, confirmed: 0 };
        operation(3, 4, Call::Look, Some(counts))
    };
    refuses(ONE_UNIT, &[first.clone(), look(0)]);
    takes(ONE_UNIT, &[first.clone(), look(1), buy(5, 6, "ann/k", replayed("a"))]);
}

#[test]
fn a_double_grant() {
    let two = Rules { total: 2, ..ONE_UNIT };
    let first = buy(1, 9, "ann/k", granted("a"));
    refuses(two, &[first.clone(), buy(2, 8, "ann/k", granted("b"))]);
    refuses(two, &[first.clone(), buy(2, 8, "ann/k", granted("a"))]);
    // By a purchase whose answer was lost, as the counts show.
    let counts = Said::Counts { total: 2, held: 2, confirmed: 0 };
    let look = operation(10, 11, Call::Look, Some(counts));
    refuses(two, &[first.clone(), buy(2, NEVER, "ann/k", None), look.clone()]);
    takes(two, &[first.clone(), buy(2, NEVER, "ann/other", None), look]);
    // One unit, sold twice.
    refuses(ONE_UNIT, &[first.clone(), buy(2, 8, "bob/k", granted("b"))]);
    takes(two, &[first, buy(2, 8, "bob/k", granted("b"))]);
}

#[test]
fn a_stale_sold_out() {
    let sold = buy(1, 2, "ann", granted("a"));
    let back = cancel(3, 4, "a", cancelled("a"));
    let told = |began, ended| buy(began, ended, "bob/k", Said::SoldOut);
    refuses(ONE_UNIT, &[told(0, 0), sold.clone()]);
    refuses(ONE_UNIT, &[sold.clone(), back.clone(), told(5, 6)]);
    takes(ONE_UNIT, &[sold.clone(), back.clone(), told(4, 6)]);
    // Unless a buyer whose answer was lost may have had the unit.
    takes(ONE_UNIT, &[sold.clone(), back.clone(), buy(3, NEVER, "eve", None), told(5, 6)]);
    // But then that buyer still has it.
    let late = buy(7, 8, "bob/other", granted("b"));
    let eve = buy(3, NEVER, "eve", None);
    refuses(ONE_UNIT, &[sold.clone(), back.clone(), eve, told(5, 6), late]);
    // From a latch: without a key, and not older than that.
    let hearsay = Rules { hearsay: 3, ..ONE_UNIT };
    let without = |began, ended| buy(began, ended, "bob", Said::SoldOut);
    refuses(hearsay, &[sold.clone(), back.clone(), told(5, 6)]);
    takes(hearsay, &[sold.clone(), back.clone(), without(7, 8)]);
    refuses(hearsay, &[sold, back, without(8, 9)]);
}

#[test]
fn a_unit_that_returns_while_the_parts_are_read() {
    let split = Rules { total: 2, is_split: true, ..ONE_UNIT };
    let history = |from| {
        [
            buy(1, 2, "ann", granted("a")),
            cancel(3, 4, "a", cancelled("a")),
            buy(5, 6, "bob", granted("b")),
            buy(from, 9, "eve/k", Said::SoldOut),
            buy(10, 11, "dan", granted("d")),
        ]
    };
    // Ann's part is seen before she gives back, Bob's after he has bought.
    takes(split, &history(3));
    refuses(split, &history(5));
    refuses(Rules { is_split: false, ..split }, &history(3));
}

#[test]
fn a_sold_out_answer_to_a_key_with_a_reservation() {
    let lost = buy(1, NEVER, "ann/k", None);
    let told = buy(3, 4, "ann/k", Said::SoldOut);
    let other = buy(1, 2, "bob", granted("b"));
    let rules = Rules { total: 2, ..ONE_UNIT };
    // The lost request came later, or before.
    let back = cancel(5, 6, "b", cancelled("b"));
    let late = buy(7, 8, "ann/k", replayed("a"));
    takes(ONE_UNIT, &[other.clone(), lost.clone(), told.clone(), back.clone(), late.clone()]);
    let early = buy(1, 2, "ann/k", reservation("a", None, None));
    refuses(rules, &[other, lost, early, told, back, late]);
}

#[test]
fn limits_cancellations_and_stock_changes() {
    let rules = Rules { total: 9, limit_per_user: 1, ..ONE_UNIT };
    let first = buy(1, 2, "ann/k", granted("a"));
    refuses(rules, &[first.clone(), buy(3, 4, "ann/l", granted("b"))]);
    refuses(rules, &[buy(1, 2, "ann/l", Said::LimitReached)]);
    refuses(rules, &[first.clone(), buy(3, 4, "ann/k", Said::LimitReached)]);
    let limit = buy(3, 4, "ann/l", Said::LimitReached);
    takes(rules, &[first.clone(), limit.clone()]);
    let back = cancel(1, NEVER, "a", None);
    let again = buy(5, 6, "ann/m", granted("m"));
    takes(rules, &[first.clone(), limit.clone(), back.clone(), again.clone()]);
    refuses(rules, &[first.clone(), limit, again]);
    // Given back twice, and shown as held when it was not.
    let given = cancel(3, 4, "a", cancelled("a"));
    refuses(rules, &[first.clone(), given.clone(), cancel(3, 5, "a", cancelled("a"))]);
    takes(rules, &[first.clone(), given.clone(), cancel(3, 5, "a", Said::AlreadyCancelled)]);
    refuses(rules, &[first.clone(), given.clone(), buy(5, 6, "ann/k", replayed("a"))]);
    let confirm = |said| operation(3, 6, Call::Confirm("a".into()), Some(said));
    let paid = reservation("a", None, Some(Status::Confirmed));
    refuses(rules, &[first.clone(), given.clone(), confirm(paid.clone())]);
    takes(rules, &[first.clone(), given, confirm(Said::AlreadyCancelled)]);
    takes(rules, &[first.clone(), confirm(paid), cancel(3, 6, "a", Said::AlreadyConfirmed)]);
    // Refunded once or twice, and never before it was paid.
    let paid = operation(
        3,
        4,
        Call::Confirm("a".into()),
        Some(reservation("a", None, Some(Status::Confirmed))),
    );
    let refund = |began, said| operation(began, began + 1, Call::Refund("a".into()), Some(said));
    let back = reservation("a", None, Some(Status::Refunded));
    let again = buy(9, 10, "ann/m", granted("m"));
    takes(rules, &[first.clone(), paid.clone(), refund(5, back.clone()), again.clone()]);
    let twice = [refund(5, back.clone()), refund(7, back.clone())];
    takes(rules, &[&[first.clone(), paid.clone()], &twice[..], &[again]].concat());
    takes(rules, &[first.clone(), refund(2, Said::NotConfirmed), paid.clone()]);
    refuses(rules, &[first.clone(), paid.clone(), refund(5, Said::NotConfirmed)]);
    refuses(rules, &[first.clone(), refund(2, back.clone())]);
    let after =
        |said| [first.clone(), paid.clone(), refund(5, back.clone()), cancel(7, 8, "a", said)];
    refuses(rules, &after(Said::AlreadyConfirmed));
    takes(rules, &after(Said::AlreadyRefunded));
    let few = Rules { total: 1, limit_per_user: 9, ..rules };
    let take =
        |began, units| operation(began, began + 1, Call::TakeStock(3), Some(Said::Taken(units)));
    refuses(few, &[first.clone(), take(3, 1)]);
    takes(few, &[first.clone(), take(3, 0)]);
    refuses(few, &[take(0, 1), first]);
}

/// The state accepts the machine's answers, and no other refusal.
#[test]
fn the_checkers_state_agrees_with_the_machine() {
    let mut chance = Chance(seed());
    for _ in 0..50 {
        let mut spec = SaleSpec::with_total(3);
        spec.limit_per_user = 2;
        let mut machine = Machine::new(spec);
        let mut calls = Vec::new();
        for number in 0..60 {
            let (call, command) = any_call(&mut chance, machine.rows().len(), number);
            let made = machine.rows().len();
            let said = match (&call, machine.apply(0, &command)) {
                (Call::AddStock(_), _) => Said::Added,
                (Call::TakeStock(_), Outcome::StockTaken { units, .. }) => Said::Taken(units),
                (_, outcome) => said(outcome, made),
            };
            calls.push((call, said));
        }
        let mut state = State::new(3, 2);
        for (call, said) in &calls {
            let effect = state.effect(call, said, 0);
            assert_ne!(effect, Effect::Impossible, "{call:?}: {said:?} in {state:?}");
            for other in &[
                Said::SoldOut,
                Said::LimitReached,
                Said::AlreadyCancelled,
                Said::AlreadyConfirmed,
                Said::AlreadyRefunded,
                Said::NotConfirmed,
                Said::Added,
            ] {
                let is_taken = state.effect(call, other, 0) != Effect::Impossible;
                // If nothing is left, the user's units do not matter.
                let is_so = other == said
                    || (other, said) == (&Said::SoldOut, &Said::LimitReached) && state.free() == 0;
                assert_eq!(is_taken, is_so, "{call:?}: {other:?} for {said:?}");
            }
            state.take(effect);
        }
    }
}

/// A command about one of the existing reservations, each with its number as its id.
fn any_call(chance: &mut Chance, reservations: usize, number: usize) -> (Call, Command) {
    let user = ["ann", "bob", "eve"][chance.below(3)];
    let key = [None, Some("k"), Some("l"), Some("m")][chance.below(4)];
    let kind = chance.below(if reservations == 0 { 3 } else { 8 });
    let about = chance.below(reservations.max(1));
    let id = ReservationId(about as u128);
    match kind {
        0 => (Call::Look, Command::Show),
        1 if number.is_multiple_of(5) => (Call::AddStock(1), Command::AddStock(1)),
        1 if number % 5 == 1 => {
            (Call::TakeStock(2), Command::TakeStock { units: 2, at_most: true })
        }
        3 => (Call::Cancel(about.to_string()), Command::Cancel(id)),
        4 => (Call::Confirm(about.to_string()), Command::Confirm(id)),
        5 => (Call::Show(about.to_string()), Command::ShowReservation(id)),
        6 => (Call::Refund(about.to_string()), Command::Refund(id)),
        _ => {
            let reserve = Reserve {
                id: ReservationId(reservations as u128),
                quantity: 1,
                user: User::new(user).ok(),
                key: key.and_then(|key| Key::new(key).ok()),
                trace: None,
                details: None,
            };
            let key = key.map(str::to_owned);
            (Call::Buy { user: user.to_owned(), key }, Command::Reserve(reserve))
        }
    }
}

/// A client's answer, about the last reservation if one was made.
fn said(outcome: Outcome, made: usize) -> Said {
    match outcome {
        Outcome::Granted { .. } => granted(&made.to_string()),
        Outcome::Replayed(found) => {
            reservation(&found.id.0.to_string(), Some(false), Some(found.status))
        }
        Outcome::Reservation(found) => {
            reservation(&found.id.0.to_string(), None, Some(found.status))
        }
        Outcome::SoldOut { .. } => Said::SoldOut,
        Outcome::LimitReached { .. } => Said::LimitReached,
        Outcome::AlreadyCancelled => Said::AlreadyCancelled,
        Outcome::AlreadyConfirmed => Said::AlreadyConfirmed,
        Outcome::AlreadyRefunded => Said::AlreadyRefunded,
        Outcome::NotConfirmed => Said::NotConfirmed,
        Outcome::Sale(view) => {
            let (total, held, confirmed) = (view.spec.total, view.held, view.confirmed);
            Said::Counts { total, held, confirmed }
        }
        outcome => panic!("{outcome:?}"),
    }
}
