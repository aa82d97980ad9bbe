//! Many connections, each of one person with a name and a key.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::buyer::{Answer, Bought, Buyer, request_text};
use crate::redis_server::RedisServer;
use crate::server::Server;

/// Connections of a crowd that takes nearly all that the file limit allows.
pub const CROWD: usize = 19_000;
/// Files that a test with such a crowd has open.
const FILES_MIN: u64 = 20_000;
/// Commands in one batch to the ledger.
pub const BATCH: u64 = stampede::limits::BATCH_MAX as u64;

/// Reserves the whole process for one crowd.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let files = maximum.unwrap_or(u64::MAX);
    assert!(files >= FILES_MIN, "{files} files are too few: ulimit -Hn {FILES_MIN}, LimitNOFILE=");
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("raise the limit");
    alone
}

/// Options of a server on one core. A whole crowd here comes from one address, as from a proxy.
/// A release build has the default of `--ledger-timeout`, 2 s. A debug build is about five times
/// slower, so it has five times as long unless the test says otherwise; beyond that a true answer
/// would be `busy`.
pub fn one_core<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut options = vec!["--cores", "0", "--trusted-proxies", "127.0.0.1"];
    if cfg!(debug_assertions) && !more.contains(&"--ledger-timeout") {
        options.extend(["--ledger-timeout", "10s"]);
    }
    options.extend(more);
    options
}

/// A server on one core that shares this Redis.
pub fn on_redis(redis: &RedisServer, more: &[&str]) -> Server {
    let url = redis.url();
    Server::start(&[&one_core(more)[..], &["--ledger", &url]].concat())
}

/// A server with a whole crowd waiting at its core, since Redis stands still.
pub fn all_wait(redis: &RedisServer, options: &[&str]) -> (Server, Crowd) {
    let server = on_redis(redis, options);
    let mut crowd = Crowd::connect(&server, 0..CROWD);
    crowd.warm_up();
    redis.stop();
    crowd.ask();
    all_is_read(&server);
    (server, crowd)
}

/// The held units of a sale, after everything that waits is finished.
pub fn held(server: &Server) -> u64 {
    let mut operator = Buyer::connect(server.control()).expect("the control port");
    operator.sale("ticket").expect("an answer")["held"].as_u64().expect("a number")
}

/// One person's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Told {
    /// This reservation is theirs.
    Has(String),
    /// A code.
    Refused(String),
}

impl Told {
    /// Whether it is this code.
    pub fn is(&self, code: &str) -> bool {
        matches!(self, Self::Refused(refused) if refused == code)
    }
}

/// A name of 13 bytes.
pub fn user(number: usize) -> String {
    format!("user-{number:08}")
}

/// Buys a ticket for this person, whom the proxy names, with a key of 36 bytes.
pub fn purchase(number: usize) -> String {
    let (user, key) = (user(number), format!("key-{number:032}"));
    let headers = [("X-User-Id", &*user), ("Idempotency-Key", &*key)];
    request_text("POST", "/v1/sales/ticket/reservations", &headers, r#"{"quantity":1}"#)
}

/// This person's answer. Panics if it is about another person.
pub fn told(number: usize, answer: &Answer) -> Told {
    match answer.bought() {
        Bought::Granted(id) => {
            let json = answer.json();
            let (user, status) = (user(number), "held");
            assert_eq!((&json["user"], &json["status"]), (&user.into(), &status.into()), "{json}");
            Told::Has(id)
        }
        Bought::Refused(code) => Told::Refused(code),
    }
}

/// Connections, and the person of each.
pub struct Crowd(pub Vec<(usize, Buyer)>);

impl Crowd {
    /// Connects all of them.
    pub fn connect(server: &Server, people: Range<usize>) -> Self {
        let connect = |number| (number, Buyer::connect(server.address()).expect("a place for all"));
        Self(people.map(connect).collect())
    }

    /// Sends one request on each, so that each connection has been served.
    pub fn warm_up(&mut self) {
        let plain = "GET /plaintext HTTP/1.1\r\nHost: localhost\r\n\r\n";
        self.0.iter_mut().for_each(|(_, buyer)| buyer.send(plain).expect("send"));
        for (_, buyer) in &mut self.0 {
            assert_eq!(buyer.answer().expect("an answer").status, 200);
        }
    }

    /// Sends every purchase.
    pub fn ask(&mut self) {
        for (number, buyer) in &mut self.0 {
            buyer.send(&purchase(*number)).expect("send");
        }
    }

    /// The same, and the server sees none before all are sent.
    pub fn ask_at_once(&mut self, server: &Server) {
        server.signal(Signal::STOP);
        self.ask();
        server.signal(Signal::CONT);
    }

    /// All answers.
    pub fn told(&mut self) -> Vec<Told> {
        let heard = self.0.iter_mut().map(|(number, buyer)| {
            told(*number, &buyer.answer().unwrap_or_else(|error| panic!("{number}: {error}")))
        });
        heard.collect()
    }

    /// Resets these connections: no answer is read from them again.
    pub fn reset(&mut self, gone: Range<usize>) {
        self.0.drain(gone).for_each(|(_, buyer)| reset(&buyer));
    }

    /// Resets one connection, and opens a new one for this person.
    pub fn replace(&mut self, server: &Server, at: usize, number: usize) {
        reset(&self.0[at].1);
        // The old one is closed before the new one is accepted, so its place is free for it.
        let (_, old) = self.0.swap_remove(at);
        drop(old);
        self.0.push((number, Buyer::connect(server.address()).expect("a place")));
        let last = self.0.len() - 1;
        self.0.swap(at, last);
    }
}

/// Connections that are no longer needed are reset: a closed connection would keep its port for a
/// minute, and the ports of a few crowds are all that a machine has.
impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, buyer)| reset(buyer));
    }
}

/// Has a connection end by a reset on drop.
fn reset(buyer: &Buyer) {
    set_socket_linger(buyer.socket(), Some(Duration::ZERO)).expect("no lingering");
}

/// Waits until the core has read everything that was sent before: connections are read in the order
/// in which they became ready, and this one is the last.
pub fn all_is_read(server: &Server) {
    for _ in 0..3 {
        let mut last = Buyer::connect(server.address()).expect("a place");
        let plain = |buyer: &mut Buyer| -> io::Result<Answer> {
            buyer.request("GET", "/plaintext", &[], "")
        };
        assert_eq!(plain(&mut last).expect("an answer").status, 200);
        assert_eq!(plain(&mut last).expect("an answer").status, 200);
    }
}

/// The number of people with a reservation of their own; all others must have one of these codes.
#[track_caller]
pub fn granted(told: &[Told], codes: &[&str]) -> usize {
    let mut ids = HashSet::new();
    for one in told {
        match one {
            Told::Has(id) => assert!(ids.insert(id), "{id} was given twice"),
            Told::Refused(code) => {
                assert!(codes.contains(&code.as_str()), "{code}: {}", counts(told))
            }
        }
    }
    ids.len()
}

/// The number of each answer.
fn counts(told: &[Told]) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for one in told {
        let kind = match one {
            Told::Has(_) => "granted",
            Told::Refused(code) => code,
        };
        *counts.entry(kind).or_default() += 1;
    }
    format!("{counts:?}")
}
