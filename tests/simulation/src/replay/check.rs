//! Carries out a history on the model and on a real Redis, and compares the answers.

use std::collections::BTreeMap;
use std::fmt;

use stampede::ledger::{Group, GroupReply};
use stampede::sale::{Command, Outcome, SaleId};

use super::history::{Call, Event, Fault, History, Recording, Step, What};
use super::json;
use super::real::{Answer, RealRedis};
use super::reference::{Expected, Reference};
use crate::oracle::of_outcome;

/// Batches in which everything of a history expires.
const ROUNDS_MAX: u32 = 100;

/// What a history had in it, by name.
pub type Counts = BTreeMap<String, u64>;

/// A step whose answers differ.
#[derive(Debug, Clone)]
pub struct Difference {
    /// Its place in the history.
    pub at: usize,
    /// The model's answer and that of Redis.
    pub text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Compares the model with the outcomes that a simulation has recorded.
pub fn check_recording(recording: &Recording) -> Result<(), String> {
    let mut reference = Reference::default();
    for (at, event) in recording.events().iter().enumerate() {
        let recorded = match event {
            Event::Call(recorded) => recorded,
            Event::Fault(Fault::Lost(sale, commands)) => {
                let past = recording.events()[..at].iter().map(|event| match event {
                    Event::Call(recorded) => Past::Call(&recorded.call),
                    Event::Fault(fault) => Past::Fault(fault),
                });
                reference.evict(sale);
                for again in kept(sale, *commands, past) {
                    match again {
                        Some(call) => _ = reference.call(&call),
                        None => reference.evict(sale),
                    }
                }
                continue;
            }
            Event::Fault(Fault::Evicted(sale)) => {
                reference.evict(sale);
                continue;
            }
            Event::Fault(_) => continue,
        };
        let got = reference.call(&recorded.call);
        let mut both = got.iter().zip(&recorded.outcomes);
        let differ =
            both.find(|(got, outcomes)| got.as_ref().map(|reply| &reply.outcomes) != Ok(outcomes));
        if let Some((got, outcomes)) = differ {
            return Err(format!("recorded {outcomes:?}, and the model says {got:?}"));
        }
    }
    Ok(())
}

/// Carries out a history from its beginning.
pub fn check(
    history: &History,
    redis: &mut RealRedis,
    counts: &mut Counts,
) -> Result<(), Difference> {
    redis.clear();
    redis.renew();
    let mut run = Run { reference: Reference::default(), redis, counts };
    // What has made the present state: steps that were forgotten have not.
    let mut past: Vec<(usize, &Step)> = Vec::new();
    for (at, step) in history.steps.iter().enumerate() {
        match &step.what {
            What::Fault(Fault::Forgot(number)) => {
                run.note(&step.what);
                past.retain(|(_, step)| step.number < *number);
                run.reference = Reference::default();
                run.redis.clear();
                for number in 0..past.len() {
                    let (at, step) = past[number];
                    run.step(history, (at, step), &past[..number])?;
                }
            }
            what => {
                run.note(what);
                run.step(history, (at, step), &past)?;
                let lasts = match what {
                    What::Call(_) => true,
                    What::Fault(fault) => matches!(fault, Fault::Evicted(_) | Fault::Lost(..)),
                };
                past.extend(lasts.then_some((at, step)));
            }
        }
    }
    Ok(())
}

/// Something that has made the present state.
enum Past<'a> {
    Call(&'a Call),
    Fault(&'a Fault),
}

/// What makes a sale as it was before its last commands: calls, and `None` where all of it was
/// evicted.
fn kept<'a>(sale: &SaleId, lost: u32, past: impl Iterator<Item = Past<'a>>) -> Vec<Option<Call>> {
    let mut kept: Vec<Option<Call>> = Vec::new();
    for step in past {
        match step {
            Past::Call(call) => {
                let own = call.groups.iter().filter(|group| group.sale == *sale);
                let commands = own.flat_map(|group| &group.commands);
                kept.extend(commands.map(|command| {
                    let commands = vec![command.clone()];
                    let groups = vec![Group { sale: sale.clone(), commands }];
                    Some(Call { now: call.now, epoch: call.epoch, groups, is_unread: false })
                }));
            }
            Past::Fault(Fault::Evicted(other)) if other == sale => kept.push(None),
            Past::Fault(Fault::Lost(other, lost)) if other == sale => drop_last(&mut kept, *lost),
            Past::Fault(_) => {}
        }
    }
    drop_last(&mut kept, lost);
    kept
}

/// Drops the last commands.
fn drop_last(kept: &mut Vec<Option<Call>>, mut lost: u32) {
    while lost > 0
        && let Some(last) = kept.pop()
    {
        lost -= u32::from(last.is_some());
    }
}

struct Run<'a> {
    reference: Reference,
    redis: &'a mut RealRedis,
    counts: &'a mut Counts,
}

impl Run<'_> {
    /// Takes a step, after those that have made the present state.
    fn step(
        &mut self,
        history: &History,
        (at, step): (usize, &Step),
        past: &[(usize, &Step)],
    ) -> Result<(), Difference> {
        match &step.what {
            What::Call(call) => {
                return self.call(call).map_err(|text| Difference { at, text });
            }
            What::Fault(Fault::Killed) => self.redis.kill(),
            What::Fault(Fault::Reloaded) => self.redis.reload(),
            What::Fault(Fault::ScriptsFlushed) => self.redis.flush_scripts(),
            What::Fault(Fault::HalfSent) => {
                let later = history.steps[at..].iter();
                let next = later.filter_map(|step| match &step.what {
                    What::Call(call) => Some(call),
                    What::Fault(_) => None,
                });
                if let Some(call) = next.take(1).next() {
                    self.redis.send_half(call);
                }
            }
            What::Fault(Fault::Evicted(sale)) => {
                self.reference.evict(sale);
                self.redis.evict(sale);
            }
            What::Fault(Fault::Lost(sale, commands)) => {
                let past = past.iter().map(|(_, step)| match &step.what {
                    What::Call(call) => Past::Call(call),
                    What::Fault(fault) => Past::Fault(fault),
                });
                self.reference.evict(sale);
                self.redis.evict(sale);
                for again in kept(sale, *commands, past) {
                    match again {
                        Some(call) => {
                            self.call(&call).map_err(|text| Difference { at, text })?;
                        }
                        None => {
                            self.reference.evict(sale);
                            self.redis.evict(sale);
                        }
                    }
                }
            }
            // It is no step of its own.
            What::Fault(Fault::Forgot(_)) => {}
        }
        Ok(())
    }

    fn call(&mut self, call: &Call) -> Result<(), String> {
        let clock_ms = self.reference.clock_ms(call);
        if clock_ms < call.now.ms {
            self.add("fault clock behind", 1);
        }
        let mut expected = self.reference.call(call);
        let is_cut = expected.iter().any(has_more);
        let call = &Call { is_unread: call.is_unread && !is_cut, ..call.clone() };
        let Some(mut got) = self.redis.call(call, clock_ms, &expected) else { return Ok(()) };
        for (at, (expected, got)) in expected.iter_mut().zip(&mut got).enumerate() {
            if has_more(expected) {
                self.expire_rest(call, (clock_ms, at), expected, got)?;
            }
        }
        for ((group, expected), got) in call.groups.iter().zip(&expected).zip(&mut got) {
            self.count(expected);
            take_early_dues(got, expected);
            let is_same = match (&*got, expected) {
                (Ok(got), Ok(expected)) => got == expected,
                (Err(got), Err(epoch)) => got.fenced_by() == Some(*epoch),
                _ => false,
            };
            if !is_same {
                let commands = json::of_commands(&group.commands);
                return Err(difference(&commands, expected, got));
            }
        }
        Ok(())
    }

    /// Lets expire what the last command of a group has left, and adds up the answers. A script ends
    /// between two fields, so it may have returned a little more than the model, which ends at its
    /// bound: only when nothing is left must both be the same.
    fn expire_rest(
        &mut self,
        call: &Call,
        (clock_ms, at): (u64, usize),
        expected: &mut Expected,
        got: &mut Answer,
    ) -> Result<(), String> {
        self.add("expired in parts", 1);
        let Group { sale, commands } = &call.groups[at];
        let Some(expire @ Command::Expire { .. }) = commands.last() else {
            return Err(format!("more than a batch expires before the end of {commands:?}"));
        };
        let groups = vec![Group { sale: sale.clone(), commands: vec![expire.clone()] }];
        let call = Call { groups, ..call.clone() };
        for _ in 0..ROUNDS_MAX {
            if !has_more(expected) && !has_more(got) {
                return Ok(());
            }
            let more = self.reference.call(&call);
            let answers = self.redis.call(&call, clock_ms, &more).unwrap_or_default();
            more.into_iter().for_each(|next| add_released(expected, next));
            answers.into_iter().for_each(|next| add_released(got, next));
        }
        Err(format!("{ROUNDS_MAX} batches do not expire all that is due: {got:?}"))
    }

    fn note(&mut self, what: &What) {
        match what {
            What::Call(call) => {
                self.add("calls", 1);
                let commands: usize = call.groups.iter().map(|group| group.commands.len()).sum();
                self.add("commands", commands as u64);
                if call.is_unread {
                    self.add("fault unread", 1);
                }
            }
            What::Fault(fault) => self.add(&format!("fault {}", fault.name()), 1),
        }
    }

    fn count(&mut self, expected: &Expected) {
        match expected {
            Ok(reply) => reply.outcomes.iter().for_each(|outcome| self.add(of_outcome(outcome), 1)),
            Err(_) => self.add("fault earlier epoch", 1),
        }
    }

    fn add(&mut self, name: &str, count: u64) {
        match self.counts.get_mut(name) {
            Some(counted) => *counted += count,
            None => _ = self.counts.insert(name.to_owned(), count),
        }
    }
}

/// Whether more reservations are past their deadlines.
fn has_more<E>(reply: &Result<GroupReply, E>) -> bool {
    let more = |outcome: &Outcome| matches!(outcome, Outcome::Released { more: true, .. });
    reply.as_ref().is_ok_and(|reply| reply.outcomes.iter().any(more))
}

/// Adds to the last answer of a group that to another expiry.
fn add_released<E>(all: &mut Result<GroupReply, E>, next: Result<GroupReply, E>) {
    match (&mut *all, next) {
        (Ok(all), Ok(mut next)) => {
            if let Some(Outcome::Released { units: before, .. }) = all.outcomes.last()
                && let Some(Outcome::Released { units, .. }) = next.outcomes.last_mut()
            {
                *units += before;
            }
            all.outcomes.pop();
            all.outcomes.append(&mut next.outcomes);
            (all.free, all.now_ms) = (next.free, next.now_ms);
        }
        (_, next) => *all = next,
    }
}

/// The first outcome that differs, or what else does.
fn difference(commands: &[String], expected: &Expected, got: &Answer) -> String {
    let (Ok(wanted), Ok(answer)) = (expected, got) else {
        let commands = commands.join(", ");
        return format!("{commands}\n  the model: {expected:?}\n  Redis:     {got:?}");
    };
    let mut both = commands.iter().zip(wanted.outcomes.iter().zip(&answer.outcomes));
    let differing = both.find(|(_, (wanted, answer))| wanted != answer);
    match differing {
        Some((command, (wanted, answer))) => {
            format!("{command}\n  the model: {wanted:?}\n  Redis:     {answer:?}")
        }
        None => {
            let of = |reply: &GroupReply| {
                let GroupReply { outcomes, free, now_ms } = reply;
                format!("{} outcomes, free {free:?}, now_ms {now_ms}", outcomes.len())
            };
            let commands = commands.join(", ");
            format!("{commands}\n  the model: {}\n  Redis:     {}", of(wanted), of(answer))
        }
    }
}

/// The next deadline of Redis may be that of a reservation that is no longer held: earlier than the
/// model's, never later. `tests/support/history.rs` allows the same.
fn take_early_dues(got: &mut Answer, expected: &Expected) {
    let (Ok(got), Ok(expected)) = (got, expected) else { return };
    for (got, expected) in got.outcomes.iter_mut().zip(&expected.outcomes) {
        if let Outcome::Released { next_due_ms: due_ms @ Some(_), .. } = got
            && let Outcome::Released { next_due_ms: expected, .. } = expected
            && expected.is_none_or(|expected| *due_ms <= Some(expected))
        {
            *due_ms = *expected;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::now;
    use super::*;

    #[test]
    fn the_last_commands_of_a_sale_are_dropped() {
        let (sale, other) = (SaleId::new("s").unwrap(), SaleId::new("t").unwrap());
        let call = |at: u64, sale: &SaleId| {
            let commands = vec![Command::AddStock(at), Command::Show];
            let groups = vec![Group { sale: sale.clone(), commands }];
            Call { now: now(at), epoch: None, groups, is_unread: true }
        };
        let calls = [call(1, &sale), call(2, &other), call(3, &sale), call(4, &sale)];
        let (evicted, lost) = (Fault::Evicted(sale.clone()), Fault::Lost(sale.clone(), 1));
        let kept_of = |count| {
            let past = [
                Past::Call(&calls[0]),
                Past::Fault(&evicted),
                Past::Call(&calls[1]),
                Past::Call(&calls[2]),
                Past::Fault(&lost),
                Past::Call(&calls[3]),
            ];
            let kept = kept(&sale, count, past.into_iter());
            kept.iter().map(|call| call.as_ref().map(|call| call.now.ms)).collect::<Vec<_>>()
        };
        assert_eq!(kept_of(0), [Some(1), Some(1), None, Some(3), Some(4), Some(4)]);
        assert_eq!(kept_of(3), [Some(1), Some(1), None]);
        assert_eq!(kept_of(4), [Some(1)]);
        assert_eq!(kept_of(9), []);
    }
}
