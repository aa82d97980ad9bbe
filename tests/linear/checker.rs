//! Checks whether a history is one of a sale that takes one step at a time.
//!
//! [`check`] looks for an order of the operations in which
//!
//! - an operation that ended before another began comes before that other,
//! - each answer is the sale's answer at that point ([`State::effect`]),
//! - an operation without an answer comes anywhere after it began, or never.
//!
//! It is the search of Wing and Gong, with a memory of the sets of operations that were tried: each
//! answer names its reservation, so the state follows from the set. If the search finds an order,
//! the history is linearizable; if it ends with [`Wrong::NoOrder`], it is not. It skips orders only
//! for reasons that lose none: an operation that changes nothing is put as early as its answer is
//! true, and a step that makes an answer impossible for ever does not come before that answer.
//!
//! Two answers are allowed to be older than the request, as docs/internals/purchase.md says: see [`Rules`].

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt;

use super::chance::Chance;
use super::history::{Call, Effect, NEVER, Operation, Said, State, Status};

/// Sets that are tried before the search begins anew, with some randomness.
const SETS: usize = 500;
/// How often it begins anew before it tries twice as many sets.
const ATTEMPTS: usize = 4;
/// How often it doubles.
const DOUBLINGS: usize = 8;
/// How far randomness moves the time at which an operation must come, in nanoseconds.
const LUCK: usize = 5_000_000;

/// The sale, and how exact its answers must be.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Units at first.
    pub total: u64,
    /// Units per user.
    pub limit_per_user: u64,
    /// Greatest age, in nanoseconds, of the ledger's answer by which a core may answer `sold_out`
    /// to a purchase without a key.
    pub hearsay: u64,
    /// The sale is in parts. A search looks at the parts one after the other, so it may miss a unit
    /// that comes back meanwhile.
    pub is_split: bool,
}

/// Why a history is refused, with the operations that could not come next at the furthest point.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrong {
    /// There is no order.
    NoOrder(Vec<Operation>),
    /// None was found among those that were tried.
    Undecided(Vec<Operation>),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, stuck) = match self {
            Self::NoOrder(stuck) => ("there is no order of all", stuck),
            Self::Undecided(stuck) => ("no order of all was found", stuck),
        };
        writeln!(f, "{what}; at the furthest point the first of these could not follow:")?;
        stuck.iter().try_for_each(|operation| writeln!(f, "  {operation:?}"))
    }
}

/// An operation as the search has it.
struct Step<'a> {
    operation: &'a Operation,
    /// Its point is within this time.
    from: u64,
    until: u64,
    said: Said,
    slack: u64,
    /// Steps that cannot come after this one.
    first: Vec<usize>,
}

impl Step<'_> {
    fn is_optional(&self) -> bool {
        self.until == NEVER
    }
}

/// The steps that are taken, one bit each.
type Taken = Vec<u64>;

fn is_taken(taken: &Taken, step: usize) -> bool {
    taken[step / 64] >> (step % 64) & 1 == 1
}

fn take(taken: &mut Taken, step: usize) {
    taken[step / 64] |= 1 << (step % 64);
}

/// Looks for an order.
///
/// # Errors
/// There is none, or it was not found in time.
pub fn check(rules: &Rules, history: &[Operation]) -> Result<(), Wrong> {
    let steps = steps(rules, history);
    let mut chance = Chance(0);
    let mut found = search(rules, &steps, SETS, None);
    for attempt in 0..ATTEMPTS * DOUBLINGS {
        let Err(Wrong::Undecided(_)) = found else { break };
        found = search(rules, &steps, SETS << (attempt / ATTEMPTS), Some(&mut chance));
    }
    found
}

fn search(
    rules: &Rules,
    steps: &[Step<'_>],
    sets_max: usize,
    mut chance: Option<&mut Chance>,
) -> Result<(), Wrong> {
    let begin = State::new(rules.total, rules.limit_per_user);
    let mut open = vec![(begin, vec![0; steps.len().div_ceil(64)])];
    let mut tried = HashSet::new();
    let mut furthest = (0, Vec::new());
    while let Some((state, mut taken)) = open.pop() {
        let Some(until) = settle(steps, &state, &mut taken) else { return Ok(()) };
        if !tried.insert(taken.clone()) {
            continue;
        }
        let count = taken.iter().map(|bits| bits.count_ones()).sum();
        if count >= furthest.0 {
            furthest = (count, taken.clone());
        }
        if tried.len() == sets_max {
            return Err(Wrong::Undecided(stuck(steps, &furthest.1)));
        }
        let mut next = changes(steps, &state, &taken, until);
        // Steps that make no other answer untrue are tried first, and of those the one that must
        // come soonest: it is on top then. If that has not led far, randomness may.
        next.sort_by_cached_key(|(harmed, at, _)| {
            let until = steps[*at].until;
            Reverse(match &mut chance {
                None => (*harmed, until),
                Some(chance) => {
                    let harmed = if chance.below(4) == 0 { 0 } else { *harmed };
                    (harmed, until.saturating_sub(chance.below(LUCK) as u64))
                }
            })
        });
        for (_, at, effect) in next {
            let (mut state, mut taken) = (state.clone(), taken.clone());
            state.take(effect);
            take(&mut taken, at);
            open.push((state, taken));
        }
    }
    Err(Wrong::NoOrder(stuck(steps, &furthest.1)))
}

/// Steps that may come next and change something, each with the number of others that it keeps from
/// being true.
fn changes<'a>(
    steps: &'a [Step<'_>],
    state: &State<'a>,
    taken: &Taken,
    until: u64,
) -> Vec<(usize, usize, Effect<'a>)> {
    let pending = pending(steps, taken, until);
    let must: Vec<_> = pending.iter().map(|&at| &steps[at]).filter(|s| !s.is_optional()).collect();
    let mut changes = Vec::new();
    for at in pending {
        let effect = effect(&steps[at], state);
        let is_free = || steps[at].first.iter().all(|&before| is_taken(taken, before));
        if !matches!(effect, Effect::Impossible | Effect::None) && is_free() {
            let harms = |s: &&&Step<'_>| state.harms(effect, &s.operation.call, &s.said);
            changes.push((must.iter().filter(harms).count(), at, effect));
        }
    }
    changes
}

/// Takes the steps that are true now and change nothing. Returns when the next remaining one must
/// have been taken; `None`: none is left that must be.
fn settle(steps: &[Step<'_>], state: &State<'_>, taken: &mut Taken) -> Option<u64> {
    loop {
        let until = next_end(steps, taken)?;
        let mut settled = pending(steps, taken, until);
        settled.retain(|&at| !steps[at].is_optional() && effect(&steps[at], state) == Effect::None);
        if settled.is_empty() {
            return Some(until);
        }
        settled.into_iter().for_each(|at| take(taken, at));
    }
}

fn effect<'a>(step: &'a Step<'_>, state: &State<'a>) -> Effect<'a> {
    state.effect(&step.operation.call, &step.said, step.slack)
}

/// The steps that are not taken. Mostly the first ones are.
fn left<'a>(steps: &'a [Step<'_>], taken: &'a Taken) -> impl Iterator<Item = usize> + 'a {
    let begin = taken.iter().take_while(|bits| **bits == u64::MAX).count() * 64;
    (begin..steps.len()).filter(|&at| !is_taken(taken, at))
}

/// When the next of the steps that are not taken must have been taken.
fn next_end(steps: &[Step<'_>], taken: &Taken) -> Option<u64> {
    let mut next = None;
    for step in left(steps, taken).map(|at| &steps[at]) {
        // All later ones begin after the next one ends.
        if step.is_optional() || next.is_some_and(|next| step.from > next) {
            break;
        }
        next = Some(next.unwrap_or(NEVER).min(step.until));
    }
    next
}

/// The steps that may come before the time when that one ends.
fn pending(steps: &[Step<'_>], taken: &Taken, until: u64) -> Vec<usize> {
    let must = steps.partition_point(|step| !step.is_optional());
    let begun = |part: &[Step<'_>]| part.partition_point(|step| step.from <= until);
    let (begun, may) = (begun(&steps[..must]), must + begun(&steps[must..]));
    let must_be = left(steps, taken).take_while(|at| *at < begun);
    must_be.chain((must..may).filter(|&at| !is_taken(taken, at))).collect()
}

/// The operations that could not come next, the most urgent first; last, the operation that must
/// come before it and cannot yet.
fn stuck(steps: &[Step<'_>], taken: &Taken) -> Vec<Operation> {
    let until = next_end(steps, taken).unwrap_or(NEVER);
    let mut stuck = pending(steps, taken, until);
    stuck.sort_by_key(|&at| steps[at].until);
    let before = stuck.first().map(|&at| steps[at].first.clone()).unwrap_or_default();
    stuck.extend(before.into_iter().filter(|&at| !is_taken(taken, at) && steps[at].from > until));
    stuck.into_iter().map(|at| steps[at].operation.clone()).collect()
}

/// The history as the search has it, in the order of beginnings; operations without an answer come
/// last.
fn steps<'a>(rules: &Rules, history: &'a [Operation]) -> Vec<Step<'a>> {
    let ids = ids_of_claims(history);
    let mut steps: Vec<_> = history
        .iter()
        .enumerate()
        .map(|(number, operation)| Step {
            operation,
            from: operation.began.saturating_sub(hearsay(rules, operation)),
            until: operation.ended,
            said: operation.said.clone().unwrap_or_else(|| as_if_done(operation, &ids, number)),
            slack: 0,
            first: Vec::new(),
        })
        .collect();
    steps.sort_by_key(|step| (step.is_optional(), step.from));
    if rules.is_split {
        let back: Vec<_> =
            steps.iter().map(|step| (step.from, step.until, comes_back(step))).collect();
        for step in steps.iter_mut().filter(|step| step.said == Said::SoldOut) {
            let meanwhile =
                back.iter().filter(|(from, until, _)| *from <= step.until && *until >= step.from);
            step.slack = meanwhile.map(|(_, _, units)| units).sum();
        }
    }
    for at in 0..steps.len() {
        let excluded = |other: &usize| *other != at && excludes(&steps[at], &steps[*other]);
        steps[at].first = (0..steps.len()).filter(excluded).collect();
    }
    steps
}

/// How much older than the request its answer may be.
fn hearsay(rules: &Rules, operation: &Operation) -> u64 {
    match (&operation.call, &operation.said) {
        (Call::Buy { key: None, .. }, Some(Said::SoldOut)) => rules.hearsay,
        _ => 0,
    }
}

/// Units that a step puts up for sale.
fn comes_back(step: &Step<'_>) -> u64 {
    match (&step.operation.call, &step.said) {
        (Call::AddStock(units), _) => *units,
        (Call::Cancel(_) | Call::Refund(_), Said::Reservation { .. }) => 1,
        _ => 0,
    }
}

/// The reservations that users got under their keys.
fn ids_of_claims(history: &[Operation]) -> HashMap<(&str, &str), &str> {
    let told = history.iter().filter_map(|operation| match (&operation.call, &operation.said) {
        (Call::Buy { user, key: Some(key) }, Some(Said::Reservation { id, .. })) => {
            Some(((user.as_str(), key.as_str()), id.as_str()))
        }
        _ => None,
    });
    told.collect()
}

/// The answer of an unanswered operation, had it changed something.
fn as_if_done(operation: &Operation, ids: &HashMap<(&str, &str), &str>, number: usize) -> Said {
    let (id, status) = match &operation.call {
        Call::Buy { user, key } => {
            let known = key.as_deref().and_then(|key| ids.get(&(user.as_str(), key)));
            let id = known.map_or_else(|| format!("of operation {number}"), |id| (*id).to_owned());
            (id, Status::Held)
        }
        Call::Cancel(id) => (id.clone(), Status::Cancelled),
        Call::Confirm(id) | Call::Show(id) => (id.clone(), Status::Confirmed),
        Call::Refund(id) => (id.clone(), Status::Refunded),
        Call::TakeStock(_) => unreachable!("an operator's, who hears what was done"),
        Call::AddStock(_) => return Said::Added,
        Call::Look => return Said::SoldOut,
    };
    let is_new = matches!(operation.call, Call::Buy { .. }).then_some(true);
    Said::Reservation { id, is_new, status: Some(status) }
}

/// Whether the second step cannot be taken any more after the first has changed something: a claim
/// is for ever, and so is the end of a reservation.
fn excludes(first: &Step<'_>, second: &Step<'_>) -> bool {
    if second.is_optional() {
        return false;
    }
    let Said::Reservation { id, .. } = &first.said else { return false };
    match (&first.operation.call, &second.operation.call) {
        (Call::Buy { user, key: Some(key) }, Call::Buy { user: other, key: Some(other_key) })
            if (user, key) == (other, other_key) =>
        {
            match &second.said {
                Said::Reservation { is_new, .. } => *is_new == Some(true),
                _ => true,
            }
        }
        (Call::Cancel(_), _) => sees(&second.said, &second.operation.call, id)
            .is_some_and(|status| status != Some(Status::Cancelled)),
        (Call::Refund(_), _) => sees(&second.said, &second.operation.call, id)
            .is_some_and(|status| status != Some(Status::Refunded)),
        (Call::Confirm(_), _) => {
            sees(&second.said, &second.operation.call, id) == Some(Some(Status::Held))
        }
        _ => false,
    }
}

/// The state in which an answer shows its reservation. `Some(None)`: held or confirmed.
fn sees(said: &Said, call: &Call, wanted: &str) -> Option<Option<Status>> {
    match (call, said) {
        // It was held right before.
        (Call::Cancel(id), Said::Reservation { .. }) if id == wanted => Some(Some(Status::Held)),
        (Call::Confirm(id), Said::Reservation { .. }) if id == wanted => Some(None),
        (Call::Cancel(id), Said::AlreadyConfirmed) if id == wanted => Some(Some(Status::Confirmed)),
        (Call::Refund(id), Said::NotConfirmed) if id == wanted => Some(Some(Status::Held)),
        (_, Said::Reservation { id, status, .. }) if id == wanted => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
#[path = "checker_tests.rs"]
mod tests;
