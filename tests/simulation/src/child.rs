//! Processes that run seeds for this one: what a run leaves in memory goes with its process.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::{env, io, thread};

use crate::embedded;
use crate::gates::{self, Counts};
use crate::report::Batch;

/// Runs a number of jobs at the same time, each of which runs processes. Returns their results and
/// the sum of their counts.
pub fn run_jobs(
    jobs: u64,
    job: impl Fn(u64) -> io::Result<Batch> + Sync,
) -> io::Result<(Vec<Batch>, Counts)> {
    let job = &job;
    let results = thread::scope(|scope| {
        let jobs: Vec<_> = (0..jobs).map(|number| scope.spawn(move || job(number))).collect();
        let join = |job: thread::ScopedJoinHandle<'_, io::Result<Batch>>| {
            job.join().unwrap_or_else(|_| Err(io::Error::other("a thread has failed")))
        };
        jobs.into_iter().map(join).collect::<io::Result<Vec<Batch>>>()
    })?;
    let mut counts = Counts::new();
    results.iter().for_each(|result| gates::add(&mut counts, &result.counts));
    Ok((results, counts))
}

/// Runs this program with these arguments, and returns the result that it prints.
pub fn run(arguments: &[String]) -> io::Result<Batch> {
    let mut command = Command::new(env::current_exe()?);
    let mut child = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let mut result = None;
    for line in BufReader::new(output).lines() {
        result = Batch::from_line(&line?).or(result);
    }
    let status = child.wait()?;
    embedded::remove_of(child.id());
    result.ok_or_else(|| {
        let arguments = arguments.join(" ");
        io::Error::other(format!("the process `simulation {arguments}` has died: {status}"))
    })
}
