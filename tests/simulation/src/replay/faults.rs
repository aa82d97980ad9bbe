//! What happens to a Redis and its connections while a recorded history runs on it.
//!
//! Each kind is on in some histories only, since each hides something: a Redis that forgets has
//! fewer reservations to be wrong about.

use stampede::ledger::Group;
use stampede::limits::EXPIRE_BATCH_MAX;
use stampede::sale::{Command, Outcome, ReservationId, Reserve, SaleId};

use super::history::{Call, Event, Fault, History, Recorded, Recording, What};
use super::reference::now;
use crate::chance::Chance;

/// Histories in which a fault occurs, one in so many.
const KILLED_ONE_IN: u64 = 8;
/// See [`KILLED_ONE_IN`].
const RELOADED_ONE_IN: u64 = 8;
/// See [`KILLED_ONE_IN`].
const FLUSHED_ONE_IN: u64 = 2;
/// See [`KILLED_ONE_IN`].
const HALF_SENT_ONE_IN: u64 = 2;
/// See [`KILLED_ONE_IN`].
const FORGOT_ONE_IN: u64 = 3;
/// See [`KILLED_ONE_IN`].
const EVICTED_ONE_IN: u64 = 5;
/// See [`KILLED_ONE_IN`].
const UNREAD_ONE_IN: u64 = 2;
/// See [`KILLED_ONE_IN`].
const EPOCHS_ONE_IN: u64 = 3;
/// In such a history, one call in so many is unread.
const UNREAD_CALL_ONE_IN: u64 = 40;
/// In such a history, an epoch begins before one call in so many.
const EPOCH_CALL_ONE_IN: u64 = 100;
/// In such a history, somebody of an earlier epoch comes before one call in so many.
const LATE_CALL_ONE_IN: u64 = 20;
/// A bit that no id of a simulation has.
const OTHER_ID: u128 = 1 << 127;
/// Reservations that are shown in one call at the end.
const SHOWN_AT_ONCE: usize = 256;
/// Time after which everything has expired, in ms.
const LONG_MS: u64 = 24 * 3_600_000;

/// The history of a recording: with faults, and at the end with a view of everything.
pub fn history(seed: u64, recording: &Recording) -> History {
    let chance = &mut Chance::of(seed, "replay");
    let steps = with_epochs(chance, recording);
    let mut steps = with_unread(chance, steps);
    let count = steps.len() as u64;
    let at_random = |chance: &mut Chance, one_in: u64, most: u64| {
        let times = if chance.one_in(one_in) { chance.between(1, most) } else { 0 };
        (0..times).map(|_| chance.below(count + 1)).collect::<Vec<_>>()
    };
    let mut faults = Vec::new();
    for (fault, one_in, most) in [
        (Fault::Killed, KILLED_ONE_IN, 1),
        (Fault::Reloaded, RELOADED_ONE_IN, 2),
        (Fault::ScriptsFlushed, FLUSHED_ONE_IN, 4),
        (Fault::HalfSent, HALF_SENT_ONE_IN, 4),
    ] {
        faults.extend(at_random(chance, one_in, most).into_iter().map(|at| (at, fault.clone())));
    }
    for at in at_random(chance, EVICTED_ONE_IN, 2) {
        if let Some(sale) = some_sale(chance, recording) {
            faults.push((at, Fault::Evicted(sale)));
        }
    }
    // From the end on, so that the places before stay what they are.
    faults.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    for (at, fault) in faults {
        steps.insert(at as usize, What::Fault(fault));
    }
    if chance.one_in(FORGOT_ONE_IN) && !steps.is_empty() {
        let at = chance.between(1, steps.len() as u64);
        // Mostly little is forgotten.
        let forgotten = chance.spread(1, at);
        steps.insert(at as usize, What::Fault(Fault::Forgot((at - forgotten) as u32)));
    }
    steps.extend(ending(recording));
    History::new(seed, steps)
}

fn some_sale(chance: &mut Chance, recording: &Recording) -> Option<SaleId> {
    let calls = recording.calls().count().max(1) as u64;
    let call = &recording.calls().nth(chance.below(calls) as usize)?.call;
    Some(chance.pick(&call.groups).sale.clone())
}

/// The calls, in some histories in epochs of Sentinels, and with calls of an earlier epoch.
fn with_epochs(chance: &mut Chance, recording: &Recording) -> Vec<What> {
    let has_epochs = recording.calls().any(|recorded| recorded.call.epoch.is_some());
    let events = recording.events().iter().map(|event| match event {
        Event::Call(recorded) => What::Call(recorded.call.clone()),
        Event::Fault(fault) => What::Fault(fault.clone()),
    });
    if has_epochs || !chance.one_in(EPOCHS_ONE_IN) {
        return events.collect();
    }
    let mut epoch = chance.between(1, 9);
    let mut steps = Vec::new();
    for event in events {
        let call = match event {
            What::Call(call) => call,
            fault => {
                steps.push(fault);
                continue;
            }
        };
        if chance.one_in(EPOCH_CALL_ONE_IN) {
            epoch += chance.between(1, 3);
        }
        if chance.one_in(LATE_CALL_ONE_IN) {
            let earlier = Some(epoch.saturating_sub(chance.between(1, 3)));
            let groups = call.groups.iter().map(late).collect();
            steps.push(What::Call(Call { epoch: earlier, groups, ..call.clone() }));
        }
        steps.push(What::Call(Call { epoch: Some(epoch), ..call }));
    }
    steps
}

/// The same group of another sender: with ids of its own, and no key.
fn late(group: &Group) -> Group {
    let other = |command: &Command| match command {
        Command::Reserve(reserve) => {
            let id = ReservationId(reserve.id.0 ^ OTHER_ID);
            Command::Reserve(Reserve { id, key: None, ..reserve.clone() })
        }
        command => command.clone(),
    };
    Group { sale: group.sale.clone(), commands: group.commands.iter().map(other).collect() }
}

fn with_unread(chance: &mut Chance, mut steps: Vec<What>) -> Vec<What> {
    let is_on = chance.one_in(UNREAD_ONE_IN);
    for step in &mut steps {
        if let What::Call(call) = step {
            call.is_unread = is_on && chance.one_in(UNREAD_CALL_ONE_IN);
        }
    }
    steps
}

/// Shows every sale and every reservation, lets all expire, and shows them again.
fn ending(recording: &Recording) -> Vec<What> {
    let last_ms = recording.calls().map(|recorded| recorded.call.now.ms).max();
    let Some(last_ms) = last_ms else { return Vec::new() };
    let mut sales: Vec<SaleId> = Vec::new();
    let mut shown: Vec<(SaleId, Vec<Command>)> = Vec::new();
    for Recorded { call, outcomes } in recording.calls() {
        for (group, outcomes) in call.groups.iter().zip(outcomes) {
            if !sales.contains(&group.sale) {
                sales.push(group.sale.clone());
                shown.push((group.sale.clone(), Vec::new()));
            }
            let both = group.commands.iter().zip(outcomes);
            let granted = both.filter_map(|(command, outcome)| match (command, outcome) {
                (Command::Reserve(reserve), Outcome::Granted { .. }) => {
                    Some(Command::ShowReservation(reserve.id))
                }
                _ => None,
            });
            let list = shown.iter_mut().find(|(sale, _)| *sale == group.sale);
            list.into_iter().for_each(|(_, list)| list.extend(granted.clone()));
        }
    }
    let call = |ms: u64, sale: &SaleId, commands: Vec<Command>| {
        let groups = vec![Group { sale: sale.clone(), commands }];
        What::Call(Call { now: now(ms), epoch: None, groups, is_unread: false })
    };
    let mut steps = Vec::new();
    for ms in [last_ms, last_ms + LONG_MS] {
        for (sale, reservations) in &shown {
            if ms > last_ms {
                let expire = Command::Expire { batch_max: EXPIRE_BATCH_MAX };
                steps.push(call(ms, sale, vec![expire]));
            }
            steps.push(call(ms, sale, vec![Command::Show]));
            let pieces = reservations.chunks(SHOWN_AT_ONCE);
            steps.extend(pieces.map(|piece| call(ms, sale, piece.to_vec())));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use stampede::sale::SaleSpec;

    use super::super::reference::Reference;
    use super::*;

    fn recording() -> Recording {
        let mut recording = Recording::default();
        let sale = SaleId::new("s").unwrap();
        let mut reference = Reference::default();
        for n in 0..300u128 {
            let reserve = Reserve {
                id: ReservationId(n),
                quantity: 1,
                user: None,
                key: None,
                details: None,
                trace: None,
            };
            let command = match n {
                0 => Command::Create(SaleSpec::with_total(290)),
                _ => Command::Reserve(reserve),
            };
            let call = Call {
                now: now(1_000 + n as u64),
                epoch: None,
                groups: vec![Group { sale: sale.clone(), commands: vec![command.clone()] }],
                is_unread: false,
            };
            let reply = reference.call(&call).remove(0).unwrap();
            recording.executed(call.now, None, &sale, &command, &reply.outcomes[0]);
        }
        recording
    }

    #[test]
    fn every_fault_occurs_and_no_recorded_call_is_lost() {
        let recording = recording();
        let mut names = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let history = history(seed, &recording);
            let mut kept = 0;
            for step in &history.steps {
                match &step.what {
                    What::Fault(fault) => _ = names.insert(fault.name()),
                    What::Call(call) if call.is_unread => _ = names.insert("unread"),
                    What::Call(_) => {}
                }
                if let What::Call(call) = &step.what {
                    let same = |recorded: &Recorded| recorded.call.groups == call.groups;
                    kept += usize::from(recording.calls().any(same));
                }
            }
            assert!(kept >= recording.calls().count());
        }
        assert_eq!(names.len(), 7, "{names:?}");
    }

    #[test]
    fn everything_is_shown_at_the_end() {
        let steps = ending(&recording());
        // 290 were granted, in two pieces, before and after they expire.
        assert_eq!(steps.len(), 2 * (1 + 2) + 1);
    }
}
