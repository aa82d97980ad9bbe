//! Sentinel: the primary dies, sleeps or comes back while a sale runs. Servers follow the promotion
//! within a second, nobody writes to the old primary, and what is lost is what the setting says.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::Scenario;
use crate::buyer::{Bought, Buyer};
use crate::lab::{Lab, Program, until};
use crate::server::Server;
use crate::table::Line;
use crate::trio::Trio;

pub const SCENARIO: Scenario = Scenario {
    name: "sentinel",
    shows: "the primary dies, sleeps, comes back: followed within a second, nothing lost beyond the setting",
    in_ci: false,
    needs: &[("redis-server", "redis-server")],
    run,
};

const TOTAL: usize = 10_000;
const BUYERS: usize = 48;
/// What the issue wants between the promotion and the first sale after it.
const FOLLOWED: Duration = Duration::from_secs(1);
/// How often that is tried.
const TRIALS: usize = 3;
/// What a failover takes on a machine that does nothing else is below two seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a primary has no replica before it dies.
const CUT_OFF: Duration = Duration::from_millis(300);
/// Redis refuses what no replica would get.
const ONE_REPLICA: [&str; 4] = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"];

fn run() -> Vec<Line> {
    let mut lines = in_time(killed);
    lines.extend(in_time(asleep));
    lines.extend(lost_and_found());
    lines.extend(lost_nothing());
    lines
}

/// What was measured, and how long the servers took to follow. A machine that keeps a core from a
/// server for a second says nothing about the server: then it is tried again, and told.
fn in_time(trial: fn() -> (Duration, Vec<Line>)) -> Vec<Line> {
    let mut slow = Vec::new();
    while slow.len() < TRIALS {
        let (followed, mut lines) = trial();
        if followed < FOLLOWED {
            let before =
                if slow.is_empty() { String::new() } else { format!("; before: {slow:?}") };
            lines.insert(
                1,
                Line::new("promotion to the first grant", "< 1 s", ms(followed) + &before),
            );
            return lines;
        }
        slow.push(followed);
    }
    panic!("followed after {slow:?}");
}

/// A sale through two servers, and what its buyers were told.
struct Sale {
    servers: [Server; 2],
    grants: Mutex<HashMap<String, Instant>>,
    count: AtomicUsize,
    /// Buyers wait.
    halted: AtomicBool,
    waiting: AtomicUsize,
}

impl Sale {
    fn start(trio: &Trio, options: &[&str]) -> Self {
        let (url, ticket) = (trio.url("stampede"), format!("ticket={TOTAL}"));
        let all = [&["--ledger", &url, "--sale", &ticket], options].concat();
        let servers = [Server::start(&all), Server::start(&all)];
        Self {
            servers,
            grants: Mutex::default(),
            count: AtomicUsize::new(0),
            halted: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Sells everything, and calls `disturb` once a third of it is sold.
    fn sell(&self, disturb: impl FnOnce(&Self) + Send) {
        thread::scope(|scope| {
            for number in 0..BUYERS {
                scope.spawn(move || self.buy(number));
            }
            until("a third is sold", PATIENCE, || self.granted() >= TOTAL / 3);
            disturb(self);
        });
    }

    /// Has every buyer wait between two purchases, and returns when all do.
    fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
        until("all buyers wait", PATIENCE, || self.waiting.load(Ordering::SeqCst) == BUYERS);
    }

    fn go_on(&self) {
        self.halted.store(false, Ordering::SeqCst);
    }

    fn wait_while_halted(&self) {
        if self.halted.load(Ordering::SeqCst) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            while self.halted.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn granted(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// One buyer after the other, each with a key, who asks until he knows.
    fn buy(&self, number: usize) {
        let mut turn = number;
        let mut connection = None;
        let until = Instant::now() + 2 * PATIENCE;
        for attempt in 0.. {
            self.wait_while_halted();
            let (user, key) = (format!("u{number}-{attempt}"), format!("k{number}-{attempt}"));
            loop {
                assert!(Instant::now() < until, "a buyer still does not know");
                let buyer = match &mut connection {
                    Some(buyer) => buyer,
                    gone => {
                        turn += 1;
                        let server = &self.servers[turn % 2];
                        gone.insert(Buyer::connect(server.address()).expect("a server"))
                    }
                };
                match buyer.reserve("ticket", &user, 1, &key).map(|answer| answer.bought()) {
                    Ok(Bought::Granted(id)) => {
                        self.grants.lock().expect("the list").insert(id, Instant::now());
                        self.count.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    Ok(Bought::Refused(code)) if code == "sold_out" => return,
                    Ok(Bought::Refused(code)) => {
                        let passes = ["unknown", "unavailable", "busy"].contains(&code.as_str());
                        assert!(passes, "{code}");
                        thread::sleep(Duration::from_millis(10));
                    }
                    Err(_) => connection = None,
                }
            }
        }
    }

    /// From then on to the first grant.
    fn first_grant(&self, since: Instant) -> Duration {
        let grants = self.grants.lock().expect("the list");
        let first = grants.values().filter(|at| **at > since).min().expect("a grant afterwards");
        *first - since
    }

    /// Reservations that somebody was told of and that the ledger does not have. Everything else
    /// must be as it should: all is sold, and whoever has something knows.
    fn lost(&self, trio: &Trio) -> HashSet<String> {
        let (_, primary) = trio.primary();
        let mut connection = primary.connect();
        let sold = connection.text("HGET ticket_hash_key ticket_sold_nums");
        let there = connection.reservations("{ticket_hash_key}:reservations").into_iter();
        let there: HashSet<String> = there.map(|(id, _)| format!("ticket~{id}")).collect();
        let told: HashSet<String> = self.grants.lock().expect("the list").keys().cloned().collect();
        assert_eq!((sold, there.len()), (TOTAL.to_string(), TOTAL));
        let untold = there.difference(&told).count();
        assert_eq!(untold, 0, "reservations of which nobody was told");
        told.difference(&there).cloned().collect()
    }
}

/// What `stampede audit` finds: differences, and its report.
fn audit(trio: &Trio, orders: Option<&str>) -> (u64, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(["audit", "--ledger", &trio.url("stampede"), "--sale", "ticket", "--json"]);
    command.args(orders.iter().flat_map(|orders| ["--orders", orders]));
    let done = command.output().expect("run the audit");
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&done.stderr));
    });
    let differences = report["differences"].as_u64().expect("a number");
    assert_eq!(done.status.code(), Some(i32::from(differences > 0)), "{report}");
    (differences, report)
}

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// How often a Redis was asked to run one of our scripts since it started.
fn asked(trio: &Trio, number: usize) -> u64 {
    let told = trio.redis[number].connect().text("INFO commandstats");
    let line = told.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    line.map_or(0, |line| line.split(',').next().and_then(|n| n.parse().ok()).expect("a number"))
}

/// The primary is killed and comes back.
fn killed() -> (Duration, Vec<Line>) {
    let lab = Lab::new();
    let mut trio = Trio::start(&lab, &[]);
    let sale = Sale::start(&trio, &[]);
    let mut killed_at = Instant::now();
    sale.sell(|_| {
        killed_at = Instant::now();
        trio.signal(0, Signal::KILL);
        trio.promotion();
    });
    let promoted = trio.promotion();
    let followed = sale.first_grant(promoted);
    let lost = sale.lost(&trio).len();
    assert_eq!(audit(&trio, None).0, 0);

    // It thinks that it is the primary until a Sentinel tells it otherwise.
    trio.redis[0].restart();
    trio.follows(0);
    for _ in 0..20 {
        for server in &sale.servers {
            let mut buyer = Buyer::connect(server.address()).expect("a server");
            assert!(
                buyer.reserve("ticket", "late", 1, "").expect("an answer").bought().is("sold_out")
            );
        }
    }
    assert_eq!(asked(&trio, 0), 0, "the old primary was asked");
    let there = trio.redis[0].connect().text("HGET ticket_hash_key ticket_sold_nums");
    assert_eq!(there, TOTAL.to_string(), "by replication");
    let lines = vec![
        Line::new("primary killed: to the promotion", "", ms(promoted - killed_at)),
        Line::new(
            "primary killed: sold; lost of what was told",
            "10000; replication's lag",
            format!("{TOTAL}; {lost}"),
        ),
        Line::new("the old primary comes back: our scripts on it", "0", "0"),
    ];
    (followed, lines)
}

/// The primary stops and wakes after the failover, with our batches in its buffers.
fn asleep() -> (Duration, Vec<Line>) {
    let lab = Lab::new();
    let trio = Trio::start(&lab, &ONE_REPLICA);
    let sale = Sale::start(&trio, &["--redis-wait", "1"]);
    let mut asleep_at = Instant::now();
    sale.sell(|_| {
        asleep_at = Instant::now();
        trio.signal(0, Signal::STOP);
        let promoted = trio.promotion();
        until("it is followed", PATIENCE, || {
            sale.grants.lock().expect("the list").values().any(|at| *at > promoted)
        });
        trio.signal(0, Signal::CONT);
    });
    let promoted = trio.promotion();
    let followed = sale.first_grant(promoted);
    trio.follows(0);
    // What lay in its buffers it has done, and thrown away. Nothing comes after that.
    let before = asked(&trio, 0);
    for server in &sale.servers {
        let mut buyer = Buyer::connect(server.address()).expect("a server");
        assert!(buyer.reserve("ticket", "late", 1, "").expect("an answer").bought().is("sold_out"));
    }
    thread::sleep(Duration::from_secs(1));
    assert_eq!(asked(&trio, 0), before, "the old primary was asked");
    let lost = sale.lost(&trio).len();
    assert_eq!(lost, 0, "acknowledged with WAIT and lost");
    assert_eq!(audit(&trio, None).0, 0);
    let lines = vec![
        Line::new("primary asleep: to the promotion", "", ms(promoted - asleep_at)),
        Line::new(
            "primary asleep, --redis-wait 1: sold, lost",
            "10000, 0",
            format!("{TOTAL}, {lost}"),
        ),
    ];
    (followed, lines)
}

/// The replicas are cut off, and the primary dies before they are back: the case in which
/// asynchronous replication loses what was acknowledged. A worker of the orders has read it, so the
/// audit finds every one.
fn lost_and_found() -> Vec<Line> {
    let lab = Lab::new();
    let trio = Trio::start(&lab, &[]);
    let sale = Sale::start(&trio, &[]);
    let orders = format!("sqlite:{}", lab.folder().join("orders.db").display());
    let mut between = 0;
    let mut worker = worker(&lab, &trio, &orders);
    sale.sell(|sale| {
        let before = sale.granted();
        trio.cut_off_replicas();
        thread::sleep(CUT_OFF);
        sale.halt();
        between = sale.granted() - before;
        until("the worker has read all of it", PATIENCE, || {
            let groups = trio.redis[0].connect().list("XINFO GROUPS {ticket_hash_key}:stream");
            let is = |name: &str, value: &str| {
                groups.windows(2).any(|pair| pair[0] == name && pair[1] == value)
            };
            is("lag", "0") && is("pending", "0")
        });
        trio.signal(0, Signal::KILL);
        trio.let_replicas_go_on();
        sale.go_on();
    });
    let lost = sale.lost(&trio).len();
    assert!(lost > 0 && lost <= between, "{lost} of {between}");
    assert_eq!(worker.terminate(PATIENCE), 0, "{}", worker.log());
    crate::lab::output(orders_command(&trio, &orders).arg("--once"));
    let (differences, report) = audit(&trio, Some(&orders));
    assert!(report.to_string().contains("a row without a reservation"), "{report}");
    assert_eq!(differences, lost as u64, "{report}");
    vec![Line::new(
        "replicas cut off, then killed: sold; lost of what was told; found by the audit",
        "10000; what no replica had; all",
        format!("{TOTAL}; {lost}; {differences}"),
    )]
}

/// The same with `--redis-wait`: what no replica has nobody was told.
fn lost_nothing() -> Vec<Line> {
    let lab = Lab::new();
    let trio = Trio::start(&lab, &ONE_REPLICA);
    let sale = Sale::start(&trio, &["--redis-wait", "1"]);
    let mut between = 0;
    sale.sell(|sale| {
        trio.cut_off_replicas();
        let before = sale.granted();
        thread::sleep(CUT_OFF);
        between = sale.granted() - before;
        trio.signal(0, Signal::KILL);
        trio.let_replicas_go_on();
    });
    let lost = sale.lost(&trio).len();
    assert_eq!(lost, 0, "acknowledged with WAIT and lost");
    assert!(between <= BUYERS, "{between} granted that no replica had");
    assert_eq!(audit(&trio, None).0, 0);
    vec![Line::new(
        "the same with --redis-wait 1 and min-replicas-to-write 1: sold, lost",
        "10000, 0",
        format!("{TOTAL}, {lost}"),
    )]
}

fn orders_command(trio: &Trio, to: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args([
        "orders",
        "--from",
        &trio.url("stampede-orders"),
        "--to",
        to,
        "--consumer",
        "one",
    ]);
    command
}

fn worker(lab: &Lab, trio: &Trio, to: &str) -> Program {
    lab.start("orders", &mut orders_command(trio, to))
}
