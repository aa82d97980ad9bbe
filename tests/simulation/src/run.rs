//! The run of one seed.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::gates::{self, SEEDS};
use crate::panics;
use crate::plan::Plan;
use crate::replay::history::Recording;
use crate::report::{Batch, Report};
use crate::task;
use crate::trace::Telling;
use crate::world::World;

/// Steps after which a run should have ended long ago.
const STEPS_MAX: u64 = 20_000_000;

/// Runs a seed. Must not be called in a coroutine.
pub fn run_seed(seed: u64, telling: Telling) -> Report {
    run(seed, telling, None).0
}

/// The same, and what the ledger has carried out. Ends after about this many calls.
pub fn run_recorded(seed: u64, calls_max: usize) -> (Report, Recording) {
    run(seed, Telling::Silent, Some(calls_max))
}

fn run(seed: u64, telling: Telling, calls_max: Option<usize>) -> (Report, Recording) {
    let started = Instant::now();
    let driven = task::run_driver(move || drive(seed, telling, calls_max));
    let failed = || Report {
        seed,
        plan: "the simulator itself has failed".to_owned(),
        seconds: 0.0,
        digest: 0,
        counts: gates::Counts::new(),
        findings: Vec::new(),
        story: Vec::new(),
    };
    let (mut report, recording) = driven.unwrap_or_else(|_| (failed(), Recording::default()));
    report.seconds = started.elapsed().as_secs_f64();
    report.findings.extend(panics::take());
    (report, recording)
}

/// The same as a coroutine.
fn drive(seed: u64, telling: Telling, calls_max: Option<usize>) -> (Report, Recording) {
    let mut world = World::new(seed, telling);
    if calls_max.is_some() {
        world.record();
    }
    let is_short = |world: &World| calls_max.is_none_or(|max| world.calls_recorded() < max);
    let goes_on =
        |world: &mut World| world.step() && !panics::any() && !world.has_found() && is_short(world);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        while goes_on(&mut world) {
            assert!(world.steps() < STEPS_MAX, "the run does not end");
        }
    }));
    // What has failed stays in memory: its parts may be in any state.
    if ran.is_ok() && !panics::any() && !world.has_found() {
        world.end();
    }
    world.leave_disk();
    let recording = world.take_recording().unwrap_or_default();
    let report = Report {
        seed,
        plan: world.plan().to_string(),
        seconds: 0.0,
        digest: world.digest(),
        counts: world.counts(),
        findings: world.findings(),
        story: world.into_story(),
    };
    (report, recording)
}

/// Runs seeds one after the other: `first`, and then each `stride` further, until the time is over,
/// so many were run, or one has found something.
///
/// Only those whose plan begins with the text of `SIMULATION_PLANS`, if that is set.
pub fn run_batch(first: u64, stride: u64, seeds_max: u64, time: Duration) -> Batch {
    let started = Instant::now();
    let plans = env::var("SIMULATION_PLANS").unwrap_or_default();
    let mut batch = Batch::default();
    for number in 0..seeds_max {
        if started.elapsed() >= time {
            break;
        }
        let seed = first.wrapping_add(number.wrapping_mul(stride));
        if !plans.is_empty() && !Plan::draw(seed).to_string().starts_with(&plans) {
            continue;
        }
        let report = run_seed(seed, Telling::Silent);
        gates::add(&mut batch.counts, &report.counts);
        *batch.counts.entry(SEEDS.to_owned()).or_default() += 1;
        if !report.findings.is_empty() {
            batch.failed = Some(seed);
            batch.findings = report.findings;
            break;
        }
    }
    batch.seconds = started.elapsed().as_secs_f64();
    batch
}
