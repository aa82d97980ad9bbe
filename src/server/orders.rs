//! The orders of an embedded ledger, or its webhooks: a worker on a thread of its own, within the
//! server, since nobody else may open the ledger's folder.
//!
//! Selling never waits for it. A database that is away costs nothing meanwhile: the database itself
//! says how far it is, and the ledger gives what changed since.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ledger::embedded::{Handle, Store};
use crate::limits::ORDERS_BATCH;
use crate::orders::webhooks::{self, WebhooksError};
use crate::orders::{
    ConnectError, Destination, EmbeddedSource, Place, Sink, Source, SourceError, WorkerError,
    WorkerOptions, run,
};
use crate::upkeep::Upkeep;

/// Time before a worker that gave up is started again: by then somebody may have acted.
const RESTART_PAUSE: Duration = Duration::from_secs(10);
/// Time at the end for the batch that it is at. What is not written by then is by the next start.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// The same for the webhooks that are under way. Whom they go to must hold up nobody who waits for the
/// ledger to be handed over; what is cut off is sent again.
const STOP_DEADLINE_WEBHOOKS: Duration = Duration::from_millis(500);
/// Time for a question to the ledger at the start.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// Time at the start for a database to say whether the ledger is behind it. One that is away doesn't
/// keep anybody from selling: it is compared when it is back.
const COMPARE_PATIENCE: Duration = Duration::from_secs(3);
/// Time between two looks at whether it is to stop, or has.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The running worker. It ends when this is dropped.
pub struct OrdersThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    stop_deadline: Duration,
}

impl OrdersThread {
    /// Starts it, once the ledger is compared with what the database has. It waits for a database
    /// that is away.
    pub fn start(
        ledger: Handle,
        to: Destination,
        upkeep: Arc<Upkeep>,
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
            // Until the database says where it is, it has nothing: no sale is removed meanwhile.
            let has_rows = to.database().is_some();
            let none = move |store: &mut Store| {
                store.set_orders_position(0);
                store.set_orders_have_rows(has_rows);
            };
            if let Err(error) = ledger.ask(LOOK_DEADLINE, none) {
                tracing::warn!(%error, "the ledger does not know of its orders yet");
            }
            let first = compare(&ledger, &to);
            let is_behind = first.is_err();
            let _ = compared.try_send(first);
            if is_behind {
                return;
            }
            while !told.load(Ordering::Relaxed) {
                // A panic is in the log already.
                let worked = catch_unwind(AssertUnwindSafe(|| work(&ledger, &to, &told, &upkeep)));
                match worked {
                    Ok(Ok(())) => return,
                    // The database was away at the start. What it says now has stopped the ledger.
                    Ok(Err(WebhooksError::Worker(WorkerError::Source(_)))) => return,
                    Ok(Err(error)) => tracing::error!(
                        %error,
                        retry_s = RESTART_PAUSE.as_secs(),
                        "orders are not written, selling goes on"
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
    /// No thread is to be had.
    #[error(transparent)]
    Thread(#[from] io::Error),
    /// The ledger is behind its orders.
    #[error("{0}")]
    Behind(String),
}

/// An error if the database shows that the ledger is behind its orders. All other errors the worker
/// meets too, and logs.
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
    upkeep: &Upkeep,
) -> Result<(), WebhooksError> {
    let url = match to {
        Destination::Database(url) => url,
        Destination::Webhooks(options) => {
            return webhooks::deliver_embedded(ledger, options, stop, &upkeep.webhooks);
        }
    };
    let mut connect = |database: &mut dyn Sink| -> Result<Box<dyn Source>, ConnectError> {
        Ok(Box::new(EmbeddedSource::connect(ledger.clone(), database)?))
    };
    let options = WorkerOptions { batch: ORDERS_BATCH, once: false, away_max: None };
    Ok(run(url, &mut connect, options, stop).map(drop)?)
}

impl OrdersThread {
    /// It is to end, and need not have when this is dropped later.
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
                    "database or receiver slow: the rest of the orders follows after the next start"
                );
                return;
            }
            thread::sleep(LOOK_INTERVAL);
        }
        let _ = thread.join();
    }
}
