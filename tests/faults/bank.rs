//! The bank: few units that go from buyer to buyer, by cancellations, refunds and the end of their
//! hold, while faults come and go. Whatever is looked at adds up, at no time has anybody more than
//! the limit, and in the end every unit that nobody has can be bought.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use stampede::sale::Status;

use crate::buyer::Buyer;
use crate::chance::Chance;
use crate::objects;
use crate::over_time::{self, Rules};
use crate::process::PATIENCE;
use crate::record::{Call, Field, Lines, Record, Told};
use crate::tally::Tally;

/// Units, units per user, and how long they are held.
const TOTAL: u64 = 8;
const LIMIT: u64 = 2;
const HOLD_MS: u64 = 700;
/// Users, and clients, who are all users in turn.
const USERS: usize = 6;
const CLIENTS: usize = 6;
/// The promise: a hold that is over is back in stock within a second. The rest is for a machine that
/// has much else to do.
const RETURN_MS_MAX: u64 = 1_000;
const SLOWNESS_MS: u64 = 4_000;
/// Time after which nothing is held that was bought before.
const LAST_RETURN: Duration = Duration::from_millis(HOLD_MS + RETURN_MS_MAX + SLOWNESS_MS);
/// The same on a machine with nothing else to do.
pub const RETURN: Duration = Duration::from_millis(HOLD_MS + RETURN_MS_MAX + 300);

/// The sale, with its history so far.
pub struct Bank {
    sale: String,
    parts: usize,
    records: Vec<Record>,
    /// When a fault was there: from its beginning until all servers sold again.
    outages: Vec<(u64, u64)>,
    chance: Chance,
}

impl Bank {
    /// Creates the sale.
    pub fn open(field: &Field, number: usize, parts: usize, chance: &mut Chance) -> Self {
        let sale = format!("bank-{number}");
        let spec = json!({
            "id": sale, "total": TOTAL, "limit_per_user": LIMIT, "hold_ms": HOLD_MS,
            "splits": parts,
        });
        create(field, &spec.to_string());
        let chance = Chance(chance.next());
        Self { sale, parts, records: Vec::new(), outages: Vec::new(), chance }
    }

    /// The sale's id.
    pub fn sale(&self) -> &str {
        &self.sale
    }

    /// The work of a round: a thread per client, and one that looks all the time.
    pub fn work(&mut self) -> Vec<Work> {
        let begun = self.records.len();
        (0..=CLIENTS)
            .map(|number| Work {
                sale: self.sale.clone(),
                number,
                // No key is used in two rounds.
                prefix: format!("{begun}-{number}"),
                chance: Chance(self.chance.next()),
            })
            .collect()
    }

    /// Notes what a client has done.
    pub fn note(&mut self, records: Vec<Record>) {
        self.records.extend(records);
    }

    /// Notes when a fault was there.
    pub fn note_outage(&mut self, outage: (u64, u64)) {
        self.outages.push(outage);
    }

    /// Ends the sale: everything is found out, everything held returns, everything free is bought.
    /// Then the whole history is checked.
    pub fn settle(mut self, field: &Field, tally: &mut Tally) {
        let before = tally.found();
        self.find_out(field);
        let (rest, paid) = self.await_return(field, tally);
        self.check_paid(field, paid, tally);
        self.buy_the_rest(field, rest, tally);
        tally.count(&self.records);
        self.check_looks(tally);
        objects::check(&self.records, true, tally);
        let rules = Rules {
            total: TOTAL,
            limit_per_user: LIMIT,
            return_ns_max: (RETURN_MS_MAX + SLOWNESS_MS) * 1_000_000,
            is_split: self.parts > 1,
        };
        over_time::check(&rules, field, &self.records, &self.outages, tally);
        audit(field, &self.sale, tally);
        tally.keep(before, &format!("{}.txt", self.sale), &self.records);
    }

    /// Asks once more for every purchase whose outcome is open. No fault is there any more.
    fn find_out(&mut self, field: &Field) {
        let mut open: BTreeMap<(String, String), (u32, bool)> = BTreeMap::new();
        for record in &self.records {
            let Call::Buy { user, key, quantity } = &record.call else { continue };
            let is_open = open.entry((user.clone(), key.clone())).or_insert((*quantity, false));
            match record.told {
                Told::Unknown => is_open.1 = true,
                Told::Nothing => {}
                // A refusal before an open attempt says nothing of it, but keys are used in order.
                _ => is_open.1 = false,
            }
        }
        let mut lines = Lines::new(field, CLIENTS + 1, &self.sale);
        for ((user, key), (quantity, _)) in open.into_iter().filter(|(_, (_, is_open))| *is_open) {
            let call = Call::Buy { user, key, quantity };
            assert!(lines.insist(0, &call, false, PATIENCE), "{call:?}: no answer");
        }
        self.records.extend(lines.records);
    }

    /// Waits until nothing is held. Returns how many units are free, and how many are paid.
    fn await_return(&mut self, field: &Field, tally: &mut Tally) -> (u64, u64) {
        let since = Instant::now();
        let mut lines = Lines::new(field, CLIENTS + 2, &self.sale);
        let counts = loop {
            lines.insist(0, &Call::Look, false, PATIENCE);
            let Told::Counts { free, held, confirmed, .. } = *lines.last() else {
                panic!("no counts of {}: {:?}", self.sale, lines.last());
            };
            if held == 0 {
                break (free, confirmed);
            }
            if since.elapsed() > LAST_RETURN {
                let what = format!("{}: {held} units are held after {LAST_RETURN:?}", self.sale);
                tally.stranded(what);
                break (free, confirmed);
            }
            thread::sleep(Duration::from_millis(50));
        };
        self.records.extend(lines.records);
        counts
    }

    /// Every unit that counts as paid is in a reservation that is paid: all reservations are known.
    fn check_paid(&mut self, field: &Field, paid: u64, tally: &mut Tally) {
        let mut units: BTreeMap<String, u64> = BTreeMap::new();
        for record in &self.records {
            if let (Call::Buy { quantity, .. }, Some((id, _))) =
                (&record.call, record.told.reservation())
            {
                units.insert(id.to_owned(), u64::from(*quantity));
            }
        }
        let mut lines = Lines::new(field, CLIENTS + 4, &self.sale);
        let mut found = 0;
        for (number, (id, units)) in units.into_iter().enumerate() {
            let call = Call::Show(id);
            assert!(lines.insist(number, &call, false, PATIENCE), "{call:?}: no answer");
            if matches!(lines.last().reservation(), Some((_, Status::Confirmed))) {
                found += units;
            }
        }
        self.records.extend(lines.records);
        if paid > found {
            tally.stranded(format!("{}: {paid} units are paid, {found} are found", self.sale));
        }
        if paid < found {
            tally.oversold(format!("{}: {paid} units are paid, {found} are found", self.sale));
        }
    }

    /// Every free unit can be bought, through any server, and no more.
    fn buy_the_rest(&mut self, field: &Field, free: u64, tally: &mut Tally) {
        let mut lines = Lines::new(field, CLIENTS + 3, &self.sale);
        let (mut got, begun) = (0, Instant::now());
        for number in 0..=free {
            // One more than there are, unless the first of them may come back by now.
            if number == free && begun.elapsed() > Duration::from_millis(HOLD_MS / 2) {
                break;
            }
            let user = format!("last{number}");
            let call = Call::Buy { user, key: "last".to_owned(), quantity: 1 };
            // A core may have known for 100 ms that nothing is left; with parts, the search may
            // meet a unit that is on its way.
            let since = Instant::now();
            loop {
                assert!(lines.insist(number as usize, &call, false, PATIENCE), "no answer");
                let is_granted = lines.last().reservation().is_some();
                got += u64::from(is_granted);
                if is_granted || number == free || since.elapsed() > Duration::from_secs(1) {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        self.records.extend(lines.records);
        if got < free {
            tally.stranded(format!("{}: {got} of {free} free units can be bought", self.sale));
        }
        if got > free {
            tally.oversold(format!("{}: {got} were bought of {free} free units", self.sale));
        }
    }

    /// Units are neither made nor lost. A sale in parts is read part by part, while units move: it
    /// adds up only when nothing moves any more.
    fn check_looks(&self, tally: &mut Tally) {
        let is_look = |record: &&Record| matches!(record.told, Told::Counts { .. });
        let looks: Vec<&Record> = self.records.iter().filter(is_look).collect();
        let begin = if self.parts > 1 { looks.len().saturating_sub(1) } else { 0 };
        for record in &looks[begin..] {
            let Told::Counts { total, free, held, confirmed } = record.told else { continue };
            if total != TOTAL || held + confirmed > total || free != total - held - confirmed {
                tally.oversold(format!("{}: {:?} {:?}", self.sale, record.call, record.told));
            }
        }
    }
}

/// The work of one client in a round.
pub struct Work {
    sale: String,
    number: usize,
    prefix: String,
    chance: Chance,
}

impl Work {
    /// Does it.
    pub fn run(mut self, field: &Field) -> Vec<Record> {
        let mut lines = Lines::new(field, self.number, &self.sale);
        // Ids of this client's reservations.
        let mut own: Vec<String> = Vec::new();
        for step in 0.. {
            if field.is_over() {
                break;
            }
            let at = self.chance.below(field.publics.len());
            if self.number == CLIENTS {
                let call = if self.chance.below(4) == 0 { Call::Look } else { Call::View };
                lines.ask(at, call);
                thread::sleep(Duration::from_millis(4));
                continue;
            }
            // Mostly one of the last, which has not expired yet.
            let about = own.iter().rev().nth(self.chance.below(3)).cloned();
            match (self.chance.below(10), about) {
                (0..3, Some(id)) => _ = lines.ask(at, Call::Cancel(id)),
                (3, Some(id)) => _ = lines.ask(at, Call::Confirm(id)),
                (4, Some(id)) => _ = lines.ask(at, Call::Refund(id)),
                (5, Some(id)) => _ = lines.ask(at, Call::Show(id)),
                _ => self.buy(&mut lines, at, step, &mut own),
            }
            thread::sleep(Duration::from_micros(self.chance.below(8_000) as u64));
        }
        // Whatever is paid would be missing in the next rounds.
        for id in own {
            let time = Duration::from_millis(200);
            lines.insist(self.number, &Call::Refund(id), false, time);
        }
        lines.records
    }

    /// Buys under a new key, and asks again a few times if the outcome is open.
    fn buy(&mut self, lines: &mut Lines<'_>, at: usize, step: usize, own: &mut Vec<String>) {
        let call = Call::Buy {
            user: format!("user{}", self.chance.below(USERS)),
            key: format!("{}-{step}", self.prefix),
            quantity: 1 + self.chance.below(LIMIT as usize) as u32,
        };
        let time = Duration::from_millis(300);
        lines.insist(at, &call, true, time);
        if let Some((id, _)) = lines.last().reservation() {
            own.push(id.to_owned());
        }
    }
}

/// Creates a sale, through any server. Panics unless it is there then.
pub fn create(field: &Field, spec: &str) {
    let since = Instant::now();
    loop {
        let made = field.controls.iter().find_map(|&control| {
            let mut operator = Buyer::connect(control).ok()?;
            operator.request("POST", "/v1/sales", &[], spec).ok()
        });
        match made {
            Some(answer) if matches!(answer.status, 200 | 201) => return,
            other => assert!(since.elapsed() < PATIENCE, "{spec}: {other:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The audit of a sale finds no difference. A ledger that has just changed its Redis may refuse it for
/// a time.
pub fn audit(field: &Field, sale: &str, tally: &mut Tally) {
    let path = format!("/v1/audit?sale={sale}");
    let since = Instant::now();
    let report = loop {
        let mut operator = Buyer::connect(field.controls[0]).expect("a control port");
        let report = operator.request("GET", &path, &[], "").expect("an answer");
        if report.status == 200 {
            break report;
        }
        let is_patient = report.status == 503 && since.elapsed() < PATIENCE;
        assert!(is_patient, "{sale}: {} {}", report.status, report.body);
        thread::sleep(Duration::from_millis(50));
    };
    if report.json()["differences"] != 0 {
        tally.oversold(format!("{sale}: the audit finds differences: {}", report.body));
    }
}

/// Shows that looks are checked: run before the scenarios.
pub fn try_out() {
    let found = |free: u64, held: u64, confirmed: u64| {
        let told = Told::Counts { total: TOTAL, free, held, confirmed };
        let record = Record { client: 0, began: 1, ended: 2, call: Call::Look, told };
        let mut bank = Bank {
            sale: String::new(),
            parts: 1,
            records: Vec::new(),
            outages: Vec::new(),
            chance: Chance(1),
        };
        bank.note(vec![record]);
        let mut tally = Tally::quiet();
        bank.check_looks(&mut tally);
        tally.oversold
    };
    assert_eq!(found(TOTAL - 3, 2, 1), 0);
    // A unit is missing, there is one too many, and all but one are promised twice.
    assert_eq!(found(TOTAL - 4, 2, 1), 1);
    assert_eq!(found(TOTAL - 2, 2, 1), 1);
    assert_eq!(found(0, TOTAL, 1), 1);
}
