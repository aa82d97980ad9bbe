//! One core's batcher: commands join the open batch, and a batch leaves as soon as the last one is
//! answered. No timer, no linger: a quiet core sends one command a round trip, a busy one hundreds.
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

use super::{Batch, Group, GroupReply, LedgerError};
use crate::limits::BATCH_MAX;
use crate::sale::{Command, Outcome, SaleId};

/// Most rounds of events that a batch waits for while each brings more for it.
const ROUNDS_WAITED_MAX: usize = 8;

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

/// One command of a batch, on our side of the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    ticket: Option<usize>,
    /// Units of allowance taken for it, to give back unless it is granted.
    pub allowance: u32,
    submitted_ms: u64,
}

/// Learns what became of every command, waited for or not, before the tickets are answered.
pub trait Settle {
    /// One group has been answered or has failed.
    fn settle(&self, sale: &SaleId, entries: &[Entry], result: Result<&GroupReply, Failure>);

    /// The answer about one group is overdue, and nobody is to wait for it any more. It is settled
    /// when it comes.
    fn give_up(&self, sale: &SaleId);
}

/// Our side of a batch that has been sent.
#[derive(Debug)]
pub struct Flight(Vec<(SaleId, Vec<Entry>)>);

impl Flight {
    /// Each group's part of it, as a flight of its own, in order.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        self.0.into_iter().map(|part| Self(vec![part]))
    }

    /// Of a flight with one group: cuts off what belongs to its commands from this one on.
    pub fn split_off(&mut self, at: usize) -> Self {
        let cut = self.0.iter_mut().map(|(sale, entries)| (sale.clone(), entries.split_off(at)));
        Self(cut.collect())
    }

    /// Of flights with one group each, of the same sale: adds what belongs to the other's commands.
    pub fn append(&mut self, other: Self) {
        for ((sale, entries), (other_sale, more)) in self.0.iter_mut().zip(other.0) {
            debug_assert_eq!(*sale, other_sale);
            entries.extend(more);
        }
    }
}

struct OpenGroup {
    group: Group,
    entries: Vec<Entry>,
}

#[derive(Default)]
struct Slot {
    answer: Option<Answer>,
    waiter: Option<Coroutine>,
}

/// See the module's header.
pub struct Batcher {
    waiting_max: usize,
    answer_deadline_ms: u64,
    open: RefCell<VecDeque<OpenGroup>>,
    open_count: Cell<usize>,
    /// Commands in the open batch at the end of the last round.
    count_seen: Cell<usize>,
    /// Rounds for which the open batch has waited.
    rounds_waited: Cell<usize>,
    batches_taken: Cell<u64>,
    slots: RefCell<Vec<Slot>>,
    free_slots: RefCell<Vec<usize>>,
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
            open: RefCell::default(),
            open_count: Cell::new(0),
            count_seen: Cell::new(0),
            rounds_waited: Cell::new(0),
            batches_taken: Cell::new(0),
            slots: RefCell::default(),
            free_slots: RefCell::default(),
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

    /// Whether the ledger can be reached.
    pub fn is_available(&self) -> bool {
        self.available.get()
    }

    /// Commands that wait for an answer, sent or not.
    pub fn waiting(&self) -> usize {
        self.slots.borrow().len() - self.free_slots.borrow().len()
    }

    /// Puts a command into the open batch, to be waited for.
    pub fn submit(
        &self,
        now_ms: u64,
        sale: &SaleId,
        command: Command,
        allowance: u32,
    ) -> Result<Ticket, Failure> {
        if !self.available.get() {
            return Err(Failure::Unavailable);
        }
        let ticket = self.new_ticket()?;
        self.push(now_ms, sale, command, allowance, Some(ticket.0));
        Ok(ticket)
    }

    /// Puts a command into the open batch that has no ticket. `false`: not done, the ledger is away
    /// or the queue is full.
    pub fn submit_unattended(&self, now_ms: u64, sale: &SaleId, command: Command) -> bool {
        let room = self.available.get() && self.open_count.get() < self.waiting_max;
        if room {
            self.push(now_ms, sale, command, 0, None);
        }
        room
    }

    /// A ticket without a command of its own, for one who waits for what another has asked;
    /// answered with [`deliver`](Self::deliver).
    pub fn new_ticket(&self) -> Result<Ticket, Failure> {
        let mut slots = self.slots.borrow_mut();
        if let Some(free) = self.free_slots.borrow_mut().pop() {
            return Ok(Ticket(free));
        }
        if slots.len() >= self.waiting_max {
            return Err(Failure::Busy);
        }
        slots.push(Slot::default());
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
                self.free_slots.borrow_mut().push(ticket.0);
                return answer;
            }
            slot.waiter = Some(coroutine::current());
            drop(slots);
            coroutine::park();
        }
    }

    /// Answers a ticket.
    pub fn deliver(&self, ticket: usize, answer: Answer) {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[ticket];
        debug_assert!(slot.answer.is_none(), "ticket {ticket} answered twice");
        slot.answer = Some(answer);
        if let Some(waiter) = slot.waiter.take() {
            waiter.unpark();
        }
    }

    /// Wakes the link if it is idle and there is something to send. Called at the end of a round of
    /// events, so that a batch holds what the whole round brought.
    pub fn kick(&self) {
        if self.open_count.get() > 0
            && let Some(link) = self.idle_link.borrow_mut().take()
        {
            link.unpark();
        }
    }

    /// The same, for the end of a round: `true` if the batch has grown since the last one and waits for
    /// another, which must begin at once. So it leaves when a round brings nothing more for it: those
    /// who have just been answered and ask again come along, and a quiet core's batch waits for one
    /// look that finds nothing.
    pub fn kick_or_wait(&self) -> bool {
        let (count, rounds) = (self.open_count.get(), self.rounds_waited.get());
        let grows = count > self.count_seen.replace(count) && count < BATCH_MAX;
        if grows && rounds < ROUNDS_WAITED_MAX && self.idle_link.borrow().is_some() {
            self.rounds_waited.set(rounds + 1);
            return true;
        }
        self.rounds_waited.set(0);
        self.kick();
        false
    }

    /// For a link: suspends it until the end of a round that left something to send, and takes it.
    /// `None`: something else has happened that it must see to first (`interrupted` is asked
    /// whenever it is woken).
    pub fn next_batch(&self, interrupted: impl Fn() -> bool) -> Option<(Batch, Flight)> {
        loop {
            if interrupted() {
                return None;
            }
            *self.idle_link.borrow_mut() = Some(coroutine::current());
            coroutine::park();
            let kicked = self.idle_link.borrow_mut().take().is_none();
            if kicked && self.open_count.get() > 0 {
                return Some(self.take_batch());
            }
        }
    }

    /// For a link: whether there is more to send already.
    pub fn has_more(&self) -> bool {
        self.open_count.get() > 0
    }

    /// For a link: the ledger can be reached from now on.
    pub fn set_available(&self) {
        self.available.set(true);
    }

    /// For a link: the ledger can't be reached. What was not sent fails at once, truthfully.
    pub fn set_unavailable(&self) {
        self.available.set(false);
        while self.open_count.get() > 0 {
            let (_, flight) = self.take_batch();
            self.fail(flight, Failure::Unavailable);
        }
    }

    /// For a link: the ledger has answered a batch, one result a group.
    pub fn complete(&self, flight: Flight, results: Vec<Result<GroupReply, Failure>>) {
        debug_assert_eq!(flight.0.len(), results.len());
        for ((sale, entries), result) in flight.0.into_iter().zip(results) {
            match result {
                Err(failure) => self.fail_group(&sale, &entries, failure),
                Ok(reply) => {
                    self.settle_group(&sale, &entries, Ok(&reply));
                    debug_assert_eq!(entries.len(), reply.outcomes.len());
                    for (entry, outcome) in entries.into_iter().zip(reply.outcomes) {
                        if let Some(ticket) = entry.ticket {
                            self.deliver(ticket, Ok(outcome));
                        }
                    }
                }
            }
        }
    }

    /// For a link: a batch has failed.
    pub fn fail(&self, flight: Flight, failure: Failure) {
        for (sale, entries) in flight.0 {
            self.fail_group(&sale, &entries, failure);
        }
    }

    /// For a link whose late answers still come: answers the tickets of a batch that is overdue,
    /// but keeps the batch, to be settled by what its answer says.
    pub fn give_up_waiting(&self, flight: &mut Flight) {
        for (sale, entries) in &mut flight.0 {
            if let Some(settle) = self.settle.get() {
                settle.give_up(sale);
            }
            self.deliver_failure(entries, Failure::Unknown);
            entries.iter_mut().for_each(|entry| entry.ticket = None);
        }
    }

    /// Fails what has waited too long to be sent. It can't have happened, so that is `busy`.
    pub fn fail_overdue(&self, now_ms: u64) {
        if self.open_count.get() == 0 {
            return;
        }
        let oldest_ms = now_ms.saturating_sub(self.answer_deadline_ms);
        let overdue =
            |group: &OpenGroup| group.entries.first().is_some_and(|e| e.submitted_ms < oldest_ms);
        if self.open.borrow().iter().any(overdue) {
            while self.open_count.get() > 0 {
                let (_, flight) = self.take_batch();
                self.fail(flight, Failure::Busy);
            }
        }
    }

    fn push(
        &self,
        now_ms: u64,
        sale: &SaleId,
        command: Command,
        allowance: u32,
        ticket: Option<usize>,
    ) {
        let entry = Entry { ticket, allowance, submitted_ms: now_ms };
        let mut open = self.open.borrow_mut();
        self.open_count.set(self.open_count.get() + 1);
        match open.iter_mut().rev().find(|open| open.group.sale == *sale) {
            Some(open) => {
                open.group.commands.push(command);
                open.entries.push(entry);
            }
            None => open.push_back(OpenGroup {
                group: Group { sale: sale.clone(), commands: vec![command] },
                entries: vec![entry],
            }),
        }
    }

    /// How many batches have been taken: changes when a command that is submitted now is likely to
    /// leave with another batch than the one before.
    pub fn batches_taken(&self) -> u64 {
        self.batches_taken.get()
    }

    /// Takes up to [`BATCH_MAX`] commands, oldest groups first.
    pub(super) fn take_batch(&self) -> (Batch, Flight) {
        self.batches_taken.set(self.batches_taken.get() + 1);
        self.count_seen.set(0);
        self.rounds_waited.set(0);
        let mut open = self.open.borrow_mut();
        let (mut batch, mut flight) = (Batch::default(), Flight(Vec::new()));
        let mut room = BATCH_MAX;
        while room > 0
            && let Some(mut group) = open.pop_front()
        {
            if group.entries.len() > room {
                let rest = OpenGroup {
                    group: Group {
                        sale: group.group.sale.clone(),
                        commands: group.group.commands.split_off(room),
                    },
                    entries: group.entries.split_off(room),
                };
                open.push_front(rest);
            }
            room -= group.entries.len();
            self.open_count.set(self.open_count.get() - group.entries.len());
            flight.0.push((group.group.sale.clone(), group.entries));
            batch.groups.push(group.group);
        }
        (batch, flight)
    }

    fn fail_group(&self, sale: &SaleId, entries: &[Entry], failure: Failure) {
        self.settle_group(sale, entries, Err(failure));
        self.deliver_failure(entries, failure);
    }

    fn settle_group(&self, sale: &SaleId, entries: &[Entry], result: Result<&GroupReply, Failure>) {
        if let Some(settle) = self.settle.get() {
            settle.settle(sale, entries, result);
        }
    }

    fn deliver_failure(&self, entries: &[Entry], failure: Failure) {
        for ticket in entries.iter().filter_map(|entry| entry.ticket) {
            self.deliver(ticket, Err(failure));
        }
    }
}
