//! The database of the orders: workers of any build that write it, and its rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;
use crate::known::Known;

/// The URL of an SQLite file.
pub fn sqlite(file: &Path) -> String {
    format!("sqlite:{}", file.display())
}

/// A command without this program's settings in its environment.
pub fn program(path: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STAMPEDE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command of `stampede` to its end. Returns exit code and output.
pub fn run(path: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let output = program(path, arguments).output().expect("run stampede");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Runs a worker until everything is written.
pub fn drain(path: &str, ledger: &str, url: &str, group: &str, consumer: &str) {
    let names = ["--group", group, "--consumer", consumer, "--claim-after", "1s"];
    let what = ["orders", "--from", ledger, "--to", url, "--once"];
    let (code, said) = run(path, &[&what[..], &names].concat());
    assert_eq!(code, Some(0), "{said}");
}

/// Panics unless the audit finds no difference.
pub fn audit(path: &str, ledger: &str, url: Option<&str>) {
    let orders = url.map(|url| ["--orders", url]);
    let orders: Vec<_> = orders.into_iter().flatten().collect();
    let (code, said) = run(path, &[&["audit", "--ledger", ledger], &orders[..]].concat());
    assert!(code == Some(0) && said.contains("everything agrees"), "{said}");
}

/// A worker that runs until it is killed.
pub struct Worker(Child);

impl Worker {
    /// Starts one.
    pub fn start(path: &str, ledger: &str, url: &str, group: &str, consumer: &str) -> Self {
        let names = ["--group", group, "--consumer", consumer, "--claim-after", "1s"];
        let what = ["orders", "--from", ledger, "--to", url];
        let mut command = program(path, &[&what[..], &names].concat());
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("start a worker"))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("send a signal");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// User, units and status by id.
type Rows = BTreeMap<String, (Option<String>, u64, String)>;

/// The rows of the table as any program reads them, under the ids that buyers know. Without a table
/// there are no rows.
fn rows(url: &str) -> Rows {
    const READ: &str = "SELECT reservation, user_id, quantity, status FROM orders";
    type Row = (String, Option<String>, i32, String);
    let rows: Vec<Row> = match url.strip_prefix("sqlite:") {
        Some(file) => {
            let database = rusqlite::Connection::open(file).expect("the SQLite file");
            let find = "SELECT count(*) FROM sqlite_schema WHERE name = 'orders'";
            if database.query_row(find, [], |row| row.get(0)) == Ok(0) {
                return Rows::new();
            }
            let mut read = database.prepare(READ).expect("the table");
            let each =
                |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            read.query_map([], each).expect("rows").collect::<Result<_, _>>().expect("rows")
        }
        None => {
            let mut client = postgres::Client::connect(url, postgres::NoTls).expect("PostgreSQL");
            let found = client.query_one("SELECT to_regclass('public.orders') IS NOT NULL", &[]);
            if !found.expect("an answer").get::<_, bool>(0) {
                return Rows::new();
            }
            let rows = client.query(READ, &[]).expect("the table");
            rows.iter().map(|r| (r.get(0), r.get(1), r.get(2), r.get(3))).collect()
        }
    };
    let row = |(id, user, quantity, status): Row| {
        (id, (user, u64::try_from(quantity).expect("units"), status))
    };
    rows.into_iter().map(row).collect()
}

/// The rows that a shop's reservations should have.
fn rows_of(known: &Known) -> Rows {
    let row = |r: &crate::known::Reservation| {
        (r.id.clone(), (r.user.clone(), r.quantity, r.status.clone()))
    };
    known.reservations().map(row).collect()
}

/// Number of reservations that are not in the database as they stand.
pub fn behind(url: &str, known: &Known) -> usize {
    let there = rows(url);
    rows_of(known).iter().filter(|(id, row)| there.get(*id) != Some(row)).count()
}

/// Panics unless every reservation is in the database as it stands, and nothing else is.
pub fn assert_written(url: &str, known: &Known) {
    assert_eq!(rows(url), rows_of(known));
}

/// Waits until that is so.
pub fn wait_until_written(url: &str, known: &Known) {
    let until = Instant::now() + Duration::from_secs(30);
    while behind(url, known) > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_written(url, known);
}

/// Waits until a group has unfinished entries of the sales' streams.
pub fn wait_for_pending(redis: &crate::redis_server::RedisServer, key: &str, group: &str) {
    eventually(&format!("entries of {key} with a worker of {group}"), || {
        let pending = redis.connect().list(&format!("XPENDING {key} {group} - + 1"));
        !pending.is_empty()
    });
}
