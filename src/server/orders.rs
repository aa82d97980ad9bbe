//! The orders of an embedded ledger, or its webhooks: a worker on a thread within the server, since
//! no other process can open the ledger's folder.
//!
//! Selling never waits for it. A database that is unreachable costs nothing meanwhile: the database
//! stores its own position, and the ledger returns what has changed since.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::background::BackgroundStats;
use crate::ledger::embedded::{Handle, Store};
use crate::limits::ORDERS_BATCH;
use crate::orders::webhooks::{self, WebhooksError};
use crate::orders::{
    ChangeSource, ConnectError, Destination, EmbeddedSource, Sink, SinkLocation, SourceError,
    WorkerError, WorkerOptions, run,
};

/// Pause before a worker that has failed is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(10);
/// Time for the current batch at the end. The next start writes what is left.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// The same for webhooks that are being sent. A slow receiver must not delay the hand-over of the
/// ledger; an interrupted webhook is sent again.
const STOP_DEADLINE_WEBHOOKS: Duration = Duration::from_millis(500);
/// Time for a query to the ledger at the start.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// Time for the database at the start to show whether the ledger is behind it. A database that is
/// unreachable does not stop selling: it is compared when it is back.
const COMPARE_PATIENCE: Duration = Duration::from_secs(3);
/// Interval of the check whether it must stop, or has stopped.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The running worker. It ends when this is dropped.
pub struct OrdersThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    stop_deadline: Duration,
}

impl OrdersThread {
    /// Starts it, once the ledger was compared with the database. If the database is unreachable,
    /// the worker waits for it.
    pub fn start(
        ledger: Handle,
        to: Destination,
        background: Arc<BackgroundStats>,
    ) -> Result<Self, OrdersStartError> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let stop_deadline = match to {
            Destination::Database(_) => STOP_DEADLINE,
            Destination::Webhooks(_) => STOP_DEADLINE_WEBHOOKS,
        };
        let (compared, verdict) = sync_channel(1);
        let thread = thread::Builder::new().name("orders".into()).spawn(move || {
            let counts = &ledger.counts().orders;
            counts.nobody_reads();
            // Until the database reports its position it has nothing, so no sale may be removed
            // meanwhile.
            let has_rows = to.database().is_some();
            let none = move |store: &mut Store| {
                store.set_orders_position(0);
                store.set_orders_have_rows(has_rows);
            };
            if let Err(error) = ledger.ask(LOOK_DEADLINE, none) {
                tracing::warn!(%error, "can't record in the ledger that it has orders");
            }
            let first = compare(&ledger, &to);
            let is_behind = first.is_err();
            let _ = compared.try_send(first);
            if is_behind {
                return;
            }
            while !told.load(Ordering::Relaxed) {
                // A panic is logged already.
                let worked =
                    catch_unwind(AssertUnwindSafe(|| work(&ledger, &to, &told, &background)));
                match worked {
                    Ok(Ok(())) => return,
                    // The database was unreachable at the start. Its position has now stopped the
                    // ledger.
                    Ok(Err(WebhooksError::Worker(WorkerError::Source(_)))) => return,
                    Ok(Err(error)) => tracing::error!(
                        %error,
                        retry_s = RESTART_PAUSE.as_secs(),
                        "orders not written; selling goes on"
                    ),
                    Err(_) => {}
                }
                counts.nobody_reads();
                let until = Instant::now() + RESTART_PAUSE;
                while Instant::now() < until && !told.load(Ordering::Relaxed) {
                    thread::sleep(LOOK_INTERVAL);
                }
            }
        })?;
        let orders = Self { stop, thread: Some(thread), stop_deadline };
        match verdict.recv_timeout(COMPARE_PATIENCE) {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Err(OrdersStartError::Behind(reason)),
            Err(_) => tracing::warn!("database slow: the ledger is compared with its orders later"),
        }
        Ok(orders)
    }
}

/// Why a server that writes orders can't start.
#[derive(Debug, thiserror::Error)]
pub enum OrdersStartError {
    /// The thread can't be started.
    #[error(transparent)]
    Thread(#[from] io::Error),
    /// The ledger is behind its orders.
    #[error("{0}")]
    Behind(String),
}

/// An error if the database shows that the ledger is behind its orders. The worker meets all other
/// errors too, and logs them.
fn compare(ledger: &Handle, to: &Destination) -> Result<(), String> {
    let opened = match to {
        Destination::Database(url) => url.open_sink(),
        Destination::Webhooks(options) => webhooks::open_state(options),
    };
    let Ok(mut sink) = opened else { return Ok(()) };
    match EmbeddedSource::connect(ledger.clone(), &mut *sink) {
        Err(ConnectError::Source(SourceError::Fatal(reason))) => Err(reason),
        _ => Ok(()),
    }
}

fn work(
    ledger: &Handle,
    to: &Destination,
    stop: &AtomicBool,
    background: &BackgroundStats,
) -> Result<(), WebhooksError> {
    let url = match to {
        Destination::Database(url) => url,
        Destination::Webhooks(options) => {
            return webhooks::deliver_embedded(ledger, options, stop, &background.webhooks);
        }
    };
    let mut connect = |database: &mut dyn Sink| -> Result<Box<dyn ChangeSource>, ConnectError> {
        Ok(Box::new(EmbeddedSource::connect(ledger.clone(), database)?))
    };
    let options = WorkerOptions { batch: ORDERS_BATCH, once: false, away_max: None };
    Ok(run(url, &mut connect, options, stop).map(drop)?)
}

impl OrdersThread {
    /// Asks it to end, without waiting.
    pub fn stop_soon(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for OrdersThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        let until = Instant::now() + self.stop_deadline;
        while !thread.is_finished() {
            if Instant::now() >= until {
                tracing::warn!(
                    "database or receiver slow: remaining orders follow after the next start"
                );
                return;
            }
            thread::sleep(LOOK_INTERVAL);
        }
        let _ = thread.join();
    }
}
