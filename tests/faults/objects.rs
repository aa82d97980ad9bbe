//! Each key, with the reservation that it got, is an object that takes one step at a time:
//! `stateright` looks for an order of its requests in which every answer is true. Linearizability
//! is local: if each object has such an order, so has all of it together. What objects share (units,
//! limits) is checked by `bank.rs` and `small.rs`.
//!
//! The tester has one call under way per thread. A call without an answer stays under way for ever:
//! the client's next call is made by another thread.

use std::collections::BTreeMap;

use stampede::sale::Status;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::record::{Call, Record, Told};
use crate::tally::Tally;

/// The tester tries all orders, without a memory of what it has tried: longer histories are counted
/// as undecided.
const CALLS_MAX: usize = 24;
const OPEN_MAX: usize = 5;

/// A key and its reservation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Object {
    /// `None`: there is no reservation yet.
    status: Option<State>,
    /// Holds end within the history.
    may_expire: bool,
}

/// A [`Status`] that can be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Held,
    Confirmed,
    Cancelled,
    Expired,
    Refunded,
}

impl From<Status> for State {
    fn from(status: Status) -> Self {
        match status {
            Status::Held => Self::Held,
            Status::Confirmed => Self::Confirmed,
            Status::Cancelled => Self::Cancelled,
            Status::Expired => Self::Expired,
            Status::Refunded => Self::Refunded,
        }
    }
}

/// A request about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ask {
    Buy,
    Confirm,
    Cancel,
    Refund,
    Show,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Answer {
    /// The reservation in this state, and whether this call made it.
    Is(State, bool),
    /// Refused with this code.
    Refused(String),
    /// None yet.
    Open,
}

impl Object {
    /// The hold may have ended unnoticed.
    fn expire_if(&mut self, shows_it: bool) {
        if shows_it && self.may_expire && self.status == Some(State::Held) {
            self.status = Some(State::Expired);
        }
    }

    /// Takes the step, if its answer can be given now.
    fn takes(&mut self, ask: Ask, answer: &Answer) -> bool {
        use State::{Cancelled, Confirmed, Expired, Held, Refunded};
        let shows_expiry = match answer {
            Answer::Is(status, _) => *status == Expired,
            Answer::Refused(code) => code == "expired" || code == "limit_reached",
            Answer::Open => false,
        };
        self.expire_if(shows_expiry && self.status.is_some());
        let next = match (ask, self.status, answer) {
            (Ask::Buy, None, Answer::Is(Held, true)) => Held,
            // Sold out, at the limit: no reservation was made by any call before.
            (Ask::Buy, None, Answer::Refused(_)) => return true,
            (Ask::Buy | Ask::Show, Some(is), Answer::Is(told, false)) if is == *told => is,
            (Ask::Confirm, Some(Held | Confirmed | Expired), Answer::Is(Confirmed, _)) => Confirmed,
            (Ask::Cancel, Some(Held), Answer::Is(Cancelled, _)) => Cancelled,
            (Ask::Refund, Some(Confirmed | Refunded), Answer::Is(Refunded, _)) => Refunded,
            (_, Some(is), Answer::Refused(code)) => {
                let is_true = match (ask, code.as_str()) {
                    (Ask::Confirm | Ask::Cancel | Ask::Refund, "already_cancelled") => {
                        is == Cancelled
                    }
                    (Ask::Confirm | Ask::Cancel, "already_refunded") => is == Refunded,
                    (Ask::Confirm | Ask::Cancel | Ask::Refund, "expired") => is == Expired,
                    // Its user has bought again meanwhile.
                    (Ask::Confirm, "limit_reached") => is == Expired,
                    (Ask::Cancel, "already_confirmed") => is == Confirmed,
                    (Ask::Refund, "not_confirmed") => is == Held,
                    _ => false,
                };
                return is_true;
            }
            _ => return false,
        };
        self.status = Some(next);
        true
    }
}

impl SequentialSpec for Object {
    type Op = Ask;
    type Ret = Answer;

    /// For a call without an answer: what it does if it is carried out.
    fn invoke(&mut self, ask: &Ask) -> Answer {
        let next = match (ask, self.status) {
            (Ask::Buy, None) => Some(State::Held),
            (Ask::Confirm, Some(State::Held | State::Expired)) => Some(State::Confirmed),
            (Ask::Cancel, Some(State::Held)) => Some(State::Cancelled),
            (Ask::Refund, Some(State::Confirmed)) => Some(State::Refunded),
            (_, status) => status,
        };
        self.status = next;
        Answer::Open
    }

    fn is_valid_step(&mut self, ask: &Ask, answer: &Answer) -> bool {
        self.takes(*ask, answer)
    }
}

/// The requests about one key and its reservation, with their answers.
#[derive(Default)]
struct History<'a> {
    records: Vec<&'a Record>,
    ids: Vec<&'a str>,
}

/// Checks every object of a history. `may_expire`: holds end within it.
pub fn check(records: &[Record], may_expire: bool, tally: &mut Tally) {
    for ((user, key), history) in by_key(records) {
        let what = format!("key {key} of {user}");
        if history.ids.windows(2).any(|pair| pair[0] != pair[1]) {
            tally.wrong(format!("{what}: several reservations: {:?}", history.ids));
            continue;
        }
        let open = history.records.iter().filter(|record| record.told == Told::Unknown).count();
        if history.records.len() > CALLS_MAX || open > OPEN_MAX {
            tally.undecided += 1;
            continue;
        }
        match is_linearizable(&history.records, may_expire) {
            true => tally.linearized += 1,
            false => {
                let records: Vec<String> =
                    history.records.iter().map(|record| format!("\n      {record:?}")).collect();
                tally.wrong(format!("{what}: no order of these: {}", records.concat()));
            }
        }
    }
}

fn by_key(records: &[Record]) -> BTreeMap<(&str, &str), History<'_>> {
    let mut histories: BTreeMap<(&str, &str), History<'_>> = BTreeMap::new();
    let mut owners: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    // What did nothing is in no order. That it did nothing is shown by the others, whose answers
    // then need no such call.
    let records: Vec<&Record> =
        records.iter().filter(|record| record.told != Told::Nothing).collect();
    for &record in &records {
        let Call::Buy { user, key, .. } = &record.call else { continue };
        let history = histories.entry((user, key)).or_default();
        history.records.push(record);
        if let Some((id, _)) = record.told.reservation() {
            history.ids.push(id);
            owners.insert(id, (user, key));
        }
    }
    for &record in &records {
        let id = match &record.call {
            Call::Confirm(id) | Call::Cancel(id) | Call::Refund(id) | Call::Show(id) => id,
            Call::Buy { .. } | Call::View | Call::Look | Call::AddStock(_) => continue,
        };
        // Bought in a round before.
        let Some(owner) = owners.get(id.as_str()) else { continue };
        let history = histories.get_mut(owner).expect("its purchase is there");
        history.records.push(record);
        if let Some((id, _)) = record.told.reservation() {
            history.ids.push(id);
        }
    }
    histories
}

fn is_linearizable(records: &[&Record], may_expire: bool) -> bool {
    let mut events = Vec::new();
    for (number, record) in records.iter().enumerate() {
        let Some((ask, answer)) = step(record) else { continue };
        // Of two events at one time, a beginning comes first: the calls overlap.
        events.push((record.began, 0, number, ask, None));
        if let Some(answer) = answer {
            events.push((record.ended, 1, number, ask, Some(answer)));
        }
    }
    events.sort_by_key(|(at, kind, number, ..)| (*at, *kind, *number));
    let object = Object { status: None, may_expire };
    let mut tester: LinearizabilityTester<usize, Object> = LinearizabilityTester::new(object);
    // By client: the thread that makes its calls now.
    let mut threads: BTreeMap<usize, usize> = BTreeMap::new();
    let mut busy: BTreeMap<usize, usize> = BTreeMap::new();
    let mut next = 0;
    for (_, _, number, ask, answer) in events {
        let client = records[number].client;
        let done = match answer {
            None => {
                // After a call without an answer, and for the first call, a new thread.
                let is_free = threads.get(&client).is_some_and(|thread| !busy.contains_key(thread));
                if !is_free {
                    threads.insert(client, next);
                    next += 1;
                }
                let thread = threads[&client];
                busy.insert(thread, number);
                tester.on_invoke(thread, ask).map(|_| ())
            }
            Some(answer) => {
                let thread = busy.iter().find(|(_, call)| **call == number);
                let thread = *thread.expect("its thread is busy").0;
                busy.remove(&thread);
                tester.on_return(thread, answer).map(|_| ())
            }
        };
        done.unwrap_or_else(|error| panic!("a history that no clients can make: {error}"));
    }
    tester.is_consistent()
}

/// A record as a call with its answer, which is `None` if there was none. Nothing: it did nothing.
fn step(record: &Record) -> Option<(Ask, Option<Answer>)> {
    let ask = match &record.call {
        Call::Buy { .. } => Ask::Buy,
        Call::Confirm(_) => Ask::Confirm,
        Call::Cancel(_) => Ask::Cancel,
        Call::Refund(_) => Ask::Refund,
        Call::Show(_) => Ask::Show,
        Call::View | Call::Look | Call::AddStock(_) => return None,
    };
    let answer = match &record.told {
        Told::Reservation { status, is_new, .. } => {
            Some(Answer::Is((*status).into(), *is_new && ask == Ask::Buy))
        }
        Told::Refused(code) => Some(Answer::Refused(code.clone())),
        Told::Unknown => None,
        Told::Nothing | Told::Counts { .. } | Told::Strange(_) => return None,
    };
    // Whether somebody has looked who was not told is nothing that others could see.
    if ask == Ask::Show && answer.is_none() {
        return None;
    }
    Some((ask, answer))
}

/// Shows that the tester finds what it is for: run before the scenarios.
pub fn try_out() {
    let is = |status: Status, is_new: bool| Told::Reservation {
        id: "1".to_owned(),
        status,
        is_new,
        expires_at_ms: 0,
    };
    let record = |client: usize, began: u64, ended: u64, call: Call, told: Told| Record {
        client,
        began,
        ended,
        call,
        told,
    };
    let buy = || Call::Buy { user: "ann".to_owned(), key: "key".to_owned(), quantity: 1 };
    let (cancel, confirm) = (|| Call::Cancel("1".to_owned()), || Call::Confirm("1".to_owned()));
    let found = |records: &[Record]| {
        let mut tally = Tally::quiet();
        check(records, false, &mut tally);
        (tally.linearized, tally.wrong)
    };
    let bought = record(0, 10, 20, buy(), is(Status::Held, true));
    let cancelled = record(0, 30, 40, cancel(), is(Status::Cancelled, false));
    assert_eq!(found(&[bought.clone(), cancelled.clone()]), (1, 0));
    // The answer was lost, and the next attempt finds the reservation.
    let lost = record(0, 10, u64::MAX, buy(), Told::Unknown);
    let again = record(0, 30, 40, buy(), is(Status::Held, false));
    assert_eq!(found(&[lost.clone(), again.clone()]), (1, 0));
    // It finds one that nobody has made.
    assert_eq!(found(std::slice::from_ref(&again)), (0, 1));
    // It was refused as sold out after it had been made.
    let refused = record(1, 30, 40, buy(), Told::Refused("sold_out".to_owned()));
    assert_eq!(found(&[bought.clone(), refused.clone()]), (0, 1));
    // While it was made, it may have been.
    let meanwhile = record(1, 15, 40, buy(), Told::Refused("sold_out".to_owned()));
    assert_eq!(found(&[bought.clone(), meanwhile]), (1, 0));
    // Paid, and given back.
    let paid = record(1, 50, 60, confirm(), is(Status::Confirmed, false));
    assert_eq!(found(&[bought.clone(), cancelled, paid.clone()]), (0, 1));
    // The same, if the end of the cancellation is not known: it came last, and was refused.
    let open = record(0, 30, u64::MAX, cancel(), Told::Unknown);
    assert_eq!(found(&[bought.clone(), open, paid]), (1, 0));
    // Two reservations of one key.
    let mut other = again;
    other.told = Told::Reservation {
        id: "2".to_owned(),
        status: Status::Held,
        is_new: true,
        expires_at_ms: 0,
    };
    assert_eq!(found(&[bought, other]), (0, 1));
}
