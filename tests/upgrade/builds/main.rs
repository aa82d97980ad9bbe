//! Tests that need the program of an earlier release, and are therefore not part of `cargo test`:
//!
//!     tests/upgrade/make OLD    keeps what it leaves in mid-sale, as data for tests/upgrade
//!     tests/upgrade/run         sells from one Redis with it and the present build at the same time

#[allow(dead_code)]
#[path = "../asking.rs"]
mod asking;
// Each test program takes what it needs of the support.
#[allow(dead_code)]
#[path = "../../support/buyer.rs"]
mod buyer;
#[allow(dead_code)]
#[path = "../database.rs"]
mod database;
mod crowd;
mod dump;
mod formats;
#[path = "../../support/clock.rs"]
mod faked_clock;
#[allow(dead_code)]
#[path = "../known.rs"]
mod known;
mod make;
#[allow(dead_code)]
#[path = "../../support/postgres.rs"]
mod postgres_server;
#[allow(dead_code)]
#[path = "../../support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../../support/server.rs"]
mod server;
#[path = "../../fleet/table.rs"]
mod table;
#[allow(dead_code)]
#[path = "../takeover.rs"]
mod takeover;
mod together;

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Time for any event that a test waits for.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until the condition holds.
fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is() {
        assert!(Instant::now() < until, "still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["make", old] => make::make(old),
        ["sell", old, ref names @ ..] => together::sell(old, names),
        _ => {
            eprintln!("tests/upgrade/make and tests/upgrade/run start this");
            ExitCode::from(2)
        }
    }
}
