//! Runs seeds of the simulation. See `README.md`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, process, thread};

use clap::{Parser, Subcommand};
use simulation::gates::{self, Counts, SEEDS, STEPS};
use simulation::replay::command as replay;
use simulation::report::Batch;
use simulation::trace::Telling;
use simulation::{child, panics, run, task};
use stampede::planted::{self, Bug};

/// Seeds per process: what a run leaves in memory goes with its process.
const SEEDS_PER_PROCESS: u64 = 200;
/// Time in which a planted bug must be found.
const PLANTED_TIME: Duration = Duration::from_secs(60);
/// Lines of the story that are printed of a seed that has found something.
const STORY_LINES_SHOWN: usize = 60;

/// Runs stampede's own code under one seeded scheduler.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run fresh seeds until the time is over or one finds something
    Run {
        /// How long
        #[arg(long, default_value_t = 2)]
        minutes: u64,
        /// Processes at the same time [default: one per processor]
        #[arg(long)]
        jobs: Option<u64>,
        /// The first seed [default: a fresh one]
        #[arg(long, value_parser = parse_seed)]
        first: Option<u64>,
    },
    /// Run one seed, and print what happens if it finds something
    Seed {
        /// The seed
        #[arg(value_parser = parse_seed)]
        seed: u64,
        /// Print everything that happens
        #[arg(long)]
        trace: bool,
    },
    /// Plant a bug, or one after the other, and run fresh seeds until each is found
    Planted {
        /// The name of the bug, or `all`
        name: String,
    },
    /// Print the digest of one seed
    Digest {
        /// The seed
        #[arg(value_parser = parse_seed)]
        seed: u64,
    },
    /// Replay what the ledgers of fresh seeds have carried out on a real Redis
    Replay {
        /// The history in this file alone
        file: Option<PathBuf>,
        /// How many histories, one per sale, or per part of one, of a seed
        #[arg(long, default_value_t = 1_000)]
        histories: u64,
        /// Redis at the same time [default: one per processor]
        #[arg(long)]
        jobs: Option<u64>,
        /// The first seed [default: a fresh one]
        #[arg(long, value_parser = parse_seed)]
        first: Option<u64>,
        /// The histories of this seed alone
        #[arg(long, value_parser = parse_seed, conflicts_with_all = ["first", "file"])]
        seed: Option<u64>,
    },
    /// Replay histories in this process, and print the result for the process that has started it
    #[command(hide = true)]
    ReplayBatch {
        #[arg(long)]
        first: u64,
        #[arg(long)]
        stride: u64,
        #[arg(long)]
        histories: u64,
    },
    /// Run seeds in this process, and print the result for the process that has started it
    #[command(hide = true)]
    Batch {
        #[arg(long)]
        first: u64,
        #[arg(long)]
        stride: u64,
        #[arg(long)]
        seeds: u64,
        #[arg(long)]
        milliseconds: u64,
        #[arg(long)]
        plant: Option<String>,
    },
}

/// A seed as `run` prints it, or in hexadecimal after `0x`.
fn parse_seed(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Action::Run { minutes, jobs, first } => run_fresh(minutes, jobs, first),
        Action::Seed { seed, trace } => Ok(run_one(seed, trace)),
        Action::Planted { name } => run_planted(&name),
        Action::Digest { seed } => {
            prepare(None);
            let report = run::run_seed(seed, Telling::Silent);
            println!("{:016x}", report.digest);
            Ok(report.findings.is_empty())
        }
        Action::Replay { file: Some(file), .. } => replay::replay_file(&file),
        Action::Replay { seed: Some(seed), .. } => {
            prepare(None);
            let batch = replay::replay_batch(seed, 1, 1);
            println!("{}", batch.findings.join("\n"));
            Ok(batch.failed.is_none())
        }
        Action::Replay { histories, jobs, first, .. } => {
            let first = first.unwrap_or_else(fresh_seed);
            replay::replay_fresh(histories, jobs.unwrap_or_else(processors).max(1), first)
        }
        Action::ReplayBatch { first, stride, histories } => {
            prepare(None);
            println!("{}", replay::replay_batch(first, stride, histories).to_line());
            Ok(true)
        }
        Action::Batch { first, stride, seeds, milliseconds, plant } => {
            prepare(plant.as_deref().and_then(bug_of));
            let time = Duration::from_millis(milliseconds);
            println!("{}", run::run_batch(first, stride, seeds, time).to_line());
            Ok(true)
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulation: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prepares this process to run seeds.
fn prepare(bug: Option<Bug>) {
    panics::watch();
    task::configure();
    planted::plant(bug);
}

/// Runs one seed. Returns whether it has found nothing.
fn run_one(seed: u64, trace: bool) -> bool {
    prepare(None);
    let telling = if trace { Telling::Printed } else { Telling::Silent };
    let mut report = run::run_seed(seed, telling);
    if !report.findings.is_empty() && !trace {
        // The same again, with its story.
        let again = run::run_seed(seed, Telling::Kept);
        if again.digest != report.digest {
            let digest = again.digest;
            report.findings.push(format!("another digest at the second run: {digest:016x}"));
        }
        report.story = again.story;
    }
    let skipped = report.story.len().saturating_sub(STORY_LINES_SHOWN);
    report.story.iter().skip(skipped).for_each(|line| println!("{line}"));
    print!("{report}");
    report.findings.is_empty()
}

/// A seed that nobody has chosen.
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Few digits, since people copy it.
    (since.as_nanos() as u64 ^ u64::from(process::id()) << 32) % 1_000_000_000_000
}

fn processors() -> u64 {
    thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

/// Runs fresh seeds in several processes. Returns whether they have found nothing and have done
/// enough.
fn run_fresh(minutes: u64, jobs: Option<u64>, first: Option<u64>) -> io::Result<bool> {
    let jobs = jobs.unwrap_or_else(processors).max(1);
    let first = first.unwrap_or_else(fresh_seed);
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    println!("seeds from {first} on, for {minutes} min, {jobs} at a time");
    let job = |number: u64| run_job(first + number, jobs, until, None);
    let (results, counts) = child::run_jobs(jobs, job)?;
    let seconds: f64 = results.iter().map(|result| result.seconds).sum();
    print_counts(&counts, seconds);
    let mut is_clean = true;
    for result in results {
        if let Some(seed) = result.failed {
            is_clean = false;
            println!("seed {seed} has found something; again: tests/simulation/run seed {seed}");
            result.findings.iter().for_each(|finding| println!("  FOUND {finding}"));
        }
    }
    if is_clean {
        for few in gates::missing(&counts, 60 * minutes * jobs) {
            is_clean = false;
            println!("too little has happened: {few}");
        }
    }
    Ok(is_clean)
}

/// Runs seeds in one process after the other until a time, or until one has found something.
fn run_job(first: u64, stride: u64, until: Instant, plant: Option<&str>) -> io::Result<Batch> {
    let mut all = Batch::default();
    let mut next = first;
    while all.failed.is_none() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let batch = run_process(next, stride, left, plant)?;
        next = next.wrapping_add(stride.wrapping_mul(SEEDS_PER_PROCESS));
        gates::add(&mut all.counts, &batch.counts);
        all.seconds += batch.seconds;
        (all.failed, all.findings) = (batch.failed, batch.findings);
    }
    Ok(all)
}

fn run_process(first: u64, stride: u64, time: Duration, plant: Option<&str>) -> io::Result<Batch> {
    let milliseconds = time.as_millis().max(1) as u64;
    let numbers = [
        ("--first", first),
        ("--stride", stride),
        ("--seeds", SEEDS_PER_PROCESS),
        ("--milliseconds", milliseconds),
    ];
    let numbers = numbers.into_iter().flat_map(|(name, n)| [name.to_owned(), n.to_string()]);
    let mut arguments: Vec<String> = ["batch".to_owned()].into_iter().chain(numbers).collect();
    if let Some(name) = plant {
        arguments.extend(["--plant".to_owned(), name.to_owned()]);
    }
    child::run(&arguments)
}

fn print_counts(counts: &Counts, seconds: f64) {
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    let per_second = count(STEPS) as f64 / seconds.max(1e-6);
    println!("{} seeds, {} steps, {per_second:.0} steps/s per process", count(SEEDS), count(STEPS));
    for (name, count) in counts {
        if name != SEEDS && name != STEPS {
            println!("  {name:<32} {count:>12}");
        }
    }
}

/// The planted bug of this name.
fn bug_of(name: &str) -> Option<Bug> {
    Bug::ALL.into_iter().find(|bug| bug_name(*bug) == name)
}

/// The name of a bug: the words of its variant, with hyphens.
fn bug_name(bug: Bug) -> String {
    let mut name = String::new();
    for letter in format!("{bug:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Plants bugs one at a time. Returns whether each was found in time.
fn run_planted(name: &str) -> io::Result<bool> {
    let all = Bug::ALL.map(bug_name);
    let chosen: Vec<&String> = all.iter().filter(|bug| name == "all" || *bug == name).collect();
    if chosen.is_empty() {
        let names = all.join(", ");
        return Err(io::Error::other(format!("no bug is called {name}; there are: {names}")));
    }
    let mut are_all_found = true;
    for bug in chosen {
        let first = fresh_seed();
        let result = run_job(first, 1, Instant::now() + PLANTED_TIME, Some(bug))?;
        let steps = result.counts.get(STEPS).copied().unwrap_or(0);
        let (seconds, finding) = (result.seconds, result.findings.first());
        match (result.failed, finding) {
            (Some(seed), Some(finding)) => {
                println!("{bug:<24} seed {seed:<14} {steps:>10} steps {seconds:>6.1} s  {finding}");
            }
            _ => {
                are_all_found = false;
                println!("{bug:<24} not found from seed {first} on, {steps} steps {seconds:.1} s");
            }
        }
    }
    Ok(are_all_found)
}
