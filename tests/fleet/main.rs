//! The fleet: every layer in front of the servers and every kind of Redis as their ledger, run for
//! real in network namespaces of this machine (and LVS in a guest kernel).
//!
//!     tests/fleet/run            all of it
//!     tests/fleet/run NAME...    some of it
//!     tests/fleet/run --list     what there is
//!
//! Each scenario builds what it needs in a [`Lab`](lab::Lab), which removes all of it. A scenario
//! that the machine cannot run fails and names what is missing. `cargo test` runs the scenarios
//! that fit in its time; `--all` (which `tests/fleet/run` passes) also runs the others.

// Each scenario uses a part of the lab and of the support.
#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;
mod cluster;
mod cluster_client;
mod cluster_cut;
mod crowd;
mod front;
mod frr;
#[allow(dead_code)]
mod lab;
mod lvs;
mod members;
mod nginx;
mod ospf;
mod probe;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis_server;
mod rolling;
mod sentinel;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;
mod shop;
mod six;
mod splits;
mod table;
mod trio;
mod whole;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use table::{Line, Table};

/// A scenario: something that the fleet is shown to do.
pub struct Scenario {
    /// Its name, as on the command line.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub shows: &'static str,
    /// Part of `cargo test`.
    pub in_ci: bool,
    /// Programs and their Debian packages.
    pub needs: &'static [(&'static str, &'static str)],
    /// Runs it. Returns the lines of the table: what was measured and what was wanted. A failure is
    /// a panic, as in any test.
    pub run: fn() -> Vec<Line>,
}

/// In the order of their run.
const SCENARIOS: &[Scenario] = &[
    nginx::SCENARIO,
    rolling::SCENARIO,
    ospf::SCENARIO,
    sentinel::SCENARIO,
    cluster::SCENARIO,
    lvs::SCENARIO,
    members::SCENARIO,
    splits::SCENARIO,
    whole::SCENARIO,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == lvs::GUEST) {
        return lvs::guest::main();
    }
    if arguments.iter().any(|argument| argument == "--list") {
        SCENARIOS.iter().for_each(|scenario| println!("{:<16} {}", scenario.name, scenario.shows));
        return ExitCode::SUCCESS;
    }
    let all = arguments.iter().any(|argument| argument == "--all");
    // Other arguments of `cargo test` are for its own harness.
    let names: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |scenario: &&Scenario| match names.is_empty() {
        true => all || scenario.in_ci,
        false => names.iter().any(|name| scenario.name.contains(name.as_str())),
    };
    let mut table = Table::default();
    for scenario in SCENARIOS.iter().filter(chosen) {
        println!("== {}: {}", scenario.name, scenario.shows);
        let since = Instant::now();
        let lacking = lab::lacking(scenario.needs);
        let done = if lacking.is_empty() {
            catch_unwind(AssertUnwindSafe(scenario.run)).map_err(|_| "failed, see above".to_owned())
        } else {
            Err(format!("apt-get install {}", lacking.join(" ")))
        };
        table.add(scenario.name, since.elapsed(), done);
    }
    println!("\n{table}");
    table.exit_code()
}
