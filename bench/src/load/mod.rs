//! The load generator of the bench. It checks every answer and reports its own CPU. The program is
//! `src/bin/load.rs`.
//!
//! Read in this order: [`settings`] defines a run; [`worker`] is the loop of a thread, over
//! [`socket`], [`mod@line`] and [`connection`]; [`pace`] has the due times of an open loop;
//! [`request`] encodes requests, whose [`fields`] vary; [`reader`] parses answers into a [`kind`]
//! each; [`tally`] counts and checks; [`report`] sums up.
//!
//! A thread owns its connections, its share of the requests and its counters. While they run, threads
//! share only a stop flag and the numbers of the progress line.

pub mod settings;
pub mod worker;
pub mod pace;
pub mod request;
pub mod fields;
pub mod reader;
pub mod kind;
pub mod tally;
pub mod report;

pub mod connection;
pub mod line;
pub mod random;
pub mod shared;
pub mod socket;

use std::io::IsTerminal;
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Because, Result, fail};
use crate::pin;
use crate::process::Interrupted;
use report::LoadReport;
use settings::{Plan, Settings};
use shared::Shared;
use worker::{Seen, Worker};

const PROGRESS_EVERY: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// Runs the load. `Err`: it could not run. Errors during the run are in the report.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<LoadReport> {
    let plan = Plan::new(settings)?;
    let threads = plan.cores.len();
    let shared = Shared::new(&plan, interrupted);
    let barrier = Barrier::new(threads);
    let started = Instant::now();
    let shows = settings.progress || std::io::stderr().is_terminal();
    let seen = thread::scope(|scope| {
        let (plan, shared, barrier) = (&plan, &shared, &barrier);
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let seen = work(plan, shared, barrier, thread);
                    shared.done.fetch_add(1, Ordering::Relaxed);
                    seen
                })
            })
            .collect();
        watch(plan, shared, shows);
        let seen = running.into_iter().map(|running| {
            running.join().unwrap_or_else(|_| fail("a thread of the load generator panicked"))
        });
        seen.collect::<Vec<Result<Seen>>>()
    });
    let interrupted = shared.interrupted.load(Ordering::Relaxed);
    let seen = seen.into_iter().collect::<Result<Vec<_>>>()?;
    let connecting = shared.origin.get().map_or(Duration::ZERO, |origin| *origin - started);
    let report = LoadReport::new(&plan, seen, connecting.as_secs_f64(), interrupted);
    let Some(mut report) = report else { return fail("--cores names no core") };
    if let Some((all, user)) = shared.used()? {
        (report.watched_cpu_us, report.watched_user_us) = (Some(all), Some(user));
    }
    Ok(report)
}

/// A thread: connects, waits until all threads have connected, and runs.
fn work(plan: &Plan, shared: &Shared, barrier: &Barrier, thread: usize) -> Result<Seen> {
    let connected = connect(plan, shared, thread);
    if connected.is_err() {
        shared.failed.store(true, Ordering::Relaxed);
        shared.stop();
    }
    // A failed thread comes here too, because the others wait for it.
    barrier.wait();
    let worker = connected?;
    if shared.failed.load(Ordering::Relaxed) {
        return fail("another thread could not open its connections");
    }
    worker.run(shared.begin())
}

fn connect<'a>(plan: &'a Plan, shared: &'a Shared, thread: usize) -> Result<Worker<'a>> {
    pin::to_core(plan.cores[thread]).because(|| "--cores".into())?;
    socket::wake_on_time()?;
    let mut worker = Worker::new(plan, shared, thread)?;
    worker.connect_all()?;
    Ok(worker)
}

/// Prints the progress once per second until every thread is done.
fn watch(plan: &Plan, shared: &Shared, shows: bool) {
    let (mut next, mut before) = (Instant::now() + PROGRESS_EVERY, 0);
    while shared.done.load(Ordering::Relaxed) < plan.cores.len() {
        thread::sleep(POLL);
        if !shows || Instant::now() < next {
            continue;
        }
        next += PROGRESS_EVERY;
        let Some(origin) = shared.origin.get() else {
            let open = shared.sum(|progress| &progress.open);
            eprintln!("connecting: {open} of {} open", plan.connections);
            continue;
        };
        let answered = shared.sum(|progress| &progress.answered);
        let grants = shared.sum(|progress| &progress.grants);
        let failures = shared.sum(|progress| &progress.failures);
        let backlog = match plan.rate {
            Some(_) => format!(", {} waiting", shared.sum(|progress| &progress.backlog)),
            None => String::new(),
        };
        eprintln!(
            "{:>4} s: {:>8} answers/s, {answered} in total, {grants} granted, {failures} failures{backlog}",
            origin.elapsed().as_secs(),
            answered - before,
        );
        before = answered;
    }
}
