//! The life of ten thousand reservations: paid, paid twice, paid late, never paid. They go over two
//! servers and into PostgreSQL through three workers; a server, a worker and PostgreSQL are lost on
//! the way. At the end exactly the total is sold, and the database agrees with the ledger about
//! every reservation.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::buyer::{Answer, Bought, Buyer};
use crate::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{cores, eventually, on_redis};

const TOTAL: usize = 10_000;
const USERS: usize = 30_000;
const CROWDS: usize = 64;
const HOLD: Duration = Duration::from_secs(2);

/// A user's plan for a reservation, and when, after the grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    /// Let it expire.
    NeverPay,
    /// Confirm it this number of times, the first time after this delay.
    Pay { times: u32, after: Duration },
}

/// A third never pays; of the others one in eight pays twice and one in eight is late.
fn intent(user: usize) -> Intent {
    // Any even spread will do, as long as a user's plan is always the same.
    let spread = (user as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    if spread.is_multiple_of(3) {
        return Intent::NeverPay;
    }
    let times = if spread % 8 == 1 { 2 } else { 1 };
    let late = spread % 8 == 2;
    let part = HOLD.mul_f64((spread % 1000) as f64 / 1000.0);
    Intent::Pay { times, after: if late { HOLD + part } else { part.mul_f64(0.6) } }
}

/// What all crowds share.
struct Rush {
    addresses: [SocketAddr; 2],
    confirmed: AtomicUsize,
    over: AtomicBool,
}

/// A connection that switches to the other server when it breaks.
struct Line<'a> {
    rush: &'a Rush,
    turn: usize,
    buyer: Option<Buyer>,
}

impl Line<'_> {
    /// Asks until a server has given a final answer: every request here may be repeated.
    fn ask(&mut self, ask: impl Fn(&mut Buyer) -> std::io::Result<Answer>) -> Answer {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(Instant::now() < until, "no server answers");
            let address = self.rush.addresses[self.turn % 2];
            let answer = match &mut self.buyer {
                Some(buyer) => ask(buyer),
                none => match Buyer::connect(address) {
                    Ok(buyer) => ask(none.insert(buyer)),
                    Err(error) => Err(error),
                },
            };
            match answer {
                Ok(answer) if answer.status != 503 => return answer,
                Ok(_) => thread::sleep(Duration::from_millis(5)),
                Err(_) => {
                    self.buyer = None;
                    self.turn += 1;
                }
            }
        }
    }
}

/// The next step of one user.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Errand {
    Reserve,
    Confirm { id: String, times: u32 },
}

/// The users of one crowd, each doing what is due. Returns the ids that were confirmed.
fn crowd(number: usize, rush: &Rush) -> Vec<String> {
    let mut line = Line { rush, turn: number, buyer: None };
    let mut paid = Vec::new();
    let start = Instant::now();
    let mut errands: BinaryHeap<Reverse<(Instant, usize, Errand)>> = (number..USERS)
        .step_by(CROWDS)
        .map(|user| Reverse((start, user, Errand::Reserve)))
        .collect();
    while let Some(Reverse((due, user, errand))) = errands.pop() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut later = |wait, errand| errands.push(Reverse((Instant::now() + wait, user, errand)));
        match errand {
            Errand::Reserve => {
                let (name, key) = (format!("u{user}"), format!("k{user}"));
                let answer = line.ask(|buyer| buyer.reserve("ticket", &name, 1, &key));
                match (answer.bought(), intent(user)) {
                    (Bought::Granted(id), Intent::Pay { times, after }) => {
                        later(after, Errand::Confirm { id, times });
                    }
                    (Bought::Granted(_), Intent::NeverPay) => {}
                    (refused, _) => {
                        assert!(refused.is("sold_out"), "{user}: {refused:?}");
                        if !rush.over.load(Ordering::Relaxed) {
                            later(Duration::from_secs(2), Errand::Reserve);
                        }
                    }
                }
            }
            Errand::Confirm { id, times } => {
                let answer = line.ask(|buyer| buyer.confirm(&id));
                if answer.status == 200 {
                    assert_eq!(answer.json()["status"], "confirmed");
                    rush.confirmed.fetch_add(usize::from(!paid.contains(&id)), Ordering::Relaxed);
                    paid.push(id.clone());
                    if times > 1 {
                        later(Duration::from_millis(100), Errand::Confirm { id, times: times - 1 });
                    }
                } else {
                    // Too late, and sold to another user meanwhile.
                    assert_eq!(
                        (answer.status, &*answer.json()["code"].to_string()),
                        (409, "\"expired\"")
                    );
                }
            }
        }
    }
    paid
}

/// A worker that writes orders, with a name of its own.
fn worker(name: &str, redis: &RedisServer, postgres: &PostgresServer) -> Child {
    Command::new(env!("CARGO_BIN_EXE_stampede"))
        .args(["orders", "--from", &redis.url(), "--to", &postgres.url()])
        .args(["--consumer", name, "--claim-after", "1s"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start a worker")
}

/// One audit. Panics if it finds a difference.
pub(crate) fn audit(redis: &RedisServer, more: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_stampede"))
        .args(["audit", "--ledger", &redis.url()])
        .args(more)
        .output()
        .expect("run an audit");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the audit differs:\n{told}{error}");
    told
}

/// Status by id, as the ledger has them.
fn in_the_ledger(redis: &RedisServer) -> HashMap<String, String> {
    let there = redis.connect().reservations("{ticket_hash_key}:reservations");
    let status = |text: &str| text.split(' ').next().expect("a status").to_owned();
    there.into_iter().map(|(id, text)| (format!("ticket~{id}"), status(&text))).collect()
}

/// Status by id, as the database has them.
fn in_the_database(postgres: &PostgresServer) -> HashMap<String, String> {
    let rows = postgres.connect().query("SELECT reservation, status FROM orders", &[]);
    let rows = rows.expect("the orders");
    let count = rows.len();
    let orders: HashMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(orders.len(), count, "two rows for one reservation");
    orders
}

#[test]
fn ten_thousand_tickets_are_paid_for_or_returned() {
    let redis = RedisServer::start(&[]);
    let mut postgres = PostgresServer::start();
    let sale = "ticket=10000,hold=2s,limit=1";
    let options = ["--sale", sale, "--public-confirm", "--cores", &cores(2)];
    let mut servers = [on_redis(&redis, &options), on_redis(&redis, &options)];
    let mut workers: Vec<Child> =
        ["ann", "bob", "cat"].iter().map(|name| worker(name, &redis, &postgres)).collect();
    let rush = Rush {
        addresses: servers.each_ref().map(Server::address),
        confirmed: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    };

    let (mut paid, mut audits) = (Vec::new(), 0);
    thread::scope(|scope| {
        let crowds: Vec<_> = (0..CROWDS)
            .map(|number| {
                scope.spawn({
                    let rush = &rush;
                    move || crowd(number, rush)
                })
            })
            .collect();
        let auditor = scope.spawn(|| {
            let mut audits = 0;
            while !rush.over.load(Ordering::Relaxed) {
                audit(&redis, &[]);
                audits += 1;
            }
            audits
        });
        let confirmed = |count: usize| {
            eventually(&format!("{count} are confirmed"), 120, || {
                rush.confirmed.load(Ordering::Relaxed) >= count
            });
        };
        confirmed(TOTAL / 5);
        workers[1].kill().expect("kill a worker");
        confirmed(2 * TOTAL / 5);
        servers[1].kill();
        confirmed(3 * TOTAL / 5);
        postgres.restart();
        servers[1].restart();
        confirmed(TOTAL);
        rush.over.store(true, Ordering::Relaxed);
        paid = crowds.into_iter().flat_map(|crowd| crowd.join().expect("a crowd")).collect();
        audits = auditor.join().expect("the auditor");
    });

    let confirmed: HashSet<String> = paid.into_iter().collect();
    assert_eq!(confirmed.len(), TOTAL, "a user was told of a confirmation that was one too many");
    let mut connection = redis.connect();
    assert_eq!(connection.text("HGET ticket_hash_key ticket_sold_nums"), TOTAL.to_string());
    assert_eq!(connection.text("HGET {ticket_hash_key}:sale held"), "0");
    eventually("every order is written", 60, || {
        in_the_database(&postgres) == in_the_ledger(&redis)
    });
    let orders = in_the_database(&postgres);
    let status = |wanted: &str| orders.values().filter(|status| *status == wanted).count();
    assert_eq!((status("confirmed"), status("held")), (TOTAL, 0));
    assert!(confirmed.iter().all(|id| orders[id] == "confirmed"));
    assert!(status("expired") > 0, "nobody's time ran out");
    let told = audit(&redis, &["--orders", &postgres.url()]);
    eprintln!("{audits} audits on the way, {} reservations\n{told}", orders.len());
    for worker in &mut workers {
        let _ = worker.kill();
        worker.wait().expect("wait for a worker");
    }
}
