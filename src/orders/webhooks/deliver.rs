//! The loop that delivers. Due events are sent, a bounded number at a time, each on a thread of its
//! own. Their outcomes are written together before they have any other effect.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{
    Receiver as Inbox, RecvTimeoutError, Sender, SyncSender, channel, sync_channel,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::delivery_slots::DeliverySlots;
use super::event::webhook_id;
use super::receiver::{Attempt, Receiver};
use super::schedule::{Answer, NextStep, Schedule};
use super::secret::SecretFile;
use super::shared::SharedStore;
use super::store::{Due, Settled};
use crate::background::WebhookCounts;
use crate::clock::wall_ms;
use crate::log_throttle::LogThrottle;
use crate::orders::database::DatabaseError;

/// The longest time between two checks of due events and of the stop flag.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The time between two checks of the secrets, and between two log lines about progress.
const SECOND: Duration = Duration::from_secs(1);
/// The pause before a locked file is tried again.
const AWAY_PAUSE: Duration = Duration::from_millis(100);

/// The inputs of the loop.
pub(super) struct Deliverer<'a> {
    pub(super) store: &'a SharedStore,
    pub(super) receiver: Receiver,
    pub(super) secrets: SecretFile,
    pub(super) schedule: Schedule,
    pub(super) parallel: usize,
    /// End, without starting further attempts.
    pub(super) stop: &'a AtomicBool,
    /// The same, set by the half that takes over, or for it.
    pub(super) ended: &'a AtomicBool,
    /// End when no event is due.
    pub(super) finish: &'a AtomicBool,
    /// Counters for metrics.
    pub(super) counts: &'a WebhookCounts,
}

/// The work done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) dead: u64,
}

struct Job {
    due: Due,
    attempt: Attempt,
}

type Outcome = (Due, Answer);

impl<'a> Deliverer<'a> {
    /// Works until it is stopped, within `scope`, in which the sending threads run.
    pub(super) fn run<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Delivered, DatabaseError> {
        let (outcomes, inbox) = channel();
        let senders = Senders::start(scope, self.parallel, &self.receiver, &outcomes);
        let senders = senders.map_err(|error| DatabaseError::Fatal(error.to_string()))?;
        let mut work = Work {
            desk: DeliverySlots::new(self.parallel),
            jobs: senders.jobs,
            inbox,
            done: Delivered::default(),
            told: Delivered::default(),
            told_at: Instant::now(),
            counted_at: None,
            secrets_at: Instant::now(),
            is_away: false,
            deliverer: self,
        };
        let worked = work.run();
        let done = work.done;
        // Without further jobs the threads end, each after its current one.
        drop(work);
        for thread in senders.threads {
            // A panic was logged already.
            let _ = thread.join();
        }
        worked.map(|()| done)
    }
}

/// The sending threads.
struct Senders<'scope> {
    jobs: SyncSender<Job>,
    threads: Vec<ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Senders<'scope> {
    fn start(
        scope: &'scope Scope<'scope, '_>,
        parallel: usize,
        receiver: &Receiver,
        outcomes: &Sender<Outcome>,
    ) -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(parallel);
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for _ in 0..parallel {
            let (queue, receiver, outcomes) = (queue.clone(), receiver.clone(), outcomes.clone());
            let send = move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { due, attempt }) = job else { return };
                    // A panic was logged. The event must come back, or its reservation waits for
                    // ever.
                    let sent = catch_unwind(AssertUnwindSafe(|| receiver.send(&attempt)));
                    let answer = sent.unwrap_or_else(|_| {
                        Answer::Failed("a bug in stampede: see the log line panic".to_owned())
                    });
                    if outcomes.send((due, answer)).is_err() {
                        return;
                    }
                }
            };
            threads.push(thread::Builder::new().name("webhook".into()).spawn_scoped(scope, send)?);
        }
        Ok(Self { jobs, threads })
    }
}

struct Work<'a> {
    deliverer: Deliverer<'a>,
    desk: DeliverySlots,
    jobs: SyncSender<Job>,
    inbox: Inbox<Outcome>,
    done: Delivered,
    told: Delivered,
    told_at: Instant,
    counted_at: Option<Instant>,
    secrets_at: Instant,
    is_away: bool,
}

impl Work<'_> {
    fn stopped(&self) -> bool {
        let Deliverer { stop, ended, .. } = &self.deliverer;
        if stop.load(Ordering::Relaxed) {
            ended.store(true, Ordering::Relaxed);
        }
        ended.load(Ordering::Relaxed)
    }

    fn run(&mut self) -> Result<(), DatabaseError> {
        loop {
            self.refresh_secrets();
            self.count();
            // Read before the query: everything taken over until then is due now.
            let finishing = self.deliverer.finish.load(Ordering::Acquire);
            let mut found = 0;
            if !self.stopped() {
                found = self.fill()?;
            }
            if self.desk.is_empty() && (self.stopped() || finishing && found == 0) {
                return Ok(());
            }
            let outcomes = self.wait()?;
            self.settle(&outcomes)?;
            self.tell();
        }
    }

    /// Sends the events that may go now. Returns their number.
    fn fill(&mut self) -> Result<usize, DatabaseError> {
        let now_ms = wall_ms();
        let wanted = self.desk.wants(now_ms);
        if wanted == 0 {
            return Ok(0);
        }
        let store = self.deliverer.store;
        let Some(due) = self.persist(|| store.lock().due(now_ms, wanted))? else { return Ok(0) };
        let taken = self.desk.take(due);
        let count = taken.len();
        for due in taken {
            let id = webhook_id(&due.reservation, due.version);
            let timestamp_s = wall_ms() / 1_000;
            let signature = self.deliverer.secrets.secrets().sign(&id, timestamp_s, &due.body);
            let attempt = Attempt { id, timestamp_s, signature, body: due.body.clone() };
            // The queue has a place for each, and a thread as long as this one runs.
            if self.jobs.send(Job { due, attempt }).is_err() {
                return Err(DatabaseError::Fatal("the threads that send have ended".into()));
            }
        }
        Ok(count)
    }

    /// Waits for outcomes. Returns all that there are as soon as there is one.
    fn wait(&mut self) -> Result<Vec<Outcome>, DatabaseError> {
        let mut time = LOOK_INTERVAL;
        if self.desk.is_empty() {
            let now_ms = wall_ms();
            let next = self.deliverer.store.lock().next_at_ms(now_ms);
            if let Ok(Some(at_ms)) = next {
                let at_ms = at_ms.max(self.desk.quiet_until_ms());
                time = time.min(Duration::from_millis(at_ms.saturating_sub(now_ms).max(1)));
            }
            self.deliverer.store.wait_for_more(time);
            return Ok(Vec::new());
        }
        match self.inbox.recv_timeout(time) {
            Ok(first) => Ok(std::iter::once(first).chain(self.inbox.try_iter()).collect()),
            Err(RecvTimeoutError::Timeout) => Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => {
                Err(DatabaseError::Fatal("the threads that send have ended".into()))
            }
        }
    }

    fn settle(&mut self, outcomes: &[Outcome]) -> Result<(), DatabaseError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let now_ms = wall_ms();
        let settled: Vec<Settled> = outcomes
            .iter()
            .map(|(due, answer)| {
                let chance = getrandom::u64().unwrap_or(now_ms);
                let attempt = due.attempts.saturating_add(1);
                let verdict = self.deliverer.schedule.judge(attempt, answer, now_ms, chance);
                let (number, reservation) = (due.number, due.reservation.clone());
                Settled { number, reservation, verdict, failure: answer.to_string() }
            })
            .collect();
        let store = self.deliverer.store;
        let written = self.persist(|| store.lock().settle(&settled, now_ms))?;
        for ((due, answer), settled) in outcomes.iter().zip(&settled) {
            self.desk.finish(&due.reservation);
            if answer.quiet_ms() > 0 {
                self.desk.pause_until(now_ms + answer.quiet_ms());
            }
            // Stopped while the file was locked: the next worker sends them again.
            if written.is_some() {
                self.note(due, settled, now_ms);
            }
        }
        Ok(())
    }

    fn note(&mut self, due: &Due, settled: &Settled, now_ms: u64) {
        static FAILED: LogThrottle = LogThrottle::new();
        static DEAD: LogThrottle = LogThrottle::new();
        let attempt = due.attempts + 1;
        let reason = &settled.failure;
        match settled.verdict {
            NextStep::Delivered => {
                self.done.delivered += 1;
                self.deliverer.counts.delivered.add(1);
            }
            NextStep::Again { at_ms } => {
                self.done.failed += 1;
                self.deliverer.counts.failed.add(1);
                if let Some(left_out) = FAILED.now() {
                    let id = webhook_id(&due.reservation, due.version);
                    let retry_ms = at_ms - now_ms;
                    tracing::warn!(%id, attempt, %reason, retry_ms, left_out, "webhook not delivered; it is tried again");
                }
            }
            NextStep::Dead => {
                self.done.failed += 1;
                self.done.dead += 1;
                self.deliverer.counts.failed.add(1);
                if let Some(left_out) = DEAD.now() {
                    let id = webhook_id(&due.reservation, due.version);
                    tracing::error!(%id, attempt, %reason, left_out, "webhook is a dead letter");
                }
            }
        }
    }

    /// Repeats something with the file until it succeeds. `None`: stopped.
    fn persist<T>(
        &mut self,
        mut attempt: impl FnMut() -> Result<T, DatabaseError>,
    ) -> Result<Option<T>, DatabaseError> {
        loop {
            match attempt() {
                Err(DatabaseError::Away(reason)) => {
                    if !std::mem::replace(&mut self.is_away, true) {
                        tracing::warn!(%reason, "state of the webhooks can't be used; they wait");
                    }
                    if self.stopped() {
                        return Ok(None);
                    }
                    thread::sleep(AWAY_PAUSE);
                }
                Err(error) => return Err(error),
                Ok(done) => {
                    if std::mem::take(&mut self.is_away) {
                        tracing::info!("state of the webhooks can be used again");
                    }
                    return Ok(Some(done));
                }
            }
        }
    }

    fn refresh_secrets(&mut self) {
        if self.secrets_at.elapsed() < SECOND {
            return;
        }
        self.secrets_at = Instant::now();
        let secrets = &mut self.deliverer.secrets;
        match secrets.refresh() {
            None => {}
            Some(Ok(())) => {
                tracing::info!(file = %secrets.path().display(), "secrets of the webhooks reloaded");
            }
            Some(Err(problem)) => {
                let file = secrets.path().display();
                tracing::error!(%file, %problem, "secrets of the webhooks not usable; kept the old ones");
            }
        }
    }

    /// Once per second: how many events wait, and since when. While the file can't be used, the
    /// last values stay, and age.
    fn count(&mut self) {
        if self.counted_at.is_some_and(|at| at.elapsed() < SECOND) {
            return;
        }
        self.counted_at = Some(Instant::now());
        let Deliverer { store, counts, .. } = &self.deliverer;
        let mut store = store.lock();
        let (Ok(there), Ok(oldest)) = (store.counts(), store.oldest_at_ms()) else { return };
        counts.waiting.set(there.waiting);
        counts.dead.set(there.dead);
        match oldest {
            None => counts.oldest.clear(),
            Some(at_ms) => {
                counts.oldest.set_ago(Duration::from_millis(wall_ms().saturating_sub(at_ms)));
            }
        }
    }

    /// At most one line per second, and none while nothing happens.
    fn tell(&mut self) {
        let elapsed = self.told_at.elapsed();
        if elapsed < SECOND || self.done == self.told {
            return;
        }
        let Ok(counts) = self.deliverer.store.lock().counts() else { return };
        let Delivered { delivered, failed, .. } = self.done;
        let made = delivered - self.told.delivered;
        let delivered_per_s = (made as f64 / elapsed.as_secs_f64()).round() as u64;
        let (waiting, dead) = (counts.waiting, counts.dead);
        tracing::debug!(delivered_per_s, delivered, failed, waiting, dead, "webhooks delivered");
        (self.told, self.told_at) = (self.done, Instant::now());
    }
}
