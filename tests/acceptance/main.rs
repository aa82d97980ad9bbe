//! The server as its operator and its buyers meet it: the real program, a real Redis, real load,
//! and both killed at the worst moment. Timing is asserted only as a generous bound.
//!
//! They need `redis-server`, `ab`, `wrk` and `openssl`; a missing program is named.

// Each test program uses a part of the support.
#[path = "../support/buyer.rs"]
mod buyer;
#[path = "../support/clock.rs"]
mod faked_clock;
#[allow(dead_code)]
#[path = "../support/postgres.rs"]
mod postgres_server;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;

mod anew;
mod article;
mod clock;
mod crash;
mod crowd;
mod expiry;
mod fleet;
mod lifecycle;
mod members;
mod operation;
mod outage;
mod people;
mod readme;
mod signals;
mod splits;
mod standard_error;

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use buyer::Buyer;
use redis_server::RedisServer;
use server::Server;

/// Processors for a server with this number of cores.
fn cores(count: usize) -> String {
    let ids = core_affinity::get_core_ids().expect("the processors we may use");
    assert!(ids.len() >= count, "this test needs {count} processors");
    ids[..count].iter().map(|core| core.id.to_string()).collect::<Vec<_>>().join(",")
}

/// Starts a server on a Redis, with these additional options.
fn on_redis(redis: &RedisServer, options: &[&str]) -> Server {
    let url = redis.url();
    Server::start(&[&["--ledger", &url], options].concat())
}

/// Sets up a sale by hand, as in the article. Nothing of an earlier sale is left.
fn set_up_by_hand(redis: &RedisServer, total: u64, sold: u64) {
    let mut connection = redis.connect();
    connection.text("FLUSHALL");
    let set = format!("HMSET ticket_hash_key ticket_total_nums {total} ticket_sold_nums {sold}");
    assert_eq!(connection.text(&set), "OK");
}

/// The units that the article's hash says are sold.
fn sold(redis: &RedisServer) -> u64 {
    let text = redis.connect().text("HGET ticket_hash_key ticket_sold_nums");
    text.parse().expect("a number")
}

/// The ids of the reservations of the sale `ticket` in Redis, as buyers know them.
fn reservations(redis: &RedisServer) -> std::collections::HashSet<String> {
    let there = redis.connect().reservations("{ticket_hash_key}:reservations");
    there.into_iter().map(|(id, _)| format!("ticket~{id}")).collect()
}

fn buyer(server: &Server) -> Buyer {
    Buyer::connect(server.address()).expect("connect to the server")
}

/// An address for a server that cannot report its own: below the ports that the kernel gives away,
/// at an address that only this process uses.
fn own_address(port: u16) -> SocketAddr {
    let [.., a, b] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 77, a, b], port))
}

/// Waits until the condition holds, at most for this time, and fails with this text.
fn eventually(what: &str, seconds: u64, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while !is() {
        assert!(Instant::now() < until, "after {seconds} s still not: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a server's log has this text. A line goes through the server's queue, a pipe and a
/// thread of ours, so it may come after the answer that it is about.
fn logged(server: &Server, text: &str) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let log = server.log();
        if log.contains(text) {
            return;
        }
        assert!(Instant::now() < until, "no {text}: {log}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program that the tests need and returns its output.
fn run(program: &str, package: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("this test needs {program} ({error}): apt-get install {package}")
    });
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}{error}");
    told
}
