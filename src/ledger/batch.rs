//! One core's batcher. Commands wait in a queue per sale, and a batch leaves as soon as the last
//! one is answered. There is no timer and no linger: a quiet core sends one command per round trip,
//! a busy core hundreds.
//!
//! A command whose outcome somebody waits for has a ticket. The waiter is woken when its answer is
//! there, takes the answer and continues; or it gives the ticket up before. A command that was
//! never sent and a command that was sent and lost are different failures: see [`Failure`].
//!
//! Architecture invariant: the batcher does no I/O. A link (Redis or embedded) takes batches from
//! it and hands answers back; the batcher does not know which link it is.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use may::coroutine::{self, Coroutine};

use super::counts::LedgerCounts;
use super::ids::IdSource;
use super::in_flight::InFlightBatch;
use super::queue::{Queues, Sent};
use super::{Failure, GroupReply};
use crate::limits::{BATCH_MAX, RESUMED_AT_ONCE_MAX};
use crate::queue_limits::QueueLimits;
use crate::sale::{Command, Outcome, SaleId};

pub use super::hooks::{OutcomeObserver, WaiterId, Waker};
#[cfg(feature = "simulation")]
pub use super::queue::WaitingChanges;
pub use super::queue::{Answer, Answered, BatchBounds, SentCommand, Ticket, TicketNumber};

/// The maximum number of rounds of events that a batch waits while each round adds to it.
const ROUNDS_WAITED_MAX: usize = 8;

/// The number of answered but not yet resumed requests above which the next batch waits. So the
/// waiting requests of a busy core stay in the queues, where the sales take turns, and not in one
/// long line of wake-ups. Half a batch, so that the ledger works while the other half is resumed.
const WOKEN_MAX: usize = BATCH_MAX / 2;

/// What waits for an answer.
enum Waiter {
    Request(WaiterId),
    Coroutine(Coroutine),
}

/// See the module's header.
pub struct Batcher {
    queue_limits: Arc<QueueLimits>,
    queues: RefCell<Queues<Waiter>>,
    /// Creates the ids of reservations.
    ids: RefCell<IdSource>,
    /// Commands in the queues at the end of the last round.
    count_last_round: Cell<usize>,
    /// Rounds that the next batch has waited.
    rounds_waited: Cell<usize>,
    batches_taken: Cell<u64>,
    counts: Arc<LedgerCounts>,
    available: Cell<bool>,
    idle_link: RefCell<Option<Coroutine>>,
    observer: OnceCell<Box<dyn OutcomeObserver>>,
    waker: OnceCell<Box<dyn Waker>>,
}

impl Batcher {
    /// Creates a batcher. Its ledger counts as away until a link reports otherwise.
    pub fn new(queue_limits: Arc<QueueLimits>) -> Self {
        Self {
            queue_limits,
            queues: RefCell::default(),
            ids: RefCell::default(),
            count_last_round: Cell::new(0),
            rounds_waited: Cell::new(0),
            batches_taken: Cell::new(0),
            counts: Arc::default(),
            available: Cell::new(false),
            idle_link: RefCell::default(),
            observer: OnceCell::new(),
            waker: OnceCell::new(),
        }
    }

    /// Sets the observer of outcomes. Panics if called twice.
    pub fn set_observer(&self, observer: Box<dyn OutcomeObserver>) {
        assert!(self.observer.set(observer).is_ok(), "set twice");
    }

    /// Sets the waker of requests. Panics if called twice.
    pub fn set_waker(&self, waker: Box<dyn Waker>) {
        assert!(self.waker.set(waker).is_ok(), "set twice");
    }

    /// Its counters.
    pub fn counts(&self) -> &Arc<LedgerCounts> {
        &self.counts
    }

    /// The time that a batch may take, in ms.
    pub fn answer_deadline_ms(&self) -> u64 {
        self.queue_limits.answer_deadline_ms()
    }

    /// Whether the ledger is reachable.
    pub fn is_available(&self) -> bool {
        self.available.get()
    }

    /// The number of requests that wait for an answer, sent or not.
    pub fn waiting(&self) -> usize {
        self.queues.borrow().places()
    }

    /// Queues a command of a sale. `waiter` is woken when the answer is there; without one, call
    /// [`wait`](Self::wait) with the ticket. `is_known`: the ledger has confirmed that the sale
    /// exists. A purchase gets its id when it is sent.
    pub fn submit(
        &self,
        now_ms: u64,
        sale: &SaleId,
        is_known: bool,
        command: Command,
        allowance: u32,
        waiter: Option<WaiterId>,
    ) -> Result<Ticket, Failure> {
        if !self.available.get() {
            return Err(Failure::Unavailable);
        }
        let ticket = self.new_ticket(sale, is_known, waiter)?;
        self.queues.borrow_mut().push(&ticket, command, allowance, now_ms);
        Ok(ticket)
    }

    /// Queues a command of a core's own, at its start or for requests that wait already. So it does
    /// not need one of the places that they may have taken. Call [`wait`](Self::wait) with the
    /// ticket.
    pub fn submit_step(
        &self,
        now_ms: u64,
        sale: &SaleId,
        command: Command,
    ) -> Result<Ticket, Failure> {
        if !self.available.get() {
            return Err(Failure::Unavailable);
        }
        let mut queues = self.queues.borrow_mut();
        let ticket = queues.enter(sale, true, None, None).ok_or(Failure::Busy)?;
        queues.push(&ticket, command, 0, now_ms);
        Ok(ticket)
    }

    /// Queues a command without a waiter. Returns `false`, and queues nothing, if the ledger is
    /// away. Callers have at most one such command in flight per sale.
    pub fn submit_unattended(
        &self,
        now_ms: u64,
        sale: &SaleId,
        is_known: bool,
        command: Command,
    ) -> bool {
        let available = self.available.get();
        if available {
            self.queues.borrow_mut().push_unattended(sale, is_known, command, now_ms);
        }
        available
    }

    /// Creates a ticket without a command of its own, for a request that shares another request's
    /// query about the same sale. Answer it with [`deliver`](Self::deliver).
    pub fn new_ticket(
        &self,
        sale: &SaleId,
        is_known: bool,
        waiter: Option<WaiterId>,
    ) -> Result<Ticket, Failure> {
        let who = waiter.map(Waiter::Request);
        let ticket =
            self.queues.borrow_mut().enter(sale, is_known, self.queue_limits.waiting_max(), who);
        ticket.ok_or(Failure::Busy)
    }

    /// The number of a ticket, for [`deliver`](Self::deliver).
    pub fn number(&self, ticket: &Ticket) -> TicketNumber {
        ticket.number()
    }

    /// Takes the answer to a ticket, if it is there.
    pub fn take(&self, ticket: Ticket) -> Result<Answered, Ticket> {
        self.queues.borrow_mut().take_answer(ticket)
    }

    /// Abandons a ticket. If its command was not sent, it is dropped, and the units of its
    /// allowance are returned. If it was sent, it is accounted for when its answer arrives.
    pub fn give_up(&self, ticket: Ticket) -> Option<u32> {
        self.queues.borrow_mut().give_up(ticket)
    }

    /// Suspends the calling coroutine until its ticket is answered.
    pub fn wait(&self, mut ticket: Ticket) -> Answer {
        loop {
            match self.take(ticket) {
                Ok((answer, _)) => return answer,
                Err(unanswered) => ticket = unanswered,
            }
            let who = Waiter::Coroutine(coroutine::current());
            self.queues.borrow_mut().set_waiter(&ticket, who);
            coroutine::park();
        }
    }

    /// Answers a ticket that has no command of its own. Its owner resumes in its turn.
    pub fn deliver(&self, ticket: TicketNumber, answer: Answer) {
        let _ = self.answer(ticket, answer, None, false);
    }

    /// Delivers the outcome of a command that was sent to this sale.
    fn answer_of(
        &self,
        sale: &SaleId,
        ticket: TicketNumber,
        outcome: Outcome,
        command: Option<Command>,
        first: bool,
    ) {
        if let Err((Ok(outcome), Some(Command::Reserve(_)))) =
            self.answer(ticket, Ok(outcome), command, first)
            && let Some(observer) = self.observer.get()
        {
            observer.on_abandoned(sale, &outcome);
        }
    }

    /// Delivers an answer. Returns it as an error if nobody waits for it any more.
    #[expect(clippy::result_large_err, reason = "it is moved on, and a box would be an allocation")]
    fn answer(
        &self,
        ticket: TicketNumber,
        answer: Answer,
        command: Option<Command>,
        first: bool,
    ) -> Result<(), Answered> {
        let who = self.queues.borrow_mut().answer(ticket, answer, command)?;
        match who {
            Some(Waiter::Request(waiter)) => {
                if let Some(waker) = self.waker.get() {
                    waker.wake(waiter, first);
                }
            }
            Some(Waiter::Coroutine(coroutine)) => coroutine.unpark(),
            None => {}
        }
        Ok(())
    }

    /// Wakes the link if it is idle and there is something to send. Returns whether it did. Called
    /// at the end of a round of events, so that a batch holds all commands of the round, and within
    /// a long round.
    pub fn wake_link(&self) -> bool {
        if self.has_more()
            && self.has_resumed_most()
            && let Some(link) = self.idle_link.borrow_mut().take()
        {
            link.unpark();
            return true;
        }
        false
    }

    /// The same for the end of a round. Returns `true` if the round has added commands and the
    /// batch waits for the next round, which must then begin at once. So a batch leaves after the
    /// first round that adds nothing: requests that were just answered and ask again join it, and
    /// the batch of a quiet core waits for one empty poll.
    pub fn end_of_round(&self) -> bool {
        let (count, rounds) = (self.queues.borrow().len(), self.rounds_waited.get());
        let grows = count > self.count_last_round.replace(count) && count < BATCH_MAX;
        if grows && rounds < ROUNDS_WAITED_MAX && self.idle_link.borrow().is_some() {
            self.rounds_waited.set(rounds + 1);
            return true;
        }
        self.rounds_waited.set(0);
        self.wake_link();
        false
    }

    /// For a link: takes the next batch. If a full batch is waiting, returns it at once. Otherwise
    /// suspends the link until the end of a round that left something to send. Returns `None` if
    /// the link must handle another event first: `interrupted` is called at every wake-up.
    pub fn next_batch(
        &self,
        now_ms: impl Fn() -> u64,
        interrupted: impl Fn() -> bool,
    ) -> Option<InFlightBatch> {
        loop {
            if interrupted() {
                return None;
            }
            if self.queues.borrow().len() >= BATCH_MAX && self.has_resumed_most() {
                return Some(self.take_batch(now_ms()));
            }
            *self.idle_link.borrow_mut() = Some(coroutine::current());
            coroutine::park();
            let kicked = self.idle_link.borrow_mut().take().is_none();
            if kicked && self.has_more() {
                return Some(self.take_batch(now_ms()));
            }
        }
    }

    /// Whether most answered requests have resumed, so that the next batch may leave.
    fn has_resumed_most(&self) -> bool {
        self.waker.get().is_none_or(|waker| waker.pending() <= WOKEN_MAX)
    }

    /// The changes that wait to be sent.
    #[cfg(feature = "simulation")]
    pub fn queued(&self) -> Vec<WaitingChanges> {
        self.queues.borrow_mut().waiting_changes()
    }

    /// Whether a command waits to be sent.
    pub fn has_more(&self) -> bool {
        !self.queues.borrow().is_empty()
    }

    /// For a link: sets the size of a batch, if the ledger is not Redis.
    pub fn set_bounds(&self, bounds: BatchBounds) {
        self.queues.borrow_mut().set_bounds(bounds);
    }

    /// For a link: the ledger is reachable from now on.
    pub fn set_available(&self) {
        self.available.set(true);
    }

    /// For a link: the ledger is not reachable. Unsent commands fail at once, as `unavailable`.
    pub fn set_unavailable(&self) {
        self.available.set(false);
        let unsent = self.queues.borrow_mut().take_all();
        self.fail_unsent(unsent, Failure::Unavailable);
    }

    /// For a link: the ledger has answered a batch, with one result per group.
    ///
    /// The sales with the fewest commands are answered first, and resume at once if they are few,
    /// so that they do not wait for the crowd of another sale. Unsent purchases are rejected last,
    /// so that the buyer of the last unit does not wait for all rejections.
    pub fn complete(&self, batch: InFlightBatch, mut results: Vec<Result<GroupReply, Failure>>) {
        debug_assert_eq!(batch.entries.len(), results.len());
        let InFlightBatch { batch, entries, asked_ms, taken } = batch;
        self.counts.round_trip_us.record(taken.elapsed().as_micros() as u64);
        let mut groups = batch.groups;
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|&at| entries[at].1.len());
        let (last, mut told) = (order.len().saturating_sub(1), 0);
        for (index, at) in order.into_iter().enumerate() {
            let (sale, entries) = &entries[at];
            told += entries.len();
            let first = index < last && told <= RESUMED_AT_ONCE_MAX;
            match std::mem::replace(&mut results[at], Err(Failure::Unknown)) {
                Err(failure) => self.fail_group(sale, entries, failure, asked_ms),
                Ok(reply) => {
                    self.observe_group(sale, entries, Ok(&reply), asked_ms);
                    debug_assert_eq!(entries.len(), reply.outcomes.len());
                    let commands =
                        groups.get_mut(at).map(|group| std::mem::take(&mut group.commands));
                    let mut commands = commands.unwrap_or_default().into_iter();
                    for (entry, outcome) in entries.iter().zip(reply.outcomes) {
                        let command = commands.next();
                        if let Some(ticket) = entry.ticket {
                            self.answer_of(sale, ticket, outcome, command, first);
                        }
                    }
                }
            }
        }
        if self.has_more() {
            entries.iter().for_each(|(sale, _)| self.reject_unsent(sale));
        }
    }

    /// Answers unsent purchases with the rejection that all buyers get by now. So the end of a sale
    /// costs the ledger one batch, however many requests wait. Purchases with an idempotency key
    /// become claim queries, since the ledger may know their reservation.
    fn reject_unsent(&self, sale: &SaleId) {
        let Some(observer) = self.observer.get() else { return };
        let Some(outcome) = observer.known_rejection(sale) else { return };
        let (entries, mut units) = self.queues.borrow_mut().take_purchases(sale);
        for entry in entries {
            units += u64::from(entry.allowance);
            if let Some(ticket) = entry.ticket {
                let _ = self.answer(ticket, Ok(outcome.clone()), None, false);
            }
        }
        observer.give_back(sale, units);
    }

    /// For a link that has not sent a batch yet: removes the commands whose tickets were given up.
    pub fn drop_given_up(&self, batch: &mut InFlightBatch) {
        for (group, (sale, entries)) in batch.batch.groups.iter_mut().zip(&mut batch.entries) {
            let given_up: Vec<bool> = {
                let mut queues = self.queues.borrow_mut();
                let gone = |entry: &SentCommand| entry.ticket.is_some_and(|key| !queues.waits(key));
                entries.iter().map(gone).collect()
            };
            if !given_up.contains(&true) {
                continue;
            }
            let mut gone = given_up.iter();
            group.commands.retain(|_| !gone.next().is_some_and(|gone| *gone));
            let both = std::mem::take(entries).into_iter().zip(given_up);
            let (out, stay): (Vec<_>, Vec<_>) = both.partition(|(_, gone)| *gone);
            entries.extend(stay.into_iter().map(|(entry, _)| entry));
            let units = out.iter().map(|(entry, _)| u64::from(entry.allowance)).sum();
            if let Some(observer) = self.observer.get() {
                observer.give_back(sale, units);
            }
        }
    }

    /// For a link: a batch has failed.
    pub fn fail(&self, batch: InFlightBatch, failure: Failure) {
        for (sale, entries) in batch.entries {
            self.fail_group(&sale, &entries, failure, batch.asked_ms);
        }
    }

    /// For a link whose late answers still arrive: answers the tickets of an overdue batch, but
    /// keeps the batch, so that its answer is accounted for when it arrives.
    pub fn give_up_waiting(&self, batch: &mut InFlightBatch) {
        for (sale, entries) in &mut batch.entries {
            if let Some(observer) = self.observer.get() {
                observer.on_overdue(sale);
            }
            self.deliver_failure(entries, Failure::Unknown);
            entries.iter_mut().for_each(|entry| entry.ticket = None);
        }
    }

    /// Fails commands that waited too long to be sent. They had no effect, so the failure is
    /// `busy`.
    pub fn fail_overdue(&self, now_ms: u64) {
        if self.has_more() {
            let oldest_ms = now_ms.saturating_sub(self.answer_deadline_ms());
            let overdue = self.queues.borrow_mut().take_overdue(oldest_ms);
            self.fail_unsent(overdue, Failure::Busy);
        }
    }

    /// Takes the commands that leave next: see `Queues::take`.
    pub fn take_batch(&self, now_ms: u64) -> InFlightBatch {
        let number = self.batches_taken.get() + 1;
        self.batches_taken.set(number);
        self.count_last_round.set(0);
        self.rounds_waited.set(0);
        let (mut batch, entries) = self.queues.borrow_mut().take();
        let first_ms = self.queues.borrow().first_taken_ms().unwrap_or(now_ms);
        let mut ids = self.ids.borrow_mut();
        for command in batch.groups.iter_mut().flat_map(|group| &mut group.commands) {
            if let Command::Reserve(reserve) = command {
                reserve.id = ids.next_id(number);
            }
        }
        self.counts.commands.record(entries.iter().map(|(_, sent)| sent.len() as u64).sum());
        self.counts.queued_ms.record(now_ms.saturating_sub(first_ms));
        InFlightBatch { batch, entries, asked_ms: now_ms, taken: Instant::now() }
    }

    /// Fails unsent commands. Nothing was asked, so what the core knows of the sales does not get
    /// newer.
    fn fail_unsent(&self, unsent: Vec<Sent>, failure: Failure) {
        for (sale, entries) in unsent {
            self.fail_group(&sale, &entries, failure, 0);
        }
    }

    fn fail_group(&self, sale: &SaleId, entries: &[SentCommand], failure: Failure, asked_ms: u64) {
        self.observe_group(sale, entries, Err(failure), asked_ms);
        self.deliver_failure(entries, failure);
    }

    fn observe_group(
        &self,
        sale: &SaleId,
        entries: &[SentCommand],
        result: Result<&GroupReply, Failure>,
        asked_ms: u64,
    ) {
        if let Some(observer) = self.observer.get() {
            observer.on_group(sale, entries, result, asked_ms);
        }
    }

    fn deliver_failure(&self, entries: &[SentCommand], failure: Failure) {
        for ticket in entries.iter().filter_map(|entry| entry.ticket) {
            let _ = self.answer(ticket, Err(failure), None, false);
        }
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
