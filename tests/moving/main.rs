//! Backup, restore, move and the restore of an archive, with the real program, a real Redis and a
//! real PostgreSQL, and the commands killed at any moment.

// Each test program uses a part of the support.
#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;
#[allow(dead_code)]
#[path = "../support/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../support/postgres.rs"]
mod postgres_server;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;

mod archives;
mod backups;
mod moves;
mod types;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use buyer::Buyer;
use server::Server;
use stampede::orders::{Order, open};
use stampede::sale::SaleId;

/// Time for any event that a test waits for.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program, without this process' environment.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STAMPEDE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end: its exit code and both its outputs.
fn stampede(arguments: &[&str]) -> (i32, String, String) {
    let done = program().args(arguments).output().expect("stampede");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (done.status.code().unwrap_or(-1), text(done.stdout), text(done.stderr))
}

/// The same for a command that must succeed.
fn done(arguments: &[&str]) -> String {
    let (code, out, err) = stampede(arguments);
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    out
}

/// A command that is killed after this number of microseconds, if it still runs. Returns whether it
/// was.
fn killed_after(arguments: &[&str], micros: u64) -> bool {
    let mut command = program();
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("stampede");
    thread::sleep(Duration::from_micros(micros));
    let was_running = child.try_wait().expect("wait").is_none();
    let _ = child.kill();
    child.wait().expect("wait");
    was_running
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "{what} did not come about");
        thread::sleep(Duration::from_millis(20));
    }
}

fn embedded(folder: &Path) -> String {
    format!("embedded:{}", folder.display())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// Serves from this ledger, with these additional options.
fn serve(ledger: &str, more: &[&str]) -> Server {
    let own = ["--ledger", ledger, "--cores", "0", "--public-confirm"];
    Server::start(&[&own[..], more].concat())
}

/// Buys with a key. Returns the reservation's public id.
fn buy(server: &Server, sale: &str, user: &str, key: &str) -> String {
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    let answer = buyer.reserve(sale, user, 1, key).expect("an answer");
    answer.bought().granted().unwrap_or_else(|| panic!("{answer:?}"))
}

/// The status of a reservation.
fn status(server: &Server, id: &str) -> String {
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    let answer = buyer.reservation(id).expect("an answer");
    answer.json()["status"].as_str().unwrap_or_else(|| panic!("{id}: {answer:?}")).to_owned()
}

/// The orders of a sale: status and version by id.
fn orders(url: &str, sale: &str) -> BTreeMap<String, (String, u64)> {
    let mut found = BTreeMap::new();
    let sale = SaleId::new(sale).expect("a sale");
    let mut each = |order: Order| {
        let status = order.status.map_or("", |status| status.as_str()).to_owned();
        found.insert(format!("{sale}~{}", order.id), (status, order.version));
    };
    open(url).and_then(|mut database| database.orders(&sale, &mut each)).expect("the orders");
    found
}
