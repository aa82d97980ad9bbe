//! The command `replay`: fresh histories, those of one seed, or one of a file.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use super::check::{Counts, Difference, check, check_recording};
use super::history::{History, Recording, What};
use super::real::RealRedis;
use super::{faults, json, shrink};
use crate::chance::Chance;
use crate::gates::SEEDS;
use crate::plan::Plan;
use crate::report::Batch;
use crate::run::run_recorded;
use crate::{child, panics};

/// The key of the histories: one per sale of a seed, with its parts.
pub const HISTORIES: &str = "histories";
/// Calls after which a recording ends, at least and at most: few are long.
const CALLS_MAX_LEAST: u64 = 100;
/// See [`CALLS_MAX_LEAST`].
const CALLS_MAX_MOST: u64 = 8_000;
/// Time to shorten a history.
const SHRINK_TIME: Duration = Duration::from_secs(40);
/// Lines of a short history that are printed.
const LINES_SHOWN: usize = 40;

/// What 1,000 histories have in them, at least.
const MINIMA: [(&str, u64); 24] = [
    ("calls", 10_000),
    ("commands", 20_000),
    ("granted", 2_000),
    ("sold_out", 1_000),
    ("replayed", 100),
    ("limit_reached", 100),
    ("key_reused", 1),
    ("not_open", 100),
    ("closed", 100),
    ("claimed", 10),
    ("not_claimed", 100),
    ("reservation", 1_000),
    ("expired", 10),
    ("expired in parts", 5),
    ("released", 1_000),
    ("fault killed", 1),
    ("fault reloaded", 1),
    ("fault scripts flushed", 10),
    ("fault half sent", 10),
    ("fault unread", 10),
    ("fault forgot", 10),
    ("fault evicted", 5),
    ("fault earlier epoch", 10),
    ("fault clock behind", 10),
];

/// Replays this number of histories of fresh seeds. Returns whether Redis and the model agree
/// about all, and there was enough to agree about.
pub fn replay_fresh(histories: u64, jobs: u64, first: u64) -> io::Result<bool> {
    let started = Instant::now();
    println!("histories of the seeds from {first} on, on {jobs} Redis at a time");
    let each = histories.div_ceil(jobs);
    let job = |number: u64| {
        let numbers = [("--first", first + number), ("--stride", jobs), ("--histories", each)];
        let numbers = numbers.into_iter().flat_map(|(name, n)| [name.to_owned(), n.to_string()]);
        child::run(&[vec!["replay-batch".to_owned()], numbers.collect()].concat())
    };
    let (results, counts) = child::run_jobs(jobs, job)?;
    print_counts(&counts, started.elapsed());
    let mut is_clean = true;
    for result in results {
        if let Some(seed) = result.failed {
            is_clean = false;
            println!(
                "seed {seed} has found something; again: \
                 tests/simulation/run replay --seed {seed}"
            );
            result.findings.iter().for_each(|finding| println!("  {finding}"));
        }
    }
    if is_clean {
        for few in missing(&counts, histories) {
            is_clean = false;
            println!("too little has been replayed: {few}");
        }
    }
    Ok(is_clean)
}

/// What was not reached, by that much.
fn missing(counts: &Counts, histories: u64) -> Vec<String> {
    let all = [(HISTORIES, 1_000)].into_iter().chain(MINIMA);
    let few = all.filter_map(|(name, minimum)| {
        let minimum = minimum * histories / 1_000;
        let count = counts.get(name).copied().unwrap_or(0);
        (count < minimum).then(|| format!("{name}: {count} of {minimum}"))
    });
    few.collect()
}

fn print_counts(counts: &Counts, took: Duration) {
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    println!(
        "{} histories of {} seeds, {} commands in {} calls, in {:.1} s",
        count(HISTORIES),
        count(SEEDS),
        count("commands"),
        count("calls"),
        took.as_secs_f64()
    );
    for (name, count) in counts {
        if ![HISTORIES, SEEDS, "commands", "calls"].contains(&&**name) {
            println!("  {name:<32} {count:>12}");
        }
    }
}

/// Replays the histories of one seed after the other, until there were that many or one differs.
pub fn replay_batch(first: u64, stride: u64, histories: u64) -> Batch {
    let mut batch = Batch::default();
    let (mut seed, started) = (first, Instant::now());
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut redis = Redises::default();
        while batch.counts.get(HISTORIES).copied().unwrap_or(0) < histories {
            *batch.counts.entry(SEEDS.to_owned()).or_default() += 1;
            let found = replay_seed(seed, &mut redis, &mut batch.counts);
            if !found.is_empty() {
                (batch.failed, batch.findings) = (Some(seed), found);
                return;
            }
            seed = seed.wrapping_add(stride);
        }
    }));
    if ran.is_err() {
        (batch.failed, batch.findings) = (Some(seed), panics::take());
    }
    batch.seconds = started.elapsed().as_secs_f64();
    batch
}

/// One that can be killed, and a faster one.
#[derive(Default)]
struct Redises {
    durable: Option<RealRedis>,
    fast: Option<RealRedis>,
}

impl Redises {
    fn of(&mut self, history: &History) -> &mut RealRedis {
        let has_kill = history.has_kill();
        let redis = if has_kill { &mut self.durable } else { &mut self.fast };
        redis.get_or_insert_with(|| RealRedis::start(has_kill))
    }
}

/// Replays the histories of a seed. Returns what was found.
fn replay_seed(seed: u64, redis: &mut Redises, counts: &mut Counts) -> Vec<String> {
    // What the embedded ledger does is not for a Redis, and one Redis can't repeat two histories.
    let plan = Plan::draw(seed);
    if plan.embedded.is_some() || plan.failovers.is_some() {
        return Vec::new();
    }
    let calls_max = Chance::of(seed, "replay length").spread(CALLS_MAX_LEAST, CALLS_MAX_MOST);
    // What the run itself has found is not looked at: that is for `run` to report.
    let (_, recording) = run_recorded(seed, calls_max as usize);
    if let Err(text) = check_recording(&recording) {
        return vec![format!("the recording is wrong: {text}")];
    }
    *counts.entry(HISTORIES.to_owned()).or_default() += count_sales(&recording);
    let history = faults::history(seed, &recording);
    let redis = redis.of(&history);
    match check(&history, redis, counts) {
        Ok(()) => Vec::new(),
        Err(difference) => explain(&history, redis, &difference),
    }
}

fn count_sales(recording: &Recording) -> u64 {
    let groups = recording.calls().flat_map(|recorded| &recorded.call.groups);
    groups.map(|group| group.sale.whole()).collect::<BTreeSet<_>>().len() as u64
}

/// Shortens a history, writes it to a file, and says what it shows.
fn explain(history: &History, redis: &mut RealRedis, first: &Difference) -> Vec<String> {
    let mut last = first.clone();
    let short = shrink::shrink(history, SHRINK_TIME, |shorter| {
        let found = check(shorter, redis, &mut Counts::new()).err()?;
        last = found.clone();
        Some(found.at)
    });
    let commands = |history: &History| {
        let calls = history.steps.iter().filter_map(|step| match &step.what {
            What::Call(call) => Some(call.groups.iter().map(|group| group.commands.len())),
            What::Fault(_) => None,
        });
        calls.flatten().sum::<usize>()
    };
    let mut lines =
        vec![format!("{} commands, shortened to {}:", commands(history), commands(&short))];
    let text = json::of_history(&short);
    lines.extend(text.lines().take(LINES_SHOWN).map(str::to_owned));
    // Fewer steps may differ in another way: what is told is of the last ones.
    let told = check(&short, redis, &mut Counts::new()).err().unwrap_or(last);
    lines.extend(told.to_string().lines().map(str::to_owned));
    lines.push(match write(history.seed, &text) {
        Ok(path) => format!("again: tests/simulation/run replay {}", path.display()),
        Err(error) => format!("it could not be written to a file: {error}"),
    });
    lines
}

/// Writes a history beside the folder of this program.
fn write(seed: u64, text: &str) -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).unwrap_or(Path::new("."));
    let folder = target.join("replay");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{seed}.jsonl"));
    fs::write(&path, text)?;
    Ok(path)
}

/// Replays the history of a file. Returns whether Redis and the model agree about it.
pub fn replay_file(path: &Path) -> io::Result<bool> {
    let text = fs::read_to_string(path)?;
    let history = json::to_history(&text).map_err(io::Error::other)?;
    match check(&history, &mut RealRedis::start(history.has_kill()), &mut Counts::new()) {
        Ok(()) => {
            println!("the model and Redis agree about {} steps", history.steps.len());
            Ok(true)
        }
        Err(difference) => {
            println!("the model and Redis differ:");
            println!("{}", json::of_step(&history.steps[difference.at]));
            println!("{difference}");
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_replay_does_not_pass() {
        assert_eq!(missing(&Counts::new(), 1_000).len(), MINIMA.len() + 1);
        assert_eq!(missing(&Counts::new(), 1)[0], "histories: 0 of 1");
    }
}
