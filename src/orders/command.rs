//! The work of `stampede orders`: one worker of a group, from a Redis to a database, until it is
//! stopped; and an operator's commands about the groups.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

use super::database_url::DatabaseUrl;
use super::groups::{GroupsError, drop_group, groups};
use super::stream::{StreamOptions, StreamSource};
use super::worker::{WorkDone, WorkerError, WorkerOptions, run};
use crate::duration::format_duration;
use crate::ledger::redis::{Purpose, RedisLedger};

/// Exit code of a second signal, which ends the process at once.
const INTERRUPTED: i32 = 1;

/// Why the worker ends without being stopped.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// The Redis can't be used at all.
    #[error("--from {0}: {1}")]
    From(String, String),
    /// The worker failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// With `once`: everything else is written.
    #[error("{0} entries of the streams could not be read; the log has their ids")]
    Unreadable(u64),
    /// A group can't be listed or removed.
    #[error(transparent)]
    Groups(#[from] GroupsError),
    /// The system refuses signal handlers, or the standard output.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs a worker until SIGTERM or SIGINT. It ends after the current batch, or at once at a second
/// signal. `from` is the name of the ledger in the log.
pub fn work(
    from: &dyn Display,
    ledger: RedisLedger,
    to: &DatabaseUrl,
    stream: &StreamOptions,
    options: WorkerOptions,
) -> Result<WorkDone, OrdersError> {
    let ledger = for_orders(ledger);
    let stop = stop_at_signals()?;
    let StreamOptions { group, consumer, .. } = stream;
    tracing::info!(%from, %to, %group, %consumer, "orders worker started");
    let done = run(
        to,
        &mut |_| Ok(Box::new(StreamSource::connect(ledger.clone(), stream.clone())?)),
        options,
        &stop,
    )?;
    tracing::info!(rows = done.changes, "orders worker stopped");
    match done.unreadable {
        0 => Ok(done),
        unreadable if options.once => Err(OrdersError::Unreadable(unreadable)),
        _ => Ok(done),
    }
}

/// Becomes true at SIGTERM or SIGINT. A second signal ends the process at once.
pub(super) fn stop_at_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        register_conditional_shutdown(signal, INTERRUPTED, stop.clone())?;
        register(signal, stop.clone())?;
    }
    Ok(stop)
}

fn for_orders(ledger: RedisLedger) -> Arc<RedisLedger> {
    Arc::new(ledger.with_purpose(Purpose::Orders, []))
}

/// Prints the state of each group.
pub fn print_groups(ledger: RedisLedger, out: &mut dyn Write) -> Result<(), OrdersError> {
    let groups = groups(&for_orders(ledger))?;
    writeln!(out, "{:<24} {:>8} {:>12} {:>12}  WORKERS", "GROUP", "STREAMS", "UNREAD", "PENDING")?;
    for group in groups {
        let unread = group.unread.map_or_else(|| "unknown".into(), |unread| unread.to_string());
        let workers = match group.heard_of_ms {
            None => "none".to_owned(),
            Some(ms) => {
                let ago = format_duration(ms / 1_000 * 1_000);
                format!("{}, active {ago} ago", group.workers.len())
            }
        };
        let (name, streams, pending) = (group.name, group.streams, group.pending);
        writeln!(out, "{name:<24} {streams:>8} {unread:>12} {pending:>12}  {workers}")?;
    }
    Ok(())
}

/// Removes a group that nobody uses, and prints what it had not written yet.
pub fn end_group(ledger: RedisLedger, name: &str, out: &mut dyn Write) -> Result<(), OrdersError> {
    let group = drop_group(&for_orders(ledger), name)?;
    let unread = group.unread.map_or_else(|| "an unknown number of".into(), |it| it.to_string());
    writeln!(
        out,
        "group {name} ended: it was on {} streams, had {unread} entries to read and {} to finish",
        group.streams, group.pending
    )?;
    Ok(())
}
