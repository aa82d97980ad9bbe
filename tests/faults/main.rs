//! Everything that we ship is killed and starved while it is used: servers, Redis, workers,
//! databases, disks and links. Clients keep histories, and these are checked: what was acknowledged
//! is there, nothing is sold twice, nothing is lost for ever, and every answer was true.
//!
//!     tests/faults/run              1,000 kills
//!     tests/faults/run --short      a few of each, in two minutes
//!     tests/faults/run NAME...      the scenarios whose name contains NAME
//!     tests/faults/run --list       what there is
//!
//! README.md beside this file explains the table. `cargo test` runs a few rounds of some scenarios.

#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;
#[path = "../support/chance.rs"]
mod chance;
#[allow(dead_code, unused_imports)]
#[path = "../linear/checker.rs"]
mod checker;
#[allow(dead_code)]
#[path = "../support/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../linear/history.rs"]
mod history;
#[allow(dead_code)]
#[path = "../fleet/lab.rs"]
mod lab;
#[allow(dead_code)]
#[path = "../support/postgres.rs"]
mod postgres_server;
#[allow(dead_code)]
#[path = "../webhooks/receiver.rs"]
mod receiver;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../support/secure.rs"]
mod secure;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../fleet/six.rs"]
mod six;
#[allow(dead_code)]
#[path = "../fleet/trio.rs"]
mod trio;

mod record;
mod tally;
mod objects;
mod over_time;
mod keys;
mod bank;
mod small;
mod rows;
mod process;
mod disk;
mod orders;
mod hooks;
mod run;
mod shop;
mod single;
mod failover;
mod scenarios;
mod results;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use results::Results;
use run::Plan;
use scenarios::{SCENARIOS, Scenario};

/// Kills of the long form, the time that it may take, and that of the short one.
const KILLS: usize = 1_000;
const LONG: Duration = Duration::from_secs(40 * 60);
/// The same of the short form. Each scenario also needs some seconds to start and to end.
const KILLS_SHORT: usize = 24;
const SHORT: Duration = Duration::from_secs(60);
/// Rounds of a scenario in `cargo test`.
const ROUNDS_IN_CI: usize = 2;

/// What the command line says.
struct Form {
    /// The number of kills that all scenarios together are to reach. `None`: as in `cargo test`.
    kills: Option<usize>,
    is_short: bool,
    time: Duration,
    seed: u64,
    names: Vec<String>,
    /// Where the results go.
    append: Option<PathBuf>,
}

impl Form {
    /// Arguments of `cargo test` for its own harness are ignored.
    fn parse(arguments: &[String]) -> Self {
        let is_given = |name: &str| arguments.iter().any(|argument| argument == name);
        let value = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            let value = arguments.get(at + 1);
            Some(value.unwrap_or_else(|| panic!("{name} needs a value")).clone())
        };
        let number = |name: &str| {
            value(name).map(|text| {
                text.parse::<u64>().unwrap_or_else(|error| panic!("{name} {text:?}: {error}"))
            })
        };
        let (kills, time) = match (is_given("--long"), is_given("--short")) {
            (_, true) => (Some(KILLS_SHORT), SHORT),
            (true, false) => (Some(KILLS), LONG),
            (false, false) => (None, LONG),
        };
        let kills = number("--kills").map(|kills| kills as usize).or(kills);
        let time = number("--minutes").map_or(time, |minutes| Duration::from_secs(60 * minutes));
        let seed = number("--seed").unwrap_or_else(chance::seed);
        let append = value("--append").map(PathBuf::from);
        let mut names = Vec::new();
        let mut is_value = false;
        for argument in arguments {
            if !is_value && !argument.starts_with('-') {
                names.push(argument.clone());
            }
            is_value = ["--kills", "--minutes", "--seed", "--append"].contains(&argument.as_str());
        }
        Self { kills, is_short: is_given("--short"), time, seed, names, append }
    }

    fn chooses(&self, scenario: &Scenario) -> bool {
        match self.names.is_empty() {
            true if self.is_short => scenario.in_short,
            true => self.kills.is_some() || scenario.in_ci,
            false => self.names.iter().any(|name| scenario.name.contains(name.as_str())),
        }
    }

    /// What a scenario is to do, if it begins now.
    fn plan(&self, scenario: &Scenario) -> Plan {
        let rounds = match self.kills {
            None => ROUNDS_IN_CI,
            Some(kills) => (scenario.share * kills).div_ceil(KILLS),
        };
        let cost = |scenario: &Scenario| (scenario.share * scenario.cost_ms) as f64;
        let all: f64 = SCENARIOS.iter().map(cost).sum();
        let time = self.time.mul_f64(cost(scenario) / all);
        let evidence = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("faults");
        Plan {
            seed: self.seed,
            rounds,
            until: Instant::now() + time.max(Duration::from_secs(5)),
            evidence: evidence.join(scenario.name),
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        SCENARIOS.iter().for_each(|scenario| println!("{:<12} {}", scenario.name, scenario.shows));
        return ExitCode::SUCCESS;
    }
    // A checker that finds nothing would let everything pass.
    let checkers = [
        objects::try_out,
        over_time::try_out,
        keys::try_out,
        bank::try_out,
        small::try_out,
        orders::try_out,
        hooks::try_out,
    ];
    checkers.iter().for_each(|try_out| try_out());
    let form = Form::parse(&arguments);
    let chosen: Vec<&Scenario> = SCENARIOS.iter().filter(|one| form.chooses(one)).collect();
    if chosen.is_empty() {
        // `cargo test NAME` means another test.
        if form.kills.is_none() {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: no scenario has such a name: --list prints all of them");
        return ExitCode::from(2);
    }
    let mut results = Results::new(form.seed);
    for scenario in chosen {
        let plan = form.plan(scenario);
        println!("== {}: {}; {} rounds", scenario.name, scenario.shows, plan.rounds);
        let since = Instant::now();
        let lacking = lab::lacking(scenario.needs);
        let done = if lacking.is_empty() {
            catch_unwind(AssertUnwindSafe(|| (scenario.run)(&plan)))
                .map_err(|_| "failed, see above".to_owned())
        } else {
            Err(format!("apt-get install {}", lacking.join(" ")))
        };
        results.add(scenario.name, since.elapsed(), done);
    }
    println!("\n{results}");
    if let Some(file) = &form.append {
        results.append(file);
    }
    results.exit_code()
}
