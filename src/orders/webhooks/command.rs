//! What `stampede orders --to https://…` does: one worker, from a Redis to a receiver, until it is told
//! to stop.

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
use crate::clock::wall_ms;
use crate::ledger::embedded::Handle;
use crate::ledger::redis::{Purpose, RedisLedger};
use crate::limits::{CONSUMER_GONE_MS, ORDERS_BATCH};
use crate::orders::command::stop_at_signals;
use crate::orders::database::{DatabaseError, Place, Sink};
use crate::orders::embedded::EmbeddedSource;
use crate::orders::rows::unsigned;
use crate::orders::source::Source;
use crate::orders::sqlite_file::judge;
use crate::orders::stream::{StreamOptions, StreamSource};
use crate::orders::worker::{Connect, WorkerError, WorkerOptions, run};
use crate::upkeep::WebhookCounts;

/// How webhooks are delivered.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// The receiver.
    pub to: WebhookUrl,
    /// Authorities to trust in place of the system's.
    pub ca: Option<PathBuf>,
    /// The file with what is still to be delivered.
    pub state: PathBuf,
    /// What signs.
    pub secrets: SecretFile,
    /// When an event is tried again.
    pub schedule: Schedule,
    /// Webhooks under way at the same time.
    pub parallel: usize,
    /// Time for one attempt.
    pub deadline: Duration,
    /// Events, dead letters among them, at which the stream is not read any further.
    pub backlog: u64,
    /// The consumer group, which has this worker only.
    pub group: String,
}

/// Why it ends other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    /// The file needs its operator.
    #[error("state of the webhooks: {0}")]
    State(#[from] DatabaseError),
    /// The authorities can't be read.
    #[error("--to: {0}")]
    Receiver(io::Error),
    /// The worker that takes changes over gave up.
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

/// Delivers until SIGTERM or SIGINT: it ends after the attempts that are under way, or at once by a
/// second signal. With `once`, until nothing is due. `from` is how the log names the ledger.
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
    tracing::info!(%from, %to, %group, %state, "webhooks begin");
    let mut connect = |_: &mut dyn Sink| {
        let source = StreamSource::connect(ledger.clone(), stream.clone())?;
        Ok(Box::new(source) as Box<dyn Source>)
    };
    // A worker alone has no port: its file says how it stands.
    let counts = WebhookCounts::default();
    let unreadable = work(&store, &mut connect, options, worker, (&stop, &counts))?;
    match unreadable {
        0 => Ok(()),
        unreadable if worker.once => Err(WebhooksError::Unreadable(unreadable)),
        _ => Ok(()),
    }
}

/// The same from an embedded ledger in this process, until it is told to stop. Of the changes of a
/// reservation that come faster than they are taken over, it has the latest only.
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
    tracing::info!(%to, %state, "webhooks of the embedded ledger begin");
    let mut connect = |sink: &mut dyn Sink| {
        let source = EmbeddedSource::connect(ledger.clone(), sink)?;
        Ok(Box::new(source) as Box<dyn Source>)
    };
    let worker = WorkerOptions { batch: ORDERS_BATCH, once: false, away_max: None };
    work(&store, &mut connect, options, worker, (stop, counts)).map(drop)
}

/// What has been taken over, to be compared with a ledger. While it is open, nobody else delivers from
/// it.
///
/// # Errors
/// It can't be used, or somebody else delivers from it.
pub fn open_state(options: &WebhookOptions) -> Result<Box<dyn Sink>, DatabaseError> {
    open_store(options)?.open_sink()
}

/// Up to where a source of this name has been taken over, also while somebody delivers.
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

/// Takes changes over and delivers them, until it is told to stop, or with `once` until nothing is due.
/// How many entries could not be read.
fn work(
    store: &SharedStore,
    connect: &mut Connect<'_>,
    options: &WebhookOptions,
    worker: WorkerOptions,
    (stop, counts): (&AtomicBool, &WebhookCounts),
) -> Result<u64, WebhooksError> {
    let WebhookOptions { to, deadline, parallel, .. } = options;
    let receiver = Receiver::new(to, options.ca.as_deref(), *deadline, *parallel);
    // Each half ends the other, which need not end the process.
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
    tracing::info!(delivered, failed, dead, waiting, "webhooks end");
    Ok(taken.unreadable)
}

/// Ends the other half of the work when this one ends, however it does.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
