//! The rounds of a scenario: buyers buy, a fault comes and goes, everybody finds out, and what they
//! were told is checked.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bank::{self, Bank, create};
use crate::buyer::Buyer;
use crate::chance::Chance;
use crate::keys::{self, Keys};
use crate::process::PATIENCE;
use crate::record::Field;
use crate::rows::Rows;
use crate::small::Small;
use crate::tally::Tally;

/// Rounds after which a bank is settled: that takes as long as its holds.
const ROUNDS_PER_BANK: usize = 5;
/// The longest times before a fault, and after it, in which buyers buy.
const BEFORE_MS_MAX: usize = 150;
const AFTER_MS_MAX: usize = 80;

/// How much a scenario is to do.
pub struct Plan {
    /// The seed of all its choices.
    pub seed: u64,
    /// Faults.
    pub rounds: usize,
    /// No round begins after this, but the first one.
    pub until: Instant,
    /// Where the histories of findings go.
    pub evidence: PathBuf,
}

impl Plan {
    /// The choices of one who is named so: another one's do not change them.
    pub fn chance(&self, name: &str) -> Chance {
        let named = name.bytes().fold(self.seed, |sum, byte| {
            let mut chance = Chance(sum ^ u64::from(byte));
            chance.next()
        });
        Chance(named)
    }

    /// A result with nothing in it.
    pub fn tally(&self) -> Tally {
        Tally::new(&self.evidence)
    }
}

/// What is disturbed.
pub trait Place: Send {
    /// The public ports of its servers, and their control ports.
    fn doors(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>);

    /// The number of parts of each sale.
    fn parts(&self) -> usize {
        1
    }

    /// Has one fault come and go. When it returns, all programs run; they need not be ready.
    fn disturb(&mut self, chance: &mut Chance) -> Fault;

    /// Ends the servers, and reads what the ledger has of these sales.
    fn rows(&mut self, sales: &BTreeSet<String>) -> Rows;

    /// Checks what else got it: orders, webhooks. Servers may have ended.
    fn check_more(&mut self, rows: &Rows, sales: &BTreeSet<String>, tally: &mut Tally) {
        let _ = (rows, sales, tally);
    }

    /// What the logs of ended programs say that they must not.
    fn faults(&self) -> Vec<String>;
}

/// A fault that was there.
pub struct Fault {
    /// What it was.
    pub what: &'static str,
    /// Processes that it has killed. 0: it starved or cut something.
    pub kills: usize,
}

impl Fault {
    /// A process was killed.
    pub fn killed(what: &'static str) -> Self {
        Self { what, kills: 1 }
    }

    /// Nothing was killed.
    pub fn starved(what: &'static str) -> Self {
        Self { what, kills: 0 }
    }
}

/// Runs all rounds, and checks everything in the end.
pub fn run(place: &mut dyn Place, plan: &Plan) -> Tally {
    let mut tally = plan.tally();
    let (publics, controls) = place.doors();
    let mut field = Field::new(publics, controls);
    let parts = place.parts();
    let mut chance = plan.chance("rounds");
    let mut faults = plan.chance("faults");
    let set =
        json!({ "id": keys::SALE, "total": keys::TOTAL, "hold_ms": 3_600_000, "splits": parts });
    await_ready(&field);
    create(&field, &set.to_string());
    let mut keys = Keys::new(&mut chance);
    let mut bank = None;
    let mut sales = BTreeSet::from([keys::SALE.to_owned()]);
    for number in 0..plan.rounds {
        if number > 0 && Instant::now() > plan.until {
            println!("   {number} of {} rounds: the time is over", plan.rounds);
            break;
        }
        let mut small = Small::open(&field, number, parts, &mut chance);
        let mut open =
            bank.take().unwrap_or_else(|| Bank::open(&field, number, parts, &mut chance));
        sales.extend([small.sale().to_owned(), open.sale().to_owned()]);
        let before = Duration::from_millis(5 + chance.below(BEFORE_MS_MAX) as u64);
        let after = Duration::from_millis(chance.below(AFTER_MS_MAX) as u64);
        field.stop = false.into();
        let disturbed = one_round(&field, &mut keys, &mut open, &mut small, || {
            thread::sleep(before);
            let began = field.now();
            let fault = place.disturb(&mut faults);
            await_ready(&field);
            let ended = field.now();
            thread::sleep(after);
            (fault, began, ended)
        });
        let (fault, began, ended) = disturbed;
        tally.outage_max = tally.outage_max.max(Duration::from_nanos(ended - began));
        match fault.kills {
            0 => *tally.starvations.entry(fault.what).or_default() += 1,
            kills => *tally.kills.entry(fault.what).or_default() += kills,
        }
        open.note_outage((began, ended));
        keys.check_round(&field, &mut tally);
        small.settle(&field, &mut tally);
        if number % ROUNDS_PER_BANK == ROUNDS_PER_BANK - 1 {
            open.settle(&field, &mut tally);
        } else {
            bank = Some(open);
        }
    }
    if let Some(open) = bank {
        open.settle(&field, &mut tally);
    }
    // What the last buyers of a bank hold returns, so that nothing changes any more.
    thread::sleep(bank::RETURN);
    let rows = place.rows(&sales);
    keys.check_rows(&rows, &mut tally);
    place.check_more(&rows, &sales, &mut tally);
    for fault in place.faults() {
        tally.wrong(fault);
    }
    tally
}

/// Has everybody buy while `disturb` runs, and notes what they did.
fn one_round<T>(
    field: &Field,
    keys: &mut Keys,
    bank: &mut Bank,
    small: &mut Small,
    disturb: impl FnOnce() -> T,
) -> T {
    let (of_keys, of_bank) = (keys.work(), bank.work());
    let (of_small, known) = small.work();
    let (disturbed, done_keys, done_bank, done_small) = thread::scope(|scope| {
        let of_keys: Vec<_> =
            of_keys.into_iter().map(|work| scope.spawn(move || work.run(field))).collect();
        let of_bank: Vec<_> =
            of_bank.into_iter().map(|work| scope.spawn(move || work.run(field))).collect();
        let of_small: Vec<_> =
            of_small.into_iter().map(|work| scope.spawn(move || work.run(field, known))).collect();
        // Buyers end also if something fails here: the scope waits for them.
        let over = Over(field);
        let disturbed = disturb();
        drop(over);
        let keys: Vec<_> = of_keys.into_iter().map(|one| one.join().expect("a buyer")).collect();
        let bank: Vec<_> = of_bank.into_iter().map(|one| one.join().expect("a buyer")).collect();
        let small: Vec<_> = of_small.into_iter().map(|one| one.join().expect("a buyer")).collect();
        (disturbed, keys, bank, small)
    });
    done_keys.into_iter().for_each(|done| keys.note(done));
    done_bank.into_iter().for_each(|records| bank.note(records));
    done_small.into_iter().for_each(|records| small.note(records));
    disturbed
}

/// Ends the buyers on drop.
struct Over<'a>(&'a Field);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Waits until each server reads and writes its ledger.
pub fn await_ready(field: &Field) {
    let since = Instant::now();
    for &control in &field.controls {
        // A sale that nobody else uses, with a unit that is never sold.
        let spec = json!({ "id": "ready", "total": 1 }).to_string();
        let is_ready = || {
            let mut operator = Buyer::connect(control).ok()?;
            let made = operator.request("POST", "/v1/sales", &[], &spec).ok()?;
            let is_made = matches!(made.status, 200 | 201);
            let ready = operator.request("GET", "/readyz", &[], "").ok()?;
            (is_made && ready.status == 200).then_some(())
        };
        while is_ready().is_none() {
            assert!(since.elapsed() < PATIENCE, "{control} does not sell again");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
