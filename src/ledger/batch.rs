//! One core's batcher: commands wait in a queue per sale, and a batch leaves as soon as the last one
//! is answered. No timer, no linger: a quiet core sends one command per round trip, a busy one
//! hundreds.
//!
//! A command that waits has a ticket; the coroutine that holds it suspends until the ticket is
//! answered. What was never sent and what was sent and lost are told apart here, since they are
//! different truths: [`Failure`].
//!
//! Architecture invariant: the batcher does no I/O. A link (Redis or embedded) takes batches from
//! it and hands answers back; it never knows which link it is.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;

use may::coroutine::{self, Coroutine};

use super::queue::{LineId, Queues, Sent};
use super::{Batch, GroupReply, LedgerError};
use crate::limits::BATCH_MAX;
use crate::sale::{Command, Outcome, SaleId};

/// Most rounds of events that a batch waits for while each brings more for it.
const ROUNDS_WAITED_MAX: usize = 8;

/// Most answered requests that go on at a time. An answer may be for all who wait; if they ran one
/// after the other, what came meanwhile would not be read for as long, and what the core knows of
/// the sales would be too old for those who come next.
const WAKES_MAX: usize = 64;

/// Answered requests that have yet to go on, above which the next batch waits. So those who wait on
/// a busy core wait in the queues, where each sale has its turn, and not in one long line to be told
/// their answers; and the ledger has work while the rest of a batch is told.
const UNTOLD_MAX: usize = BATCH_MAX / 2;

/// Why a command has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Too many are waiting, or it waited too long before it was sent. Nothing happened.
    Busy,
    /// The ledger can't be reached. Nothing happened.
    Unavailable,
    /// It was sent and the answer was lost or is late. It may have happened.
    Unknown,
}

impl From<&LedgerError> for Failure {
    fn from(error: &LedgerError) -> Self {
        match error {
            LedgerError::Refused(_) => Self::Unavailable,
            LedgerError::Lost(_) => Self::Unknown,
        }
    }
}

/// What a ticket becomes.
pub type Answer = Result<Outcome, Failure>;

/// A command's place in the queue. Must be waited for.
#[derive(Debug)]
#[must_use]
pub struct Ticket(usize);

pub use super::queue::Entry;

/// Learns what became of every command, waited for or not, before the tickets are answered.
pub trait Settle {
    /// One group has been answered or has failed. `asked_ms`: when it was taken to be sent, on the
    /// core's clock; what the answer says was true no earlier, and perhaps no later.
    fn settle(
        &self,
        sale: &SaleId,
        entries: &[Entry],
        result: Result<&GroupReply, Failure>,
        asked_ms: u64,
    );

    /// The answer about one group is overdue, and nobody is to wait for it any more. It is settled
    /// when it comes.
    fn give_up(&self, sale: &SaleId);
}

/// Our side of a batch that has been sent.
#[derive(Debug)]
pub struct Flight {
    groups: Vec<Sent>,
    asked_ms: u64,
}

impl Flight {
    /// Each group's part of it, as a flight of its own, in order.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        let asked_ms = self.asked_ms;
        self.groups.into_iter().map(move |part| Self { groups: vec![part], asked_ms })
    }

    /// Of a flight with one group: cuts off what belongs to its commands from this one on.
    pub fn split_off(&mut self, at: usize) -> Self {
        let cut =
            self.groups.iter_mut().map(|(sale, entries)| (sale.clone(), entries.split_off(at)));
        Self { groups: cut.collect(), asked_ms: self.asked_ms }
    }

    /// Of flights with one group each, of the same sale: adds what belongs to the other's commands.
    pub fn append(&mut self, other: Self) {
        self.asked_ms = self.asked_ms.min(other.asked_ms);
        for ((sale, entries), (other_sale, more)) in self.groups.iter_mut().zip(other.groups) {
            debug_assert_eq!(*sale, other_sale);
            entries.extend(more);
        }
    }
}

#[derive(Default)]
struct Slot {
    answer: Option<Answer>,
    waiter: Option<Coroutine>,
    /// Where its request has its place.
    line: Option<LineId>,
}

/// See the module's header.
pub struct Batcher {
    waiting_max: usize,
    answer_deadline_ms: u64,
    queues: RefCell<Queues>,
    /// Commands in the queues at the end of the last round.
    count_seen: Cell<usize>,
    /// Rounds for which the next batch has waited.
    rounds_waited: Cell<usize>,
    batches_taken: Cell<u64>,
    slots: RefCell<Vec<Slot>>,
    free_slots: RefCell<Vec<usize>>,
    /// Whose answers are there and who have yet to go on, and how many others were told to since
    /// [`wake_more`](Self::wake_more).
    to_wake: RefCell<VecDeque<Coroutine>>,
    woken: Cell<usize>,
    available: Cell<bool>,
    idle_link: RefCell<Option<Coroutine>>,
    settle: OnceCell<Box<dyn Settle>>,
}

impl Batcher {
    /// A batcher whose ledger is away until a link says otherwise.
    pub fn new(waiting_max: usize, answer_deadline_ms: u64) -> Self {
        Self {
            waiting_max,
            answer_deadline_ms,
            queues: RefCell::default(),
            count_seen: Cell::new(0),
            rounds_waited: Cell::new(0),
            batches_taken: Cell::new(0),
            slots: RefCell::default(),
            free_slots: RefCell::default(),
            to_wake: RefCell::default(),
            woken: Cell::new(0),
            available: Cell::new(false),
            idle_link: RefCell::default(),
            settle: OnceCell::new(),
        }
    }

    /// Says who is told what became of the commands. Once.
    pub fn set_settle(&self, settle: Box<dyn Settle>) {
        assert!(self.settle.set(settle).is_ok(), "set twice");
    }

    /// Time a batch may take, in ms.
    pub fn answer_deadline_ms(&self) -> u64 {
        self.answer_deadline_ms
    }

    /// Requests that may wait for an answer.
    pub fn waiting_max(&self) -> usize {
        self.waiting_max
    }

    /// Whether the ledger can be reached.
    pub fn is_available(&self) -> bool {
        self.available.get()
    }

    /// Requests that wait for an answer, sent or not.
    pub fn waiting(&self) -> usize {
        self.queues.borrow().places()
    }

    /// Puts a command into the queue of its sale, to be waited for. `is_known`: the ledger has said
    /// that there is such a sale.
    pub fn submit(
        &self,
        now_ms: u64,
        sale: &SaleId,
        is_known: bool,
        command: Command,
        allowance: u32,
    ) -> Result<Ticket, Failure> {
        if !self.available.get() {
            return Err(Failure::Unavailable);
        }
        let ticket = self.new_ticket(sale, is_known)?;
        let entry = Entry { ticket: Some(ticket.0), allowance, submitted_ms: now_ms };
        self.queues.borrow_mut().push(sale, is_known, command, entry);
        Ok(ticket)
    }

    /// Puts a command into the queue of its sale for which nobody waits. `false`: not done, the
    /// ledger is away. Those who ask have one such command under way per sale.
    pub fn submit_unattended(
        &self,
        now_ms: u64,
        sale: &SaleId,
        is_known: bool,
        command: Command,
    ) -> bool {
        let available = self.available.get();
        if available {
            let entry = Entry { ticket: None, allowance: 0, submitted_ms: now_ms };
            self.queues.borrow_mut().push(sale, is_known, command, entry);
        }
        available
    }

    /// A ticket without a command of its own, for a request that waits for what another has asked
    /// about the same sale; answered with [`deliver`](Self::deliver).
    pub fn new_ticket(&self, sale: &SaleId, is_known: bool) -> Result<Ticket, Failure> {
        let line = self.queues.borrow_mut().enter(sale, is_known, self.waiting_max);
        let line = Some(line.ok_or(Failure::Busy)?);
        let mut slots = self.slots.borrow_mut();
        if let Some(free) = self.free_slots.borrow_mut().pop() {
            slots[free].line = line;
            return Ok(Ticket(free));
        }
        slots.push(Slot { line, ..Slot::default() });
        Ok(Ticket(slots.len() - 1))
    }

    /// The number by which [`deliver`](Self::deliver) knows a ticket.
    pub fn number(&self, ticket: &Ticket) -> usize {
        ticket.0
    }

    /// Suspends the calling coroutine until its ticket is answered.
    pub fn wait(&self, ticket: Ticket) -> Answer {
        loop {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[ticket.0];
            if let Some(answer) = slot.answer.take() {
                slot.waiter = None;
                if let Some(line) = slot.line.take() {
                    self.queues.borrow_mut().leave(line);
                }
                self.free_slots.borrow_mut().push(ticket.0);
                return answer;
            }
            slot.waiter = Some(coroutine::current());
            drop(slots);
            coroutine::park();
        }
    }

    /// Answers a ticket. Its request goes on when its turn comes: see [`wake_more`](Self::wake_more).
    pub fn deliver(&self, ticket: usize, answer: Answer) {
        let Some(waiter) = self.answer(ticket, answer) else { return };
        let mut to_wake = self.to_wake.borrow_mut();
        if to_wake.is_empty() && self.woken.get() < WAKES_MAX {
            self.woken.set(self.woken.get() + 1);
            waiter.unpark();
        } else {
            to_wake.push_back(waiter);
        }
    }

    /// Notes the answer of a ticket; who is suspended until it is there.
    fn answer(&self, ticket: usize, answer: Answer) -> Option<Coroutine> {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[ticket];
        debug_assert!(slot.answer.is_none(), "ticket {ticket} answered twice");
        slot.answer = Some(answer);
        slot.waiter.take()
    }

    /// Lets the next requests go on whose answers are there; whether there are any. To be called
    /// between two rounds of the core's events; the caller must let them run.
    pub fn wake_more(&self) -> bool {
        let mut to_wake = self.to_wake.borrow_mut();
        let count = to_wake.len().min(WAKES_MAX);
        to_wake.drain(..count).for_each(|waiter| waiter.unpark());
        self.woken.set(count);
        count > 0
    }

    /// Lets one of them go on. To be called within a round, after every second event, so that what
    /// has come is read sooner than what is known is told, but the telling never stands still.
    pub fn wake_one(&self) {
        if let Some(waiter) = self.to_wake.borrow_mut().pop_front() {
            waiter.unpark();
        }
    }

    /// Whether answers are there for requests that have yet to go on.
    pub fn has_answered(&self) -> bool {
        !self.to_wake.borrow().is_empty()
    }

    /// Wakes the link if it is idle and there is something to send; whether it did. Called at the
    /// end of a round of events, so that a batch holds what the whole round brought, and within a
    /// round that takes long.
    pub fn kick(&self) -> bool {
        if self.has_more()
            && self.has_told()
            && let Some(link) = self.idle_link.borrow_mut().take()
        {
            link.unpark();
            return true;
        }
        false
    }

    /// The same, for the end of a round: `true` if more has come since the last one and the batch
    /// waits for another, which must begin at once. So it leaves when a round brings nothing more
    /// for it: those who have just been answered and ask again come along, and a quiet core's batch
    /// waits for one look that finds nothing.
    pub fn kick_or_wait(&self) -> bool {
        let (count, rounds) = (self.queues.borrow().len(), self.rounds_waited.get());
        let grows = count > self.count_seen.replace(count) && count < BATCH_MAX;
        if grows && rounds < ROUNDS_WAITED_MAX && self.idle_link.borrow().is_some() {
            self.rounds_waited.set(rounds + 1);
            return true;
        }
        self.rounds_waited.set(0);
        self.kick();
        false
    }

    /// For a link: takes the next batch. If a whole one waits already, at once; else it suspends the
    /// link until the end of a round that left something to send. `None`: something else has
    /// happened that it must see to first (`interrupted` is asked whenever it is woken).
    pub fn next_batch(
        &self,
        now_ms: impl Fn() -> u64,
        interrupted: impl Fn() -> bool,
    ) -> Option<(Batch, Flight)> {
        loop {
            if interrupted() {
                return None;
            }
            if self.queues.borrow().len() >= BATCH_MAX && self.has_told() {
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

    /// Whether most of those who were answered have gone on, so that the next batch may leave.
    fn has_told(&self) -> bool {
        self.to_wake.borrow().len() <= UNTOLD_MAX
    }

    /// Whether something waits to be sent.
    pub fn has_more(&self) -> bool {
        !self.queues.borrow().is_empty()
    }

    /// For a link: the ledger can be reached from now on.
    pub fn set_available(&self) {
        self.available.set(true);
    }

    /// For a link: the ledger can't be reached. What was not sent fails at once, truthfully.
    pub fn set_unavailable(&self) {
        self.available.set(false);
        let groups = self.queues.borrow_mut().take_all();
        // Nothing was asked: what is known of the sales is as old as it was.
        self.fail(Flight { groups, asked_ms: 0 }, Failure::Unavailable);
    }

    /// For a link: the ledger has answered a batch, one result per group.
    /// The sales with the fewest commands are answered first, and go on at once if they are few: they
    /// wait for nobody's crowd.
    pub fn complete(&self, flight: Flight, results: Vec<Result<GroupReply, Failure>>) {
        debug_assert_eq!(flight.groups.len(), results.len());
        let asked_ms = flight.asked_ms;
        let mut groups: Vec<_> = flight.groups.into_iter().zip(results).collect();
        groups.sort_by_key(|((_, entries), _)| entries.len());
        let (last, mut told) = (groups.len().saturating_sub(1), 0);
        for (index, ((sale, entries), result)) in groups.into_iter().enumerate() {
            told += entries.len();
            let at_once = index < last && told <= WAKES_MAX;
            match result {
                Err(failure) => self.fail_group(&sale, &entries, failure, asked_ms),
                Ok(reply) => {
                    self.settle_group(&sale, &entries, Ok(&reply), asked_ms);
                    debug_assert_eq!(entries.len(), reply.outcomes.len());
                    for (entry, outcome) in entries.into_iter().zip(reply.outcomes) {
                        let Some(ticket) = entry.ticket else { continue };
                        if !at_once {
                            self.deliver(ticket, Ok(outcome));
                        } else if let Some(waiter) = self.answer(ticket, Ok(outcome)) {
                            waiter.unpark();
                        }
                    }
                }
            }
        }
    }

    /// For a link: a batch has failed.
    pub fn fail(&self, flight: Flight, failure: Failure) {
        for (sale, entries) in flight.groups {
            self.fail_group(&sale, &entries, failure, flight.asked_ms);
        }
    }

    /// For a link whose late answers still come: answers the tickets of a batch that is overdue,
    /// but keeps the batch, to be settled by what its answer says.
    pub fn give_up_waiting(&self, flight: &mut Flight) {
        for (sale, entries) in &mut flight.groups {
            if let Some(settle) = self.settle.get() {
                settle.give_up(sale);
            }
            self.deliver_failure(entries, Failure::Unknown);
            entries.iter_mut().for_each(|entry| entry.ticket = None);
        }
    }

    /// Fails what has waited too long to be sent. It can't have happened, so that is `busy`.
    pub fn fail_overdue(&self, now_ms: u64) {
        if self.has_more() {
            let oldest_ms = now_ms.saturating_sub(self.answer_deadline_ms);
            let groups = self.queues.borrow_mut().take_overdue(oldest_ms);
            self.fail(Flight { groups, asked_ms: 0 }, Failure::Busy);
        }
    }

    /// Answers purchases of a sale that wait to be sent, with what the ledger has just said to
    /// others and says to everybody: those without an idempotency key, of which it can know nothing
    /// more. Returns the units of allowance that were taken for them.
    pub fn answer_unsent(&self, sale: &SaleId, outcome: &Outcome) -> u64 {
        let keyless = |command: &Command| matches!(command, Command::Reserve(reserve) if reserve.key.is_none());
        let entries = self.queues.borrow_mut().take_those(sale, keyless);
        for ticket in entries.iter().filter_map(|entry| entry.ticket) {
            self.deliver(ticket, Ok(outcome.clone()));
        }
        entries.iter().map(|entry| u64::from(entry.allowance)).sum()
    }

    /// How many batches have been taken: changes when a command that is submitted now is likely to
    /// leave with another batch than the one before.
    pub fn batches_taken(&self) -> u64 {
        self.batches_taken.get()
    }

    /// Takes what leaves next: see [`Queues::take`].
    pub(crate) fn take_batch(&self, now_ms: u64) -> (Batch, Flight) {
        self.batches_taken.set(self.batches_taken.get() + 1);
        self.count_seen.set(0);
        self.rounds_waited.set(0);
        let (batch, groups) = self.queues.borrow_mut().take();
        (batch, Flight { groups, asked_ms: now_ms })
    }

    fn fail_group(&self, sale: &SaleId, entries: &[Entry], failure: Failure, asked_ms: u64) {
        self.settle_group(sale, entries, Err(failure), asked_ms);
        self.deliver_failure(entries, failure);
    }

    fn settle_group(
        &self,
        sale: &SaleId,
        entries: &[Entry],
        result: Result<&GroupReply, Failure>,
        asked_ms: u64,
    ) {
        if let Some(settle) = self.settle.get() {
            settle.settle(sale, entries, result, asked_ms);
        }
    }

    fn deliver_failure(&self, entries: &[Entry], failure: Failure) {
        for ticket in entries.iter().filter_map(|entry| entry.ticket) {
            self.deliver(ticket, Err(failure));
        }
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
