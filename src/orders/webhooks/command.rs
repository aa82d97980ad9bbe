//! What `stampede orders --to https://…` does: one worker, from a Redis to a receiver, until it is told
//! to stop.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::deliver::{Delivered, Deliverer};
use super::letters::LettersError;
use super::receiver::{Receiver, WebhookUrl};
use super::schedule::Schedule;
use super::secret::SecretFile;
use super::shared::SharedStore;
use super::store::Store;
use crate::clock::wall_ms;
use crate::ledger::redis::{Purpose, RedisLedger};
use crate::limits::CONSUMER_GONE_MS;
use crate::orders::command::stop_at_signals;
use crate::orders::database::DatabaseError;
use crate::orders::stream::{StreamOptions, StreamSource};
use crate::orders::worker::{WorkerError, WorkerOptions, run};

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
    options: WebhookOptions,
    worker: WorkerOptions,
) -> Result<(), WebhooksError> {
    let store = Store::open(&options.state, options.backlog, wall_ms())?;
    let WebhookOptions { to, group, deadline, parallel, .. } = &options;
    let receiver = Receiver::new(to, options.ca.as_deref(), *deadline, *parallel);
    let receiver = receiver.map_err(WebhooksError::Receiver)?;
    let ledger = Arc::new(ledger.with_purpose(Purpose::Orders, []));
    let gone_after = Duration::from_millis(CONSUMER_GONE_MS);
    let stream = StreamOptions {
        group: group.clone(),
        consumer: store.worker()?,
        claim_after: gone_after,
        gone_after,
        alone: true,
    };
    let state = store.path().display().to_string();
    let stop = stop_at_signals()?;
    tracing::info!(%from, %to, %group, %state, "webhooks begin");
    let store = SharedStore::new(store);
    let finish = AtomicBool::new(false);
    let deliverer = Deliverer {
        store: &store,
        receiver,
        secrets: options.secrets.clone(),
        schedule: options.schedule,
        parallel: *parallel,
        stop: &stop,
        finish: &finish,
    };
    let (taken, delivered) = thread::scope(|scope| {
        let deliver = || {
            let _guard = StopAtEnd(&stop);
            deliverer.run(scope)
        };
        let delivering =
            thread::Builder::new().name("webhooks".into()).spawn_scoped(scope, deliver)?;
        let mut connect = |_: &mut dyn crate::orders::Sink| {
            let source = StreamSource::connect(ledger.clone(), stream.clone())?;
            Ok(Box::new(source) as Box<dyn crate::orders::Source>)
        };
        let taken = run(&store, &mut connect, worker, &stop);
        match taken {
            Ok(_) if worker.once => finish.store(true, Ordering::Release),
            _ => stop.store(true, Ordering::Relaxed),
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
    match taken.unreadable {
        0 => Ok(()),
        unreadable if worker.once => Err(WebhooksError::Unreadable(unreadable)),
        _ => Ok(()),
    }
}

/// Stops the other half of the work when this one ends, however it does.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
