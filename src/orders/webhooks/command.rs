//! The work of `stampede orders --to https://…`: one worker, from a Redis to a receiver, until it
//! is stopped.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::OptionalExtension;

use super::deliver::{Delivered, Deliverer};
use super::file::open;
use super::letters::LettersError;
use super::receiver::{Receiver, WebhookUrl};
use super::schedule::Schedule;
use super::secret::SecretFile;
use super::shared::SharedStore;
use super::store::Store;
use crate::background::WebhookCounts;
use crate::clock::wall_ms;
use crate::ledger::embedded::Handle;
use crate::ledger::redis::{Purpose, RedisLedger};
use crate::limits::{CONSUMER_GONE_MS, ORDERS_BATCH};
use crate::orders::command::stop_at_signals;
use crate::orders::database::{DatabaseError, Sink, SinkLocation};
use crate::orders::embedded::EmbeddedSource;
use crate::orders::rows::unsigned;
use crate::orders::source::ChangeSource;
use crate::orders::sqlite_file::judge;
use crate::orders::stream::{StreamOptions, StreamSource};
use crate::orders::worker::{Connect, WorkerError, WorkerOptions, run};

/// How webhooks are delivered.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// The receiver.
    pub to: WebhookUrl,
    /// Authorities to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// The file with the events to be delivered.
    pub state: PathBuf,
    /// The secrets that sign.
    pub secrets: SecretFile,
    /// When an event is tried again.
    pub schedule: Schedule,
    /// The maximum number of webhooks in flight.
    pub parallel: usize,
    /// The time for one attempt.
    pub deadline: Duration,
    /// The number of events, including dead letters, at which the stream is not read any further.
    pub backlog: u64,
    /// The consumer group, of which this is the only worker.
    pub group: String,
}

/// Why the worker ends without being stopped.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// The operator must repair the file.
    #[error("state of the webhooks: {0}")]
    State(#[from] DatabaseError),
    /// The authorities can't be read.
    #[error("--to: {0}")]
    Receiver(io::Error),
    /// The half that takes changes over failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// With `once`: everything else is taken over.
    #[error("{0} entries of the streams could not be read; the log has their ids")]
    Unreadable(u64),
    /// Dead letters can't be listed or changed.
    #[error(transparent)]
    Letters(#[from] LettersError),
    /// The system refuses a thread or a signal handler.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Delivers until SIGTERM or SIGINT. Ends after the attempts in flight, or at once at a second
/// signal. With `once`, ends when no event is due. `from` is the name of the ledger in the log.
///
/// # Errors
/// See [`WebhooksError`].
pub fn deliver(
    from: &dyn Display,
    ledger: RedisLedger,
    options: &WebhookOptions,
    worker: WorkerOptions,
) -> Result<(), WebhooksError> {
    let store = open_store(options)?;
    let ledger = Arc::new(ledger.with_purpose(Purpose::Orders, []));
    let gone_after = Duration::from_millis(CONSUMER_GONE_MS);
    let stream = StreamOptions {
        group: options.group.clone(),
        consumer: store.lock().worker()?,
        claim_after: gone_after,
        gone_after,
        alone: true,
    };
    let stop = stop_at_signals()?;
    let (to, group, state) = (&options.to, &options.group, options.state.display());
    tracing::info!(%from, %to, %group, %state, "webhooks worker started");
    let mut connect = |_: &mut dyn Sink| {
        let source = StreamSource::connect(ledger.clone(), stream.clone())?;
        Ok(Box::new(source) as Box<dyn ChangeSource>)
    };
    // A worker process has no port: its file has its state.
    let counts = WebhookCounts::default();
    let unreadable = work(&store, &mut connect, options, worker, (&stop, &counts))?;
    match unreadable {
        0 => Ok(()),
        unreadable if worker.once => Err(WebhooksError::Unreadable(unreadable)),
        _ => Ok(()),
    }
}

/// The same from an embedded ledger in this process, until it is stopped. If changes of a
/// reservation come faster than they are taken over, only the latest is delivered.
///
/// # Errors
/// See [`WebhooksError`].
pub fn deliver_embedded(
    ledger: &Handle,
    options: &WebhookOptions,
    stop: &AtomicBool,
    counts: &WebhookCounts,
) -> Result<(), WebhooksError> {
    let store = open_store(options)?;
    let (to, state) = (&options.to, options.state.display());
    tracing::info!(%to, %state, "webhooks worker of the embedded ledger started");
    let mut connect = |sink: &mut dyn Sink| {
        let source = EmbeddedSource::connect(ledger.clone(), sink)?;
        Ok(Box::new(source) as Box<dyn ChangeSource>)
    };
    let worker = WorkerOptions { batch: ORDERS_BATCH, once: false, away_max: None };
    work(&store, &mut connect, options, worker, (stop, counts)).map(drop)
}

/// Opens the state, to be compared with a ledger. While it is open, nobody else delivers from it.
///
/// # Errors
/// It can't be used, or another worker delivers from it.
pub fn open_state(options: &WebhookOptions) -> Result<Box<dyn Sink>, DatabaseError> {
    open_store(options)?.open_sink()
}

/// The position up to which changes of this source have been taken over, also while a worker
/// delivers.
///
/// # Errors
/// The file can't be read.
pub fn position(state: &Path, source: &str) -> Result<Option<u64>, DatabaseError> {
    let (connection, _) = open(state, false)?;
    let sql = "SELECT version FROM positions WHERE source = ?1";
    let found = connection.query_row(sql, [source], |row| row.get(0)).optional();
    Ok(found.map_err(|error| judge(state, &error))?.map(unsigned))
}

fn open_store(options: &WebhookOptions) -> Result<SharedStore, DatabaseError> {
    Ok(SharedStore::new(Store::open(&options.state, options.backlog, wall_ms())?))
}

/// Takes changes over and delivers them, until `stop` is set, or with `once` until no event is due.
/// Returns the number of entries that could not be read.
fn work(
    store: &SharedStore,
    connect: &mut Connect<'_>,
    options: &WebhookOptions,
    worker: WorkerOptions,
    (stop, counts): (&AtomicBool, &WebhookCounts),
) -> Result<u64, WebhooksError> {
    let WebhookOptions { to, deadline, parallel, .. } = options;
    let receiver = Receiver::new(to, options.ca.as_deref(), *deadline, *parallel);
    // Each half ends the other, without ending the process.
    let (ended, finish) = (AtomicBool::new(false), AtomicBool::new(false));
    let deliverer = Deliverer {
        store,
        receiver: receiver.map_err(WebhooksError::Receiver)?,
        secrets: options.secrets.clone(),
        schedule: options.schedule,
        parallel: *parallel,
        stop,
        ended: &ended,
        finish: &finish,
        counts,
    };
    let (taken, delivered) = thread::scope(|scope| {
        let deliver = || {
            let _guard = SetAtEnd(&ended);
            deliverer.run(scope)
        };
        let delivering =
            thread::Builder::new().name("webhooks".into()).spawn_scoped(scope, deliver)?;
        let taken = run(store, connect, worker, &ended);
        match taken {
            Ok(_) if worker.once => finish.store(true, Ordering::Release),
            _ => ended.store(true, Ordering::Relaxed),
        }
        let delivered = delivering.join().unwrap_or_else(|_| {
            let text = "the thread that delivers has panicked: see the log";
            Err(DatabaseError::Fatal(text.to_owned()))
        });
        Ok::<_, io::Error>((taken, delivered))
    })?;
    let Delivered { delivered, failed, dead } = delivered?;
    let taken = taken?;
    let waiting = store.lock().counts()?.waiting;
    tracing::info!(delivered, failed, dead, waiting, "webhooks worker stopped");
    Ok(taken.unreadable)
}

/// Ends the other half of the work when this one ends, in whatever way.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
