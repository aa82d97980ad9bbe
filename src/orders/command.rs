//! What `stampede orders` does: one worker of a group, from a Redis to a database, until it is told
//! to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

use super::{DatabaseUrl, Done, StreamOptions, StreamSource, WorkerError, WorkerOptions, run};
use crate::config::RedisSetting;
use crate::ledger::redis::Purpose;

/// Exit code of a second signal, which ends at once.
const INTERRUPTED: i32 = 1;

/// Why it ends other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum OrdersError {
    /// The Redis can't be used at all.
    #[error("--from {0}: {1}")]
    From(String, String),
    /// The worker gave up.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// With `once`: everything else is written.
    #[error("{0} entries of the streams could not be read; the log has their ids")]
    Unreadable(u64),
    /// The system refuses signal handlers.
    #[error("can't start: {0}")]
    Start(#[from] io::Error),
}

/// Runs a worker until SIGTERM or SIGINT; it ends after the batch that it is at, or at once by a
/// second signal.
pub fn work(
    from: &RedisSetting,
    to: &DatabaseUrl,
    stream: &StreamOptions,
    options: WorkerOptions,
) -> Result<Done, OrdersError> {
    let ledger = from.ledger().map_err(|why| OrdersError::From(from.url.to_string(), why))?;
    let ledger = Arc::new(ledger.with_purpose(Purpose::Orders, []));
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        register_conditional_shutdown(signal, INTERRUPTED, stop.clone())?;
        register(signal, stop.clone())?;
    }
    let StreamOptions { group, consumer, .. } = stream;
    tracing::info!(from = %from.url, %to, %group, %consumer, "orders");
    let done = run(
        to,
        &mut |_| Ok(Box::new(StreamSource::connect(ledger.clone(), stream.clone())?)),
        options,
        &stop,
    )?;
    tracing::info!(rows = done.changes, "orders end");
    match done.unreadable {
        0 => Ok(done),
        unreadable if options.once => Err(OrdersError::Unreadable(unreadable)),
        _ => Ok(done),
    }
}
