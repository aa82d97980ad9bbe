//! A small sale per round: several clients share each user, with the same keys and reservations, and
//! there is one order of all requests in which each answer is true. `tests/linear` has the checker,
//! and says exactly what that means; its own clients meet no faults.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::bank::{audit, create};
use crate::chance::Chance;
use crate::checker::{Rules, Wrong, check};
use crate::history::{self, NEVER, Operation, Said};
use crate::objects;
use crate::process::PATIENCE;
use crate::record::{Call, Field, Lines, Record, Told};
use crate::tally::Tally;

/// Units at first, and per user.
const TOTAL: u64 = 5;
const LIMIT: u64 = 3;
/// Users, and clients of each.
const USERS: usize = 3;
const CLIENTS_PER_USER: usize = 2;
/// Steps of a client at most: the time of the checker grows with them.
const STEPS_MAX: usize = 22;
/// Keys that a user uses at the same time, and steps after which he goes on to the next.
const KEYS_AT_ONCE: usize = 2;
const STEPS_PER_KEY: usize = 5;
/// Reservations of which a client acts about one.
const RECENT: usize = 4;
/// Steps between two of which units are added.
const ADDITION_STEPS: usize = 7;

/// The sale, with its history.
pub struct Small {
    sale: String,
    parts: usize,
    chance: Chance,
    /// Per user: the reservations in answers.
    known: Vec<Mutex<Vec<String>>>,
    records: Vec<Record>,
}

impl Small {
    /// Creates the sale. No hold ends within it.
    pub fn open(field: &Field, number: usize, parts: usize, chance: &mut Chance) -> Self {
        let sale = format!("small-{number}");
        let spec = json!({
            "id": sale, "total": TOTAL, "limit_per_user": LIMIT, "hold_ms": 3_600_000,
            "splits": parts,
        });
        create(field, &spec.to_string());
        let known = (0..USERS).map(|_| Mutex::default()).collect();
        Self { sale, parts, chance: Chance(chance.next()), known, records: Vec::new() }
    }

    /// The sale's id.
    pub fn sale(&self) -> &str {
        &self.sale
    }

    /// The work of the round: a thread per client.
    pub fn work(&mut self) -> (Vec<Work>, &[Mutex<Vec<String>>]) {
        let works = (0..USERS * CLIENTS_PER_USER).map(|number| Work {
            sale: self.sale.clone(),
            number,
            user: number % USERS,
            chance: Chance(self.chance.next()),
        });
        (works.collect(), &self.known)
    }

    /// Notes what a client has done.
    pub fn note(&mut self, records: Vec<Record>) {
        self.records.extend(records);
    }

    /// Asks for everything once more, and checks the history.
    pub fn settle(mut self, field: &Field, tally: &mut Tally) {
        let before = tally.found();
        self.find_out(field);
        tally.count(&self.records);
        objects::check(&self.records, false, tally);
        linearize(&self.sale, &self.records, self.parts, tally);
        audit(field, &self.sale, tally);
        tally.keep(before, &format!("{}.txt", self.sale), &self.records);
    }

    fn find_out(&mut self, field: &Field) {
        let mut lines = Lines::new(field, USERS * CLIENTS_PER_USER, &self.sale);
        let mut ask = |number: usize, call: Call| {
            assert!(lines.insist(number, &call, false, PATIENCE), "{call:?}: no answer");
        };
        for user in 0..USERS {
            for key in 0..STEPS_MAX.div_ceil(STEPS_PER_KEY) - 1 + KEYS_AT_ONCE {
                ask(key, buy(&self.sale, user, key));
            }
        }
        for known in &self.known {
            for (number, id) in lock(known).iter().enumerate() {
                ask(number, Call::Show(id.clone()));
            }
        }
        ask(0, Call::Look);
        self.records.extend(lines.records);
    }
}

fn lock(known: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn buy(sale: &str, user: usize, key: usize) -> Call {
    Call::Buy { user: format!("{sale}-user{user}"), key: format!("key{key}"), quantity: 1 }
}

/// The work of one client.
pub struct Work {
    sale: String,
    number: usize,
    user: usize,
    chance: Chance,
}

impl Work {
    /// Does it.
    pub fn run(mut self, field: &Field, known: &[Mutex<Vec<String>>]) -> Vec<Record> {
        let mut lines = Lines::new(field, self.number, &self.sale);
        let mut step = 0;
        while step < STEPS_MAX && !field.is_over() {
            let call = self.call(step, &known[self.user]);
            let at = self.chance.below(field.publics.len());
            let told = lines.ask(at, call.clone());
            // What was not even sent is no step.
            step += usize::from(*told != Told::Nothing);
            if let (Call::Buy { .. }, Some((id, _))) = (&call, told.reservation()) {
                let mut known = lock(&known[self.user]);
                if !known.iter().any(|other| other == id) {
                    known.push(id.to_owned());
                }
            }
            thread::sleep(Duration::from_micros(500 + self.chance.below(12_000) as u64));
        }
        lines.records
    }

    fn call(&mut self, step: usize, known: &Mutex<Vec<String>>) -> Call {
        if self.number == 0 && step % ADDITION_STEPS == ADDITION_STEPS - 1 {
            return Call::AddStock(1 + self.chance.below(2) as u64);
        }
        // Mostly one of the last, which is not finished yet.
        let back = self.chance.below(RECENT);
        let about = lock(known).iter().rev().nth(back).cloned();
        match (self.chance.below(20), about) {
            (0..4, Some(id)) => Call::Cancel(id),
            (4..7, Some(id)) => Call::Confirm(id),
            (7, Some(id)) => Call::Show(id),
            (8..11, Some(id)) => Call::Refund(id),
            _ => {
                let key = step / STEPS_PER_KEY + self.chance.below(KEYS_AT_ONCE);
                buy(&self.sale, self.user, key)
            }
        }
    }
}

/// A record as the checker has it. `None`: nothing was done. An error: an answer that this sale never
/// gives.
fn operation(record: &Record) -> Result<Option<Operation>, String> {
    let call = match &record.call {
        Call::Buy { user, key, .. } => {
            history::Call::Buy { user: user.clone(), key: Some(key.clone()) }
        }
        Call::Confirm(id) => history::Call::Confirm(id.clone()),
        Call::Cancel(id) => history::Call::Cancel(id.clone()),
        Call::Refund(id) => history::Call::Refund(id.clone()),
        Call::Show(id) => history::Call::Show(id.clone()),
        Call::Look => history::Call::Look,
        Call::AddStock(units) => history::Call::AddStock(*units),
        // Up to 100 ms old.
        Call::View => return Ok(None),
    };
    let is_purchase = matches!(record.call, Call::Buy { .. });
    let said = match &record.told {
        Told::Nothing => return Ok(None),
        Told::Unknown => None,
        Told::Reservation { id, status, is_new, .. } => Some(Said::Reservation {
            id: id.clone(),
            is_new: is_purchase.then_some(*is_new),
            status: Some(*status),
        }),
        Told::Counts { .. } if matches!(record.call, Call::AddStock(_)) => Some(Said::Added),
        Told::Counts { total, held, confirmed, .. } => {
            Some(Said::Counts { total: *total, held: *held, confirmed: *confirmed })
        }
        Told::Refused(code) => Some(match code.as_str() {
            "sold_out" => Said::SoldOut,
            "limit_reached" => Said::LimitReached,
            "already_cancelled" => Said::AlreadyCancelled,
            "already_confirmed" => Said::AlreadyConfirmed,
            "already_refunded" => Said::AlreadyRefunded,
            "not_confirmed" => Said::NotConfirmed,
            code => return Err(code.to_owned()),
        }),
        Told::Strange(answer) => return Err(answer.clone()),
    };
    // A look or a show without an answer did nothing that anybody could see.
    if said.is_none() && matches!(record.call, Call::Look | Call::Show(_)) {
        return Ok(None);
    }
    let ended = if said.is_none() { NEVER } else { record.ended };
    Ok(Some(Operation { began: record.began, ended, call, said }))
}

/// Looks for one order of all requests in which each answer is true.
fn linearize(sale: &str, records: &[Record], parts: usize, tally: &mut Tally) {
    let mut operations = Vec::new();
    for record in records {
        match operation(record) {
            Ok(operation) => operations.extend(operation),
            Err(answer) => tally.wrong(format!("{sale}: {answer}: {record:?}")),
        }
    }
    // Every purchase has a key, so no answer may be older than its request.
    let rules = Rules { total: TOTAL, limit_per_user: LIMIT, hearsay: 0, is_split: parts > 1 };
    match check(&rules, &operations) {
        Ok(()) => tally.linearized += 1,
        Err(Wrong::Undecided(_)) => tally.undecided += 1,
        Err(wrong) => tally.wrong(format!("{sale}: {wrong}")),
    }
}

/// Shows that records reach the checker as they are: run before the scenarios. `tests/linear` shows
/// what the checker finds.
pub fn try_out() {
    let found = |answers: &[Told]| {
        let records: Vec<Record> = (0..)
            .zip(answers)
            .map(|(number, told)| {
                let began = 10 * number as u64;
                let ended = if *told == Told::Unknown { NEVER } else { began + 5 };
                let call = match told {
                    Told::Counts { .. } => Call::Look,
                    _ => buy("small", number, 0),
                };
                Record { client: number, began, ended, call, told: told.clone() }
            })
            .collect();
        let mut tally = Tally::quiet();
        linearize("small", &records, 1, &mut tally);
        (tally.linearized, tally.wrong)
    };
    let made = |number: u64| Told::Reservation {
        id: number.to_string(),
        status: history::Status::Held,
        is_new: true,
        expires_at_ms: 0,
    };
    let sold_out = || Told::Refused("sold_out".to_owned());
    let all = || (0..TOTAL).map(made).collect::<Vec<_>>();
    assert_eq!(found(&[&all()[..], &[sold_out()]].concat()), (1, 0));
    // One more than there are, and a refusal while one is left.
    assert_eq!(found(&[&all()[..], &[made(TOTAL)]].concat()), (0, 1));
    assert_eq!(found(&[&all()[1..], &[sold_out()]].concat()), (0, 1));
    // A purchase without an answer may have had it.
    assert_eq!(found(&[&all()[1..], &[Told::Unknown, sold_out()]].concat()), (1, 0));
    let counts = |free: u64| Told::Counts { total: TOTAL, free, held: TOTAL - free, confirmed: 0 };
    assert_eq!(found(&[made(1), counts(TOTAL - 1)]), (1, 0));
    assert_eq!(found(&[made(1), counts(TOTAL)]), (0, 1));
    let (linearized, wrong) = found(&[Told::Refused("no_such_code".to_owned())]);
    assert_eq!((linearized, wrong), (1, 1));
}
