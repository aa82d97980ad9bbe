//! A seller with a real Redis, and workers that write the orders.

use std::collections::BTreeMap;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stampede::ledger::client::Client;
use stampede::ledger::redis::{
    Codec, KeyTemplates, RedisClient, RedisLedger, RedisSettings, parse_line,
};
use stampede::ledger::{Batch, Group};
use stampede::orders::{DatabaseError, Order, StreamOptions, open};
use stampede::sale::{Command, Key, Outcome, ReservationId, Reserve, SaleId, SaleSpec, User};

use super::redis_server::RedisServer;

/// Time for any event that a test waits for.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A client of the ledger.
pub fn ledger(server: &RedisServer) -> Arc<RedisLedger> {
    ledger_at(&server.url())
}

/// The same, as this user.
pub fn ledger_at(url: &str) -> Arc<RedisLedger> {
    let settings = RedisSettings::from_url(url).expect("a Redis URL");
    let codec = Codec::new(KeyTemplates::default());
    Arc::new(RedisLedger::new(settings, codec, None).expect("a ledger"))
}

pub fn worker_named(consumer: &str) -> StreamOptions {
    let (claim_after, gone_after) = (Duration::from_secs(3600), Duration::from_secs(3600));
    StreamOptions {
        group: "orders".into(),
        consumer: consumer.into(),
        claim_after,
        gone_after,
        alone: false,
    }
}

/// Sells, confirms and cancels by the ledger's own scripts.
pub struct Shop {
    client: RedisClient,
    next: u128,
}

impl Shop {
    /// Sales with enough units.
    pub fn open(server: &RedisServer, sales: &[&str]) -> Self {
        let mut shop = Self { client: RedisClient::new(ledger(server), "shop"), next: 1 };
        for sale in sales {
            shop.ask(sale, vec![Command::Create(SaleSpec::with_total(1_000_000))]);
        }
        shop
    }

    fn ask(&mut self, sale: &str, commands: Vec<Command>) -> Vec<Outcome> {
        let sale = SaleId::new(sale).expect("a sale id");
        let batch = Batch { groups: vec![Group { sale, commands }] };
        let until = Instant::now() + DEADLINE;
        loop {
            match self.client.apply(&batch) {
                Ok(mut replies) => return replies.remove(0).outcomes,
                // Redis is away: the test has seen to that, and will bring it back.
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reserves this number in one batch, then confirms and cancels some of them.
    pub fn sell(&mut self, sale: &str, count: u128) {
        let ids: Vec<_> = (self.next..self.next + count).collect();
        self.next += count;
        let reserve = |&n: &u128| {
            Command::Reserve(Reserve {
                id: ReservationId(n << 90 | n),
                quantity: n as u32 % 3 + 1,
                user: (n % 4 != 0).then(|| User::new(&format!("user {n}")).expect("a user")),
                key: (n % 2 == 0).then(|| Key::new(&format!("key {n}")).expect("a key")),
                trace: None,
                details: None,
            })
        };
        self.ask(sale, ids.iter().map(reserve).collect());
        let later = ids.iter().filter_map(|&n| match n % 5 {
            0 => Some(Command::Cancel(ReservationId(n << 90 | n))),
            1 | 2 => Some(Command::Confirm(ReservationId(n << 90 | n))),
            _ => None,
        });
        let later: Vec<_> = later.collect();
        if !later.is_empty() {
            self.ask(sale, later);
        }
    }
}

/// One reservation, as both sides are compared: user, units, status.
type Stands = (Option<String>, u32, String);

/// A sale's reservations in Redis.
pub fn in_redis(server: &RedisServer, sale: &str) -> BTreeMap<ReservationId, Stands> {
    let key = KeyTemplates::default().of(&super::sale(sale)).all()[2].clone();
    let lines = server.connect().reservations(&key);
    let stands = lines.iter().map(|(id, rest)| {
        let (r, _) = parse_line(&format!("{id} {rest}")).expect("a line");
        let user = r.user.map(|user| user.as_str().to_owned());
        (r.id, (user, r.quantity, r.status.as_str().to_owned()))
    });
    stands.collect()
}

/// A sale's orders in the database. None: the database is away.
pub fn in_database(url: &str, sale: &str) -> Option<BTreeMap<ReservationId, Stands>> {
    let mut orders = BTreeMap::new();
    let mut each = |order: Order| {
        let status = order.status.expect("a status").as_str().to_owned();
        let row = (order.user, order.quantity, status);
        assert_eq!(orders.insert(order.id, row), None, "two rows of one reservation");
    };
    let read = open(url).and_then(|mut database| database.orders(&super::sale(sale), &mut each));
    match read {
        Ok(()) => Some(orders),
        Err(DatabaseError::Away(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Waits until the condition holds.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the database has what Redis has.
pub fn wait_for_orders(server: &RedisServer, url: &str, sale: &str) {
    wait_for("all orders in the database", || {
        in_database(url, sale).is_some_and(|orders| orders == in_redis(server, sale))
    });
}

/// Runs a command of `stampede` to its end. Returns its exit code and both its outputs.
pub fn stampede(arguments: &[&str]) -> (Option<i32>, String) {
    let done = program().args(arguments).output().expect("stampede");
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn program() -> Process {
    let mut command = Process::new(env!("CARGO_BIN_EXE_stampede"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STAMPEDE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A `stampede orders` of its own, killed on drop.
pub struct Worker(Child);

impl Worker {
    pub fn start(from: &str, to: &str, more: &[&str]) -> Self {
        let mut command = program();
        command.args(["orders", "--from", from, "--to", to]).args(more);
        Self(command.stderr(Stdio::piped()).spawn().expect("stampede"))
    }

    /// Ends it like `kill -9`.
    pub fn kill(&mut self) {
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
    }

    /// Ends it like `systemctl stop`.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    }

    /// Waits for its end. Returns its exit code and its output.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut status: Option<ExitStatus> = None;
        wait_for("the worker's end", || {
            status = self.0.try_wait().expect("wait");
            status.is_some()
        });
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            std::io::Read::read_to_string(&mut stderr, &mut said).expect("its log");
        }
        (status.and_then(|status| status.code()), said)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
