//! Data that earlier releases left in mid-sale, taken over by the present build: every folder of
//! `tests/upgrade` with the name of a release. [README.md](README.md) says what is in them.
//!
//! Their deadlines are past whenever this runs, so each ledger has a clock that is set to the day
//! of its data.

mod asking;
// Each test program takes what it needs of the support.
#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;
#[allow(dead_code)]
mod database;
mod embedded;
#[path = "../support/clock.rs"]
mod faked_clock;
mod fixture;
#[allow(dead_code)]
mod known;
#[allow(dead_code)]
#[path = "../support/postgres.rs"]
mod postgres_server;
mod redis;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;
mod takeover;

use std::time::{Duration, Instant};

/// The present build.
const PROGRAM: &str = env!("CARGO_BIN_EXE_stampede");

/// Time for any event that a test waits for.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until the condition holds.
fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is() {
        assert!(Instant::now() < until, "still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
