//! A server lives several times on one folder whose calls fail by a seed, and is killed each time:
//! nothing that it acknowledged is lost, nothing that it refused is there, and the orders get all
//! of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use stampede::ledger::embedded::{Cursor, Options, Store};
use stampede::orders::Order;
use stampede::sale::{SaleId, Status};
use tempfile::TempDir;

use crate::buyer::{Answer, Bought, Buyer};
use crate::chance::{Chance, seed};
use crate::library::{Count, Faults, Plan, program};
use crate::server::Server;

/// Ledgers, unless `STAMPEDE_TEST_ROUNDS` says otherwise, and the lives of the server of each.
const ROUNDS: usize = 2;
/// Ledgers at most: more than `ROUNDS` are needed if some call has not failed yet.
const ROUNDS_MAX: usize = 12;
const LIVES: usize = 10;
const BUYERS: usize = 8;
/// The longest life under faults.
const LIFE_MS_MAX: usize = 400;
/// Failures of a million calls, writes and syncs and others: the lives of a server have them in turn.
const FAILURES: [(u64, u64); 5] =
    [(0, 0), (500, 50_000), (5_000, 100_000), (50_000, 200_000), (300_000, 300_000)];
/// Attempts to start while calls fail, at most, between two lives.
const STARTS_MAX: usize = 3;
/// Time for anything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(60);
/// Time for a start while calls fail. After it, the start is killed.
const START_MS_MAX: u64 = 3_000;
const SALE: &str = "ticket";

/// A server's files, and the plan of its faults.
struct House {
    folder: TempDir,
    plan: Plan,
}

/// Keeps the files of a failure.
impl Drop for House {
    fn drop(&mut self) {
        if thread::panicking() {
            self.folder.disable_cleanup(true);
            println!("kept: {}", self.folder.path().display());
        }
    }
}

impl House {
    fn new(seed: u64) -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), plan: Plan::new(seed) }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn orders(&self) -> String {
        format!("sqlite:{}", self.folder.path().join("orders.db").display())
    }

    fn options(&self) -> Vec<String> {
        let ledger = format!("embedded:{}", self.data().display());
        let orders = self.orders();
        let sale = format!("{SALE}=1000000,hold=1h");
        let log = self.folder.path().join("stat.log").display().to_string();
        ["--ledger", &ledger, "--orders", &orders, "--stat-log", &log, "--sale", &sale]
            .into_iter()
            .chain(["--cores", "0", "--public-confirm"])
            .map(str::to_owned)
            .collect()
    }

    /// Starts the server, with no faults.
    fn serve(&self) -> Server {
        let options = self.options();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Server::start_program(program(), &self.plan.environment(self.folder.path()), &options)
    }

    /// Tries to start the server under faults, and kills it. It starts, or it ends with an error,
    /// or it is not ready in time.
    fn try_to_start(&self) -> &'static str {
        let mut command = Command::new(program());
        command.arg("serve").args(self.options());
        command.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        command.envs(self.plan.environment(self.folder.path()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the server");
        let (sender, ready) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("its output"));
        let stderr = BufReader::new(child.stderr.take().expect("its log"));
        let log = thread::spawn(move || {
            stderr.lines().map_while(Result::ok).collect::<Vec<_>>().join("\n")
        });
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if line.starts_with("buy one") {
                    let _ = sender.send(());
                }
            }
        });
        let waited = ready.recv_timeout(Duration::from_millis(START_MS_MAX));
        if matches!(waited, Ok(()) | Err(RecvTimeoutError::Timeout)) {
            child.kill().expect("kill the server");
        }
        // Otherwise its output has ended, and it ends.
        let status = child.wait().expect("wait for the server");
        let log = log.join().expect("its log");
        assert!(!log.contains("panicked"), "{log}");
        match waited {
            Ok(()) => "started",
            Err(RecvTimeoutError::Timeout) => "was slow",
            Err(RecvTimeoutError::Disconnected) => {
                assert_eq!(status.code(), Some(1), "{log}");
                "refused to start"
            }
        }
    }

    /// Every reservation of the ledger, by key. Not while a server runs.
    fn rows(&self) -> BTreeMap<String, (String, Status)> {
        let mut store = Store::open(&self.data(), Options { compaction_changes_min: u64::MAX })
            .unwrap_or_else(|error| panic!("{error}"));
        let (mut cursor, mut rows) = (Cursor::new(0, 1), BTreeMap::new());
        while cursor.position() < store.version() || cursor.is_walking() {
            for change in store.changes(&mut cursor, 1000).expect("changes") {
                let key = change.key.expect("each purchase has a key").as_str().to_owned();
                let row = (format!("{SALE}~{}", change.reservation.id), change.reservation.status);
                let before = rows.insert(key.clone(), row.clone());
                assert!(before.is_none_or(|before| before.0 == row.0), "two reservations of {key}");
            }
        }
        rows
    }

    /// Every order, by id. `None`: the database can't be read now.
    fn written(&self) -> Option<BTreeMap<String, Status>> {
        let mut orders = BTreeMap::new();
        let mut each = |order: Order| {
            let status = order.status.expect("a status");
            assert_eq!(orders.insert(format!("{SALE}~{}", order.id), status), None);
        };
        let sale = SaleId::new(SALE).expect("a sale");
        let read = stampede::orders::open(&self.orders());
        let read = read.and_then(|mut database| database.orders(&sale, &mut each));
        read.ok().map(|()| orders)
    }
}

/// What the buyers know.
#[derive(Default)]
struct Book {
    /// By key: the reservation, and the states in which it may be.
    told: BTreeMap<String, (String, Vec<Status>)>,
    /// Keys whose purchase may have happened.
    unknown: BTreeSet<String>,
    /// Keys whose every purchase was refused with the answer that nothing happened.
    refused: BTreeSet<String>,
}

impl Book {
    fn add(&mut self, other: Self) {
        self.told.extend(other.told);
        self.unknown.extend(other.unknown);
        self.refused.extend(other.refused);
    }

    /// Asks again for every lost answer, and looks at every reservation of the last life.
    fn find_out(&mut self, server: &Server, keys: &[String]) {
        let mut buyer = Buyer::connect(server.address()).expect("a server");
        for key in std::mem::take(&mut self.unknown) {
            let bought = buyer.reserve(SALE, "ann", 1, &key).expect("an answer").bought();
            let id = bought.granted().expect("there is stock");
            self.told.insert(key, (id, vec![Status::Held]));
        }
        for key in keys {
            let Some((id, may_be)) = self.told.get_mut(key) else { continue };
            let answer = buyer.reservation(id).expect("an answer");
            assert_eq!(answer.status, 200, "{key}: {id} is lost: {}", answer.body);
            let status = status_of(&answer);
            assert!(may_be.contains(&status), "{key}: {id} is {status:?}, not one of {may_be:?}");
            *may_be = vec![status];
        }
    }

    /// The ledger has exactly what the buyers know.
    fn check(&self, rows: &BTreeMap<String, (String, Status)>) {
        for (key, (id, may_be)) in &self.told {
            let (there, status) = rows.get(key).unwrap_or_else(|| panic!("{key}: {id} is lost"));
            assert_eq!(there, id, "{key}");
            assert!(may_be.contains(status), "{key}: {status:?}, not one of {may_be:?}");
        }
        if let Some(key) = rows.keys().find(|key| !self.told.contains_key(*key)) {
            let why = if self.refused.contains(key) { "was refused" } else { "is nobody's" };
            panic!("{key} {why}, and is there");
        }
    }
}

fn status_of(answer: &Answer) -> Status {
    let json = answer.json();
    let status = json["status"].as_str().and_then(Status::from_name);
    status.unwrap_or_else(|| panic!("no reservation: {json}"))
}

/// Buys until the test ends it or the server is gone.
fn buy(address: SocketAddr, name: &str, stop: &AtomicBool, mut chance: Chance) -> Book {
    let mut book = Book::default();
    let Ok(mut buyer) = Buyer::connect(address) else { return book };
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{name}-{number}");
        let Ok(answer) = buyer.reserve(SALE, "ann", 1, &key) else {
            book.unknown.insert(key);
            break;
        };
        match answer.bought() {
            Bought::Granted(id) => {
                let is_there = settle(&mut buyer, &id, &mut chance);
                let (may_be, is_there) = is_there.map_or_else(|may| (may, false), |is| (is, true));
                book.told.insert(key, (id, may_be));
                if !is_there {
                    break;
                }
            }
            Bought::Refused(code) if code == "unknown" => _ = book.unknown.insert(key),
            Bought::Refused(code) => {
                assert!(["unavailable", "busy"].contains(&&*code), "{code}");
                book.refused.insert(key);
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
    book
}

/// Pays for some reservations, and gives some back. Returns the states in which the reservation may
/// be. An error: the server is gone.
fn settle(buyer: &mut Buyer, id: &str, chance: &mut Chance) -> Result<Vec<Status>, Vec<Status>> {
    let (asked, becomes) = match chance.below(4) {
        0 => (buyer.confirm(id), Status::Confirmed),
        1 => (buyer.cancel(id), Status::Cancelled),
        _ => return Ok(vec![Status::Held]),
    };
    let either = vec![Status::Held, becomes];
    let Ok(answer) = asked else { return Err(either) };
    match answer.status {
        200 => Ok(vec![becomes]),
        503 if answer.json()["code"] == "unknown" => Ok(either),
        503 => Ok(vec![Status::Held]),
        _ => panic!("{id}: {} {}", answer.status, answer.body),
    }
}

/// One ledger, with its lives.
fn live(seed: u64) -> BTreeMap<String, Count> {
    let (house, mut chance, mut book) = (House::new(seed), Chance(seed), Book::default());
    let mut server = house.serve();
    for life in 0..LIVES {
        let (failures, failures_of_rare) = FAILURES[life % FAILURES.len()];
        let faults = Faults {
            failures,
            failures_of_rare,
            shortenings: 100_000,
            delays: 20_000,
            delay_us_max: 20_000,
        };
        let time = Duration::from_millis(20 + chance.below(LIFE_MS_MAX) as u64);
        let (address, stop) = (server.address(), AtomicBool::new(false));
        let mut next = Book::default();
        thread::scope(|scope| {
            let buyers: Vec<_> = (0..BUYERS)
                .map(|number| {
                    let (stop, chance) = (&stop, Chance(chance.next()));
                    let name = format!("{life}-{number}");
                    scope.spawn(move || buy(address, &name, stop, chance))
                })
                .collect();
            thread::sleep(Duration::from_millis(20));
            house.plan.set(faults);
            thread::sleep(time);
            // Sometimes the server is idle when it dies: nobody is told `unknown`.
            if chance.below(4) == 0 {
                stop.store(true, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
            server.kill();
            stop.store(true, Ordering::Relaxed);
            buyers.into_iter().for_each(|buyer| next.add(buyer.join().expect("a buyer")));
        });
        let starts = chance.below(STARTS_MAX + 1);
        let starts: Vec<_> = (0..starts).map(|_| house.try_to_start()).collect();
        house.plan.set(Faults::default());
        server.restart();
        println!(
            "life {life}: {faults:?}, {time:?}: told {}, unknown {}, refused {}; {starts:?}",
            next.told.len(),
            next.unknown.len(),
            next.refused.len()
        );
        let keys: Vec<String> = next.told.keys().chain(&next.unknown).cloned().collect();
        book.add(next);
        book.find_out(&server, &keys);
    }
    await_orders(&house, &book);
    assert_eq!(server.terminate(), 0, "{}", server.log());
    book.check(&house.rows());
    assert!(book.told.len() > LIVES, "hardly anything was sold");
    house.plan.print();
    house.plan.counts()
}

/// Waits until every order is written, with its last status, and no other.
fn await_orders(house: &House, book: &Book) {
    let wanted: BTreeMap<String, Vec<Status>> =
        book.told.values().map(|(id, may_be)| (id.clone(), may_be.clone())).collect();
    let until = Instant::now() + DEADLINE;
    loop {
        let written = house.written().unwrap_or_default();
        let is_right = |(id, status): (&String, &Status)| {
            wanted.get(id).is_some_and(|may_be| may_be.contains(status))
        };
        if written.len() == wanted.len() && written.iter().all(is_right) {
            return;
        }
        let (there, all) = (written.len(), wanted.len());
        assert!(Instant::now() < until, "{there} of {all} orders are written");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Kinds of calls of which one must have failed: a run without faults would show nothing.
const MUST_FAIL: [&[&str]; 5] =
    [&["write"], &["fdatasync"], &["rename"], &["unlink"], &["fallocate64", "ftruncate64"]];

/// Whether each kind of fault was there.
fn has_all_faults(counts: &BTreeMap<String, Count>) -> bool {
    let failed = |symbol: &&str| counts.get(*symbol).is_some_and(|c| c.refused + c.torn > 0);
    let both = ["pwrite64", "fdatasync"].map(|symbol| counts.get(symbol).copied());
    both.iter().flatten().filter(|count| count.refused > 0 && count.torn > 0).count() == both.len()
        && both[0].is_some_and(|count| count.shortened > 0)
        && both[1].is_some_and(|count| count.delayed > 0)
        && MUST_FAIL.iter().all(|symbols| symbols.iter().any(failed))
}

#[test]
fn nothing_acknowledged_is_lost_when_calls_fail_and_the_server_is_killed() {
    let rounds = std::env::var("STAMPEDE_TEST_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut chance = Chance(seed());
    let mut all: BTreeMap<String, Count> = BTreeMap::new();
    for round in 0.. {
        if round >= rounds && (has_all_faults(&all) || round >= ROUNDS_MAX) {
            break;
        }
        for (symbol, count) in live(chance.next()) {
            let sum = all.entry(symbol).or_default();
            sum.refused += count.refused;
            sum.torn += count.torn;
            sum.shortened += count.shortened;
            sum.delayed += count.delayed;
        }
    }
    assert!(has_all_faults(&all), "{all:?}");
}

/// The same seed has the same faults: what fails depends on the numbers of the calls alone.
#[test]
fn a_seed_repeats_its_faults() {
    let run = |seed: u64| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plan = Plan::new(seed);
        plan.set(Faults { failures_of_rare: 300_000, ..Faults::default() });
        // Programs with one thread each.
        for number in 0..40 {
            let name = folder.path().join(format!("folder{number}"));
            run_under(&plan, folder.path(), "mkdir", &name);
            run_under(&plan, folder.path(), "rmdir", &name);
        }
        let counts = plan.counts();
        ["mkdir", "rmdir"].map(|symbol| counts[symbol])
    };
    let (one, again, other) = (run(1), run(1), run(2));
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert!(one.iter().all(|count| count.refused > 0 && count.torn > 0), "{one:?}");
}

fn run_under(plan: &Plan, folder: &Path, program: &str, argument: &Path) {
    let mut command = Command::new(program);
    command.arg(argument).envs(plan.environment(folder)).stderr(Stdio::null());
    command.status().expect("run a program");
}
