//! The ledger thread: takes what every core has sent since the last commit, commits it at once, and
//! answers.
//!
//! It blocks on the disk, so it is a thread of its own and not a core's. While one fdatasync runs,
//! the next commit gathers in the channel: no timer, no linger.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::folder::OpenError;
use super::store::{COMMIT_COMMANDS_MAX, Options, Store};
use crate::ledger::{Batch, BatchReply, LedgerError};

/// Batches that may wait. Far more than cores, each of which has one or two under way.
const WAITING_BATCHES_MAX: usize = 1024;
/// Time between two looks for reservations past their deadline.
const EXPIRE_INTERVAL: Duration = Duration::from_millis(200);
/// Reservations a sale that one look returns to stock: about a millisecond's work.
const EXPIRE_BATCH_MAX: u32 = 8192;

/// What a reply is handed to, on the ledger thread: it should only pass it on.
pub type Reply = Box<dyn FnOnce(Result<BatchReply, LedgerError>) + Send>;

/// A batch, and where its reply goes. It is answered exactly once, whatever happens.
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
    fn give(mut self, result: Result<BatchReply, LedgerError>) {
        if let Some(reply) = self.0.take() {
            reply(result);
        }
    }
}

impl Drop for Answer {
    /// Dropped on the way: it was never begun.
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply(Err(LedgerError::Refused("the ledger has stopped".into())));
        }
    }
}

enum Message {
    Job(Job),
    Stop,
}

/// Where a core sends its batches. Cheap to clone, one for each core.
#[derive(Clone)]
pub struct Handle(SyncSender<Message>);

impl Handle {
    /// Sends a batch. Never blocks: what can't be taken is refused at once, on this thread.
    pub fn send(&self, job: Job) {
        match self.0.try_send(Message::Job(job)) {
            Ok(()) => {}
            Err(TrySendError::Full(Message::Job(job))) => {
                job.reply.give(Err(LedgerError::Refused("too many batches wait".into())));
            }
            // Its answer is given as it is dropped.
            Err(_) => {}
        }
    }
}

/// A running embedded ledger.
pub struct Embedded {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Opens a data folder, reads it, and starts the ledger thread. `clock_ms` gives the time in ms
    /// since 1970; where it goes back, the ledger's time stands still.
    pub fn start(
        folder: &Path,
        options: Options,
        clock_ms: impl FnMut() -> u64 + Send + 'static,
    ) -> Result<Self, OpenError> {
        let store = Store::open(folder, options)?;
        let (sender, receiver) = sync_channel(WAITING_BATCHES_MAX);
        let mut ledger = Ledger { store, clock_ms: Box::new(clock_ms), expiry_failed: false };
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || {
                ledger.run(&receiver);
                ledger.close();
            })
            .map_err(|error| OpenError::from_io(folder, error))?;
        Ok(Self { handle: Handle(sender), thread: Some(thread) })
    }

    /// A way in for one core.
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
            let _ = self.handle.0.send(Message::Stop);
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

struct Ledger {
    store: Store,
    clock_ms: Box<dyn FnMut() -> u64 + Send>,
    expiry_failed: bool,
}

impl Ledger {
    fn run(&mut self, receiver: &Receiver<Message>) {
        let mut next_expiry = Instant::now();
        let mut is_stopping = false;
        while !is_stopping {
            let wait = next_expiry.saturating_duration_since(Instant::now());
            let first = match receiver.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut waiting = Waiting::default();
            is_stopping = waiting.take_all(first, receiver);
            if !waiting.batches.is_empty() {
                self.commit(waiting);
            }
            if Instant::now() >= next_expiry {
                let more = self.expire();
                let pause = if more { Duration::ZERO } else { EXPIRE_INTERVAL };
                next_expiry = Instant::now() + pause;
            }
            self.store.maintain();
        }
    }

    fn commit(&mut self, waiting: Waiting) {
        let Waiting { batches, answers, .. } = waiting;
        let now_ms = (self.clock_ms)();
        match self.guard(|store| store.commit(now_ms, &batches)) {
            Ok(replies) => {
                for (answer, reply) in answers.into_iter().zip(replies) {
                    answer.give(Ok(reply));
                }
            }
            Err(error) => answers.into_iter().for_each(|answer| answer.give(Err(error.clone()))),
        }
    }

    /// Gives whether more is due.
    fn expire(&mut self) -> bool {
        let now_ms = (self.clock_ms)();
        let result = self.guard(|store| store.expire(now_ms, EXPIRE_BATCH_MAX));
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
}

impl Waiting {
    /// Takes all that waits, up to one commit's worth. Gives whether to stop after it.
    fn take_all(&mut self, first: Option<Message>, receiver: &Receiver<Message>) -> bool {
        let mut next = first;
        while let Some(message) = next {
            let Message::Job(Job { batch, reply }) = message else { return true };
            self.commands += batch.groups.iter().map(|group| group.commands.len()).sum::<usize>();
            self.batches.push(batch);
            self.answers.push(reply);
            if self.commands >= COMMIT_COMMANDS_MAX / 2 {
                return false;
            }
            next = receiver.try_recv().ok();
        }
        false
    }
}
