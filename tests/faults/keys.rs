//! The set: buyers add reservations to one large sale, each under a key of its own, ask again until
//! they know, and pay or give back some. In the end the ledger has each of them once, as its buyer
//! was told, and no other.

use std::collections::{BTreeMap, BTreeSet};

use stampede::sale::Status;

use crate::chance::Chance;
use crate::objects;
use crate::process::PATIENCE;
use crate::record::{Call, Field, Lines, Record, Told};
use crate::rows::{Row, Rows, sale_of};
use crate::tally::Tally;

/// The sale.
pub const SALE: &str = "set";
/// Its units: more than can be sold.
pub const TOTAL: u64 = 1_000_000;
/// Buyers at a time.
const BUYERS: usize = 6;
/// Reservations of a round that are looked at when it is over. All are at the end.
const LOOKS: usize = 30;

/// What a buyer does about one reservation: each step until it is known to be done.
struct Want {
    key: String,
    user: String,
    /// What it becomes after it is bought.
    becomes: Status,
    /// What a buyer was told last, with the id.
    told: Option<(String, Status)>,
}

/// A buyer, over all rounds.
struct Buyer {
    number: usize,
    chance: Chance,
    count: usize,
    /// What the last round has not finished.
    open: Option<Want>,
}

impl Buyer {
    /// Buys until the field's time is over.
    fn run(&mut self, field: &Field) -> (Vec<Want>, Vec<Record>) {
        let (mut lines, mut done) = (Lines::new(field, self.number, SALE), Vec::new());
        while !field.is_over() {
            let mut want = self.open.take().unwrap_or_else(|| self.next());
            let at = self.chance.below(field.publics.len());
            match want.work(&mut lines, at, true) {
                true => done.push(want),
                false => self.open = Some(want),
            }
            std::thread::sleep(std::time::Duration::from_micros(self.chance.below(4_000) as u64));
        }
        (done, lines.records)
    }

    /// Finishes what the round has left.
    fn find_out(&mut self, field: &Field) -> (Vec<Want>, Vec<Record>) {
        let mut lines = Lines::new(field, self.number, SALE);
        let open = self.open.take().map(|mut want| {
            let is_known = want.work(&mut lines, self.number, false);
            assert!(is_known, "{}: nobody can find out what became of it", want.key);
            want
        });
        (open.into_iter().collect(), lines.records)
    }

    fn next(&mut self) -> Want {
        self.count += 1;
        let becomes = match self.chance.below(8) {
            0 | 1 => Status::Confirmed,
            2 => Status::Cancelled,
            _ => Status::Held,
        };
        let key = format!("{}-{}", self.number, self.count);
        Want { user: format!("user{key}"), key, becomes, told: None }
    }
}

impl Want {
    /// Buys and pays, or gives back. Returns whether all of it is known to be done.
    fn work(&mut self, lines: &mut Lines<'_>, at: usize, until_stop: bool) -> bool {
        if self.told.is_none() {
            let (user, key) = (self.user.clone(), self.key.clone());
            let buy = Call::Buy { user, key, quantity: 1 };
            if !lines.insist(at, &buy, until_stop, PATIENCE) {
                return false;
            }
            self.told = lines.last().reservation().map(|(id, status)| (id.to_owned(), status));
        }
        // A refusal: `check_round` looks at it.
        let Some((id, status)) = self.told.clone() else { return true };
        let call = match self.becomes {
            _ if status != Status::Held => return true,
            Status::Confirmed => Call::Confirm(id.clone()),
            Status::Cancelled => Call::Cancel(id.clone()),
            _ => return true,
        };
        if !lines.insist(at, &call, until_stop, PATIENCE) {
            return false;
        }
        let status = match lines.last() {
            Told::Reservation { status, .. } => *status,
            // The answer to the first attempt was lost.
            Told::Refused(code) if code == "already_cancelled" => Status::Cancelled,
            _ => status,
        };
        self.told = Some((id, status));
        true
    }
}

/// The sale with its buyers.
pub struct Keys {
    buyers: Vec<Buyer>,
    /// By key: user, reservation and status.
    known: BTreeMap<String, (String, Option<(String, Status)>)>,
    /// Keys of the last round.
    recent: Vec<String>,
    records: Vec<Record>,
}

impl Keys {
    /// Buyers who have bought nothing.
    pub fn new(chance: &mut Chance) -> Self {
        let mut next = || Chance(chance.next());
        let buyer = |number| Buyer { number, chance: next(), count: 0, open: None };
        let buyers = (0..BUYERS).map(buyer).collect();
        Self { buyers, known: BTreeMap::new(), recent: Vec::new(), records: Vec::new() }
    }

    /// The work of a round: a thread per buyer.
    pub fn work(&mut self) -> Vec<Work<'_>> {
        self.buyers.iter_mut().map(Work).collect()
    }

    /// Notes what a thread has done.
    pub fn note(&mut self, done: Done) {
        for want in done.wants {
            self.recent.push(want.key.clone());
            self.known.insert(want.key, (want.user, want.told));
        }
        self.records.extend(done.records);
    }

    /// Finds out everything, looks at some of it, and checks the round's history.
    pub fn check_round(&mut self, field: &Field, tally: &mut Tally) {
        for number in 0..self.buyers.len() {
            let (wants, records) = self.buyers[number].find_out(field);
            self.note(Done { wants, records });
        }
        let mut lines = Lines::new(field, BUYERS, SALE);
        for (back, key) in std::mem::take(&mut self.recent).iter().rev().enumerate() {
            match &self.known[key].1 {
                None => tally.wrong(format!("{key} was refused, with units for everybody")),
                Some((id, _)) if back < LOOKS => {
                    lines.insist(back, &Call::Show(id.clone()), false, PATIENCE);
                }
                Some(_) => {}
            }
        }
        self.records.extend(lines.records);
        let records = std::mem::take(&mut self.records);
        tally.count(&records);
        objects::check(&records, false, tally);
    }

    /// Compares what buyers know with what the ledger has.
    pub fn check_rows(&self, rows: &Rows, tally: &mut Tally) {
        let of_sale = || rows.iter().filter(|(id, _)| sale_of(id) == SALE);
        let mut by_key: BTreeMap<&str, &str> = BTreeMap::new();
        for (id, row) in of_sale() {
            if let Some(other) = by_key.insert(&row.key, id) {
                tally.wrong(format!("{}: two reservations, {other} and {id}", row.key));
            }
        }
        let mut ids = BTreeSet::new();
        for (key, (user, told)) in &self.known {
            let Some((id, status)) = told else {
                if by_key.contains_key(&**key) {
                    tally.wrong(format!("{key} was refused, and has a reservation"));
                }
                continue;
            };
            ids.insert(id.as_str());
            match rows.get(id) {
                None => tally.lost(format!("{key}: {id} was told to be {status:?}")),
                Some(row) if (&row.key, &row.user) != (key, user) => {
                    tally.wrong(format!("{id} is of {}, not of {key}", row.key));
                }
                Some(row) if row.status != *status => {
                    tally.lost(format!("{key}: {id} is {:?}, told {status:?}", row.status));
                }
                Some(_) => {}
            }
        }
        for (id, row) in of_sale().filter(|(id, _)| !ids.contains(id.as_str())) {
            tally.wrong(format!("{id} of {} is there, and nobody was told", row.key));
        }
    }
}

/// The work of one buyer in a round.
pub struct Work<'a>(&'a mut Buyer);

impl Work<'_> {
    /// Does it.
    pub fn run(self, field: &Field) -> Done {
        let (wants, records) = self.0.run(field);
        Done { wants, records }
    }
}

/// What a buyer has done.
pub struct Done {
    wants: Vec<Want>,
    records: Vec<Record>,
}

/// Shows that the comparison with the ledger finds what it is for: run before the scenarios.
pub fn try_out() {
    let row = |key: &str, status: Status| {
        let (user, key) = ("ann".to_owned(), key.to_owned());
        Row { user, key, quantity: 1, status }
    };
    let entry = |id: &str, key: &str, status: Status| (format!("{SALE}~{id}"), row(key, status));
    let found = |rows: &[(String, Row)]| {
        let mut keys = Keys::new(&mut Chance(1));
        let told = |id: &str, status: Status| Some((format!("{SALE}~{id}"), status));
        let ann = || "ann".to_owned();
        keys.known.insert("a".to_owned(), (ann(), told("1", Status::Held)));
        keys.known.insert("b".to_owned(), (ann(), told("2", Status::Confirmed)));
        keys.known.insert("c".to_owned(), (ann(), None));
        let mut tally = Tally::quiet();
        keys.check_rows(&rows.iter().cloned().collect(), &mut tally);
        (tally.lost, tally.wrong)
    };
    let (a, b) = (entry("1", "a", Status::Held), entry("2", "b", Status::Confirmed));
    assert_eq!(found(&[a.clone(), b.clone()]), (0, 0));
    // One is lost, or is not paid any more.
    assert_eq!(found(std::slice::from_ref(&a)), (1, 0));
    assert_eq!(found(&[a.clone(), entry("2", "b", Status::Held)]), (1, 0));
    // One is of another key.
    assert_eq!(found(&[a.clone(), entry("2", "d", Status::Confirmed)]), (0, 1));
    // A key has two, of which its buyer knows one.
    assert_eq!(found(&[a.clone(), b.clone(), entry("3", "b", Status::Held)]), (0, 2));
    // One was made for a refused key, of which nobody was told.
    assert_eq!(found(&[a, b, entry("3", "c", Status::Held)]), (0, 2));
}
