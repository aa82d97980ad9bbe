//! The ledger thread: takes everything that the cores have sent since the last commit, commits it
//! at once, and answers.
//!
//! It blocks on the disk, so it is a thread of its own and not a core's. While one fdatasync runs,
//! the next commit gathers in the channel: no timer, no linger.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::departed::Departed;
use super::open_error::OpenError;
use super::store::{COMMIT_COMMANDS_MAX, Options, Store};
use crate::clock::{self, SteadyClock};
use crate::ledger::counts::StoreCounts;
use crate::ledger::{Batch, BatchReply, LedgerError};
use crate::sale::SaleId;

#[cfg(feature = "simulation")]
pub mod stepped;

/// The maximum number of waiting batches. Far more than cores, each of which has one or two in
/// flight.
const WAITING_BATCHES_MAX: usize = 1024;
/// The time between two expiries.
const EXPIRE_INTERVAL: Duration = Duration::from_millis(200);
/// Reservations per expiry: about a millisecond's work.
const EXPIRE_BATCH_MAX: u32 = 8192;

/// Gets a reply, with the batch, on the ledger thread: it should only pass both on.
pub type Reply = Box<dyn FnOnce(Result<(BatchReply, Batch), LedgerError>) + Send>;

/// A batch, and its reply. It is answered exactly once, whatever happens.
pub struct Job {
    batch: Batch,
    reply: Answer,
}

impl Job {
    /// A batch to commit. Its sale ids should be [detached](crate::sale::SaleId::detached).
    pub fn new(batch: Batch, reply: Reply) -> Self {
        Self { batch, reply: Answer(Some(reply)) }
    }
}

struct Answer(Option<Reply>);

impl Answer {
    fn give(mut self, result: Result<(BatchReply, Batch), LedgerError>) {
        if let Some(reply) = self.0.take() {
            reply(result);
        }
    }
}

impl Drop for Answer {
    /// Dropped unanswered: it was never begun.
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply(Err(LedgerError::Refused("the ledger has stopped".into())));
        }
    }
}

/// Queries that are answered before the next commit.
const QUERIES_PER_TURN_MAX: usize = 16;

type Query = Box<dyn FnOnce(&mut Store) + Send>;

enum Message {
    Job(Job),
    Query(Query),
    Stop,
}

/// Sends batches of a core, or queries, to the ledger thread. Cheap to clone: one per sender.
#[derive(Clone)]
pub struct Handle {
    sender: SyncSender<Message>,
    /// Set once the ledger is open.
    ledger_id: Arc<OnceLock<u128>>,
    counts: Arc<StoreCounts>,
}

impl Handle {
    /// Sends a batch. Never blocks: a batch that can't be taken is refused at once, on this thread.
    pub fn send(&self, job: Job) {
        match self.sender.try_send(Message::Job(job)) {
            Ok(()) => {}
            Err(TrySendError::Full(Message::Job(job))) => {
                job.reply.give(Err(LedgerError::Refused("too many batches wait".into())));
            }
            // Dropping it answers it.
            Err(_) => {}
        }
    }

    /// The counters of the ledger's thread, and of the reader of its changes.
    pub fn counts(&self) -> &Arc<StoreCounts> {
        &self.counts
    }

    /// The id of this ledger. If it is not open yet, waits up to `timeout`.
    ///
    /// `Refused`: it can't be opened, or has stopped. `Lost`: it is not open yet.
    pub fn ledger_id(&self, timeout: Duration) -> Result<u128, LedgerError> {
        match self.ledger_id.get() {
            Some(id) => Ok(*id),
            None => self.ask(timeout, |store| store.id()),
        }
    }

    /// Runs a query on the ledger thread, after all messages that were sent before, and waits for
    /// the answer. Everything else waits meanwhile, so it must be short (a millisecond), and it
    /// must not commit. Blocks: not for a core.
    ///
    /// `Lost`: no answer in time; the query may still run.
    pub fn ask<T: Send + 'static>(
        &self,
        timeout: Duration,
        look: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (sender, receiver) = sync_channel(1);
        // The caller may have given up.
        let query: Query = Box::new(move |store| _ = sender.send(look(store)));
        match self.sender.try_send(Message::Query(query)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(LedgerError::Refused("too many batches wait".into()));
            }
            Err(TrySendError::Disconnected(_)) => {
                return Err(LedgerError::Refused("the ledger has stopped".into()));
            }
        }
        receiver.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => LedgerError::Lost(format!("no answer in {timeout:?}")),
            RecvTimeoutError::Disconnected => LedgerError::Refused("the ledger has stopped".into()),
        })
    }
}

/// A running embedded ledger.
pub struct Embedded {
    handle: Handle,
    /// Sales that were moved to another ledger, as they were when it was opened.
    departed: Arc<OnceLock<Departed>>,
    failed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens a data folder, reads it, and starts the ledger thread. `clock_ms` returns the
    /// machine's time in ms since 1970; the ledger starts with it and does not follow its jumps:
    /// see [`SteadyClock`].
    pub fn start(
        folder: &Path,
        options: Options,
        clock_ms: impl FnMut() -> u64 + Send + 'static,
    ) -> Result<Self, OpenError> {
        let store = Store::open(folder, options)?;
        let departed = Arc::new(OnceLock::from(store.state.departed.clone()));
        Self::run(move || Some(store), departed, clock_ms)
            .map_err(|error| OpenError::from_io(folder, error))
    }

    /// The same for a folder that another process is about to close: the ledger thread opens it as
    /// soon as it is closed, after at most this time. Messages sent until then wait. `opened` gets
    /// the result.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start_when_closed(
        folder: &Path,
        options: Options,
        clock_ms: impl FnMut() -> u64 + Send + 'static,
        patience: Duration,
        opened: impl FnOnce(Result<(), OpenError>) + Send + 'static,
    ) -> io::Result<Self> {
        let folder = folder.to_owned();
        let open = move || match open_when_closed(&folder, &options, patience) {
            Ok(store) => {
                opened(Ok(()));
                Some(store)
            }
            Err(error) => {
                opened(Err(error));
                None
            }
        };
        Self::run(open, Arc::default(), clock_ms)
    }

    fn run(
        open: impl FnOnce() -> Option<Store> + Send + 'static,
        departed: Arc<OnceLock<Departed>>,
        clock_ms: impl FnMut() -> u64 + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING_BATCHES_MAX);
        let counts = Arc::new(StoreCounts::default());
        let handle = Handle { sender, ledger_id: Arc::default(), counts: counts.clone() };
        let (failed, id) = (Arc::new(AtomicBool::new(false)), handle.ledger_id.clone());
        let (theirs, left) = (failed.clone(), departed.clone());
        let live = move || {
            let Some(mut store) = open() else { return };
            let _ = left.set(store.state.departed.clone());
            let _ = id.set(store.id());
            store.count_in(counts);
            let clock = SteadyClock::new(store.now_ms(), clock_ms);
            let mut ledger = Ledger::new(store, clock, theirs);
            ledger.run(&receiver);
            ledger.close();
        };
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(live)?;
        Ok(Self { handle, departed, failed, thread: Some(thread) })
    }

    /// Whether it commits nothing any more, until a restart: a write or an assertion has failed, or
    /// its thread has ended.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.thread.as_ref().is_none_or(|t| t.is_finished())
    }

    /// The ledger that a sale was moved to from here, before this one was opened. `None`: it was not, or
    /// it is not open yet.
    pub fn moved_to(&self, sale: &SaleId) -> Option<&str> {
        self.departed.get().and_then(|departed| departed.to(sale))
    }

    /// A way in for one core, or one of the others.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Answers what was sent before, closes the folder, and ends the thread. What is sent after is
    /// refused.
    pub fn stop(mut self) {
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Fails only if the thread has ended already.
            let _ = self.handle.sender.send(Message::Stop);
            if thread.join().is_err() {
                tracing::error!("the ledger thread panicked");
            }
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.join();
    }
}

fn open_when_closed(
    folder: &Path,
    options: &Options,
    patience: Duration,
) -> Result<Store, OpenError> {
    let until = Instant::now() + patience;
    loop {
        match Store::open(folder, options.clone()) {
            // It has waited for a moment.
            Err(OpenError::InUse(_)) if Instant::now() < until => {}
            opened => return opened,
        }
    }
}

/// Sees what a ledger has done, before anybody is answered.
#[cfg(feature = "simulation")]
pub trait Witness {
    /// Batches were committed, at the store's time, or were not.
    fn committed(
        &mut self,
        store: &Store,
        batches: &[Batch],
        result: Result<&[BatchReply], &LedgerError>,
    );

    /// Expired units have returned to stock, at the store's time, or have not.
    fn expired(&mut self, store: &Store, result: Result<(), &LedgerError>);
}

struct Ledger {
    store: Store,
    clock: SteadyClock,
    next_expiry: Instant,
    expiry_failed: bool,
    failed: Arc<AtomicBool>,
    #[cfg(feature = "simulation")]
    witness: Option<Box<dyn Witness>>,
}

impl Ledger {
    fn new(store: Store, clock: SteadyClock, failed: Arc<AtomicBool>) -> Self {
        let next_expiry = clock::now();
        store.counts().expiry_due.set(next_expiry);
        Self {
            store,
            clock,
            next_expiry,
            expiry_failed: false,
            failed,
            #[cfg(feature = "simulation")]
            witness: None,
        }
    }

    fn run(&mut self, receiver: &Receiver<Message>) {
        loop {
            let first = match receiver.recv_timeout(self.wait()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if !self.turn(first, receiver) {
                return;
            }
        }
    }

    /// How long to wait for a message.
    fn wait(&self) -> Duration {
        self.next_expiry.saturating_duration_since(clock::now())
    }

    /// Does everything that waits, this message first, and what is due. Gives whether to go on.
    fn turn(&mut self, first: Option<Message>, receiver: &Receiver<Message>) -> bool {
        let mut waiting = Waiting::default();
        let is_stopping = waiting.take_all(first, receiver);
        let queries = std::mem::take(&mut waiting.queries);
        if !waiting.batches.is_empty() {
            self.commit(waiting);
        }
        if !queries.is_empty() {
            self.answer(queries);
        }
        if clock::now() >= self.next_expiry {
            let more = self.expire();
            let pause = if more { Duration::ZERO } else { EXPIRE_INTERVAL };
            self.next_expiry = clock::now() + pause;
            // What could not be returned is due still, whenever the next attempt is.
            if !(more || self.expiry_failed) {
                self.store.counts().expiry_due.set(self.next_expiry);
            }
        }
        self.store.maintain();
        self.failed.store(self.store.has_failed(), Ordering::Relaxed);
        !is_stopping
    }

    fn commit(&mut self, waiting: Waiting) {
        let Waiting { batches, answers, .. } = waiting;
        let now_ms = self.clock.now_ms();
        let result = self.guard(|store| store.commit(now_ms, &batches));
        #[cfg(feature = "simulation")]
        if let Some(witness) = &mut self.witness {
            witness.committed(&self.store, &batches, result.as_ref().map(Vec::as_slice));
        }
        match result {
            Ok(replies) => {
                for ((answer, reply), batch) in answers.into_iter().zip(replies).zip(batches) {
                    answer.give(Ok((reply, batch)));
                }
            }
            Err(error) => answers.into_iter().for_each(|answer| answer.give(Err(error.clone()))),
        }
    }

    /// A query only looks: one that panics has broken nothing.
    fn answer(&mut self, queries: Vec<Query>) {
        self.store.set_now(self.clock.now_ms());
        for query in queries {
            if catch_unwind(AssertUnwindSafe(|| query(&mut self.store))).is_err() {
                tracing::error!("query of the ledger panicked");
            }
        }
    }

    /// Gives whether more is due.
    fn expire(&mut self) -> bool {
        let now_ms = self.clock.now_ms();
        let result = self.guard(|store| store.expire(now_ms, EXPIRE_BATCH_MAX));
        #[cfg(feature = "simulation")]
        if let Some(witness) = &mut self.witness {
            witness.expired(&self.store, result.as_ref().map(|_| ()));
        }
        if let Err(error) = &result
            && !self.expiry_failed
        {
            tracing::error!(%error, "expired units can't be returned to stock");
        }
        self.expiry_failed = result.is_err();
        result.unwrap_or(false)
    }

    /// A panic means that what the machines assert does not hold. Nothing of that is written, and
    /// nothing more is decided on it.
    fn guard<T>(
        &mut self,
        act: impl FnOnce(&mut Store) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let store = &mut self.store;
        catch_unwind(AssertUnwindSafe(|| act(store))).unwrap_or_else(|_| {
            let reason = "the ledger failed an assertion".to_owned();
            self.store.fail(reason.clone());
            Err(LedgerError::Lost(reason))
        })
    }

    fn close(self) {
        if let Err(error) = self.store.close() {
            tracing::error!(%error, "the ledger did not close cleanly; nothing answered is lost");
        }
    }
}

#[derive(Default)]
struct Waiting {
    batches: Vec<Batch>,
    answers: Vec<Answer>,
    commands: usize,
    /// To be run after the commit.
    queries: Vec<Query>,
}

impl Waiting {
    /// Takes all that waits, up to one commit's worth. Gives whether to stop after it.
    fn take_all(&mut self, first: Option<Message>, receiver: &Receiver<Message>) -> bool {
        let mut next = first;
        while let Some(message) = next {
            match message {
                Message::Job(Job { batch, reply }) => {
                    self.commands +=
                        batch.groups.iter().map(|group| group.commands.len()).sum::<usize>();
                    self.batches.push(batch);
                    self.answers.push(reply);
                }
                Message::Query(query) => self.queries.push(query),
                Message::Stop => return true,
            }
            if self.commands >= COMMIT_COMMANDS_MAX / 2
                || self.queries.len() >= QUERIES_PER_TURN_MAX
            {
                return false;
            }
            next = receiver.try_recv().ok();
        }
        false
    }
}
