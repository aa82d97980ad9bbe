//! One core's batcher: commands wait in a queue per sale, and a batch leaves as soon as the last one
//! is answered. No timer, no linger: a quiet core sends one command per round trip, a busy one
//! hundreds.
//!
//! A command that somebody waits for has a ticket. Whoever asked is told that its answer is there,
//! takes it, and goes on; or gives the ticket up before. What was never sent and what was sent and
//! lost are told apart here, since they are different truths: [`Failure`].
//!
//! Architecture invariant: the batcher does no I/O. A link (Redis or embedded) takes batches from
//! it and hands answers back; it never knows which link it is.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use may::coroutine::{self, Coroutine};

use super::counts::LedgerCounts;
use super::flight::Flight;
use super::ids::IdSource;
use super::queue::{Queues, Sent};
use super::{Failure, GroupReply};
use crate::limits::{BATCH_MAX, TOLD_AT_ONCE_MAX};
use crate::patience::Patience;
use crate::sale::{Command, Outcome, SaleId};

pub use super::queue::{Answer, Answered, BatchBounds, Entry, Ticket, TicketNumber};

/// Most rounds of events that a batch waits for while each brings more for it.
const ROUNDS_WAITED_MAX: usize = 8;

/// Answered requests that have yet to go on, above which the next batch waits. So those who wait on
/// a busy core wait in the queues, where each sale has its turn, and not in one long line to be told
/// their answers; and the ledger has work while the rest of a batch is told.
const UNTOLD_MAX: usize = BATCH_MAX / 2;

/// Whoever asks, as a number that [`Tell`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker(pub u64);

/// Whoever waits for an answer.
enum Who {
    Asker(Asker),
    Coroutine(Coroutine),
}

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

    /// What everybody is told by now who asks for this sale and was not sent, if there is such a thing.
    fn told_to_all(&self, sale: &SaleId) -> Option<Outcome>;

    /// Commands were not sent, and never will be, for which so many units of allowance were taken.
    fn give_back(&self, sale: &SaleId, units: u64);

    /// A purchase of this sale has this outcome, and whoever asked is gone.
    fn nobody_waits(&self, sale: &SaleId, outcome: &Outcome);

    /// The answer about one group is overdue, and nobody is to wait for it any more. It is settled
    /// when it comes.
    fn give_up(&self, sale: &SaleId);
}

/// Lets those go on whose answers are there, in turn with everything else that a core has to do.
pub trait Tell {
    /// An answer is there. `first`: whoever asked goes on before all others.
    fn tell(&self, asker: Asker, first: bool);

    /// How many have been told of and have yet to go on.
    fn untold(&self) -> usize;
}

/// See the module's header.
pub struct Batcher {
    patience: Arc<Patience>,
    queues: RefCell<Queues<Who>>,
    /// Makes the ids of reservations.
    ids: RefCell<IdSource>,
    /// Commands in the queues at the end of the last round.
    count_seen: Cell<usize>,
    /// Rounds for which the next batch has waited.
    rounds_waited: Cell<usize>,
    batches_taken: Cell<u64>,
    counts: Arc<LedgerCounts>,
    available: Cell<bool>,
    idle_link: RefCell<Option<Coroutine>>,
    settle: OnceCell<Box<dyn Settle>>,
    tell: OnceCell<Box<dyn Tell>>,
}

impl Batcher {
    /// A batcher whose ledger is away until a link says otherwise.
    pub fn new(patience: Arc<Patience>) -> Self {
        Self {
            patience,
            queues: RefCell::default(),
            ids: RefCell::default(),
            count_seen: Cell::new(0),
            rounds_waited: Cell::new(0),
            batches_taken: Cell::new(0),
            counts: Arc::default(),
            available: Cell::new(false),
            idle_link: RefCell::default(),
            settle: OnceCell::new(),
            tell: OnceCell::new(),
        }
    }

    /// Says who learns what became of the commands. Once.
    pub fn set_settle(&self, settle: Box<dyn Settle>) {
        assert!(self.settle.set(settle).is_ok(), "set twice");
    }

    /// Says who tells those who wait. Once.
    pub fn set_tell(&self, tell: Box<dyn Tell>) {
        assert!(self.tell.set(tell).is_ok(), "set twice");
    }

    /// What it counts.
    pub fn counts(&self) -> &Arc<LedgerCounts> {
        &self.counts
    }

    /// Time a batch may take, in ms.
    pub fn answer_deadline_ms(&self) -> u64 {
        self.patience.answer_deadline_ms()
    }

    /// Whether the ledger can be reached.
    pub fn is_available(&self) -> bool {
        self.available.get()
    }

    /// Requests that wait for an answer, sent or not.
    pub fn waiting(&self) -> usize {
        self.queues.borrow().places()
    }

    /// Puts a command into the queue of its sale. `asker` is told when its answer is there; without
    /// one, the ticket is to be [waited for](Self::wait). `is_known`: the ledger has said that there
    /// is such a sale. A purchase gets its id when it leaves.
    pub fn submit(
        &self,
        now_ms: u64,
        sale: &SaleId,
        is_known: bool,
        command: Command,
        allowance: u32,
        asker: Option<Asker>,
    ) -> Result<Ticket, Failure> {
        if !self.available.get() {
            return Err(Failure::Unavailable);
        }
        let ticket = self.new_ticket(sale, is_known, asker)?;
        self.queues.borrow_mut().push(&ticket, command, allowance, now_ms);
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
            self.queues.borrow_mut().push_unattended(sale, is_known, command, now_ms);
        }
        available
    }

    /// A ticket without a command of its own, for a request that waits for what another has asked
    /// about the same sale; answered with [`deliver`](Self::deliver).
    pub fn new_ticket(
        &self,
        sale: &SaleId,
        is_known: bool,
        asker: Option<Asker>,
    ) -> Result<Ticket, Failure> {
        let who = asker.map(Who::Asker);
        let ticket =
            self.queues.borrow_mut().enter(sale, is_known, self.patience.waiting_max(), who);
        ticket.ok_or(Failure::Busy)
    }

    /// The number by which [`deliver`](Self::deliver) knows a ticket.
    pub fn number(&self, ticket: &Ticket) -> TicketNumber {
        ticket.number()
    }

    /// Takes the answer to a ticket, if it is there.
    pub fn take(&self, ticket: Ticket) -> Result<Answered, Ticket> {
        self.queues.borrow_mut().take_answer(ticket)
    }

    /// Nobody waits for a ticket any more. Of a command that was not sent, which never will be, the units
    /// of allowance that were taken for it; one that was sent is settled when it is answered.
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
            let who = Who::Coroutine(coroutine::current());
            self.queues.borrow_mut().set_who(&ticket, who);
            coroutine::park();
        }
    }

    /// Answers a ticket that has no command of its own. Whoever has it goes on when his turn comes.
    pub fn deliver(&self, ticket: TicketNumber, answer: Answer) {
        let _ = self.answer(ticket, answer, None, false);
    }

    /// An answer to what was sent to this sale.
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
            && let Some(settle) = self.settle.get()
        {
            settle.nobody_waits(sale, &outcome);
        }
    }

    /// An error, with the answer: nobody waits for it any more.
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
            Some(Who::Asker(asker)) => {
                if let Some(tell) = self.tell.get() {
                    tell.tell(asker, first);
                }
            }
            Some(Who::Coroutine(coroutine)) => coroutine.unpark(),
            None => {}
        }
        Ok(())
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
    ) -> Option<Flight> {
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
        self.tell.get().is_none_or(|tell| tell.untold() <= UNTOLD_MAX)
    }

    /// Whether something waits to be sent.
    pub fn has_more(&self) -> bool {
        !self.queues.borrow().is_empty()
    }

    /// For a link: how much a batch may hold, if its ledger is not Redis.
    pub fn set_bounds(&self, bounds: BatchBounds) {
        self.queues.borrow_mut().set_bounds(bounds);
    }

    /// For a link: the ledger can be reached from now on.
    pub fn set_available(&self) {
        self.available.set(true);
    }

    /// For a link: the ledger can't be reached. What was not sent fails at once, truthfully.
    pub fn set_unavailable(&self) {
        self.available.set(false);
        let unsent = self.queues.borrow_mut().take_all();
        self.fail_unsent(unsent, Failure::Unavailable);
    }

    /// For a link: the ledger has answered a batch, one result per group.
    /// The sales with the fewest commands are answered first, and go on at once if they are few: they
    /// wait for nobody's crowd. Those who were not sent come last, so that who was granted the last unit
    /// does not wait for all who get none.
    pub fn complete(&self, flight: Flight, mut results: Vec<Result<GroupReply, Failure>>) {
        debug_assert_eq!(flight.entries.len(), results.len());
        let Flight { batch, entries, asked_ms, taken } = flight;
        self.counts.round_trip_us.record(taken.elapsed().as_micros() as u64);
        let mut groups = batch.groups;
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_key(|&at| entries[at].1.len());
        let (last, mut told) = (order.len().saturating_sub(1), 0);
        for (index, at) in order.into_iter().enumerate() {
            let (sale, entries) = &entries[at];
            told += entries.len();
            let first = index < last && told <= TOLD_AT_ONCE_MAX;
            match std::mem::replace(&mut results[at], Err(Failure::Unknown)) {
                Err(failure) => self.fail_group(sale, entries, failure, asked_ms),
                Ok(reply) => {
                    self.settle_group(sale, entries, Ok(&reply), asked_ms);
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
            entries.iter().for_each(|(sale, _)| self.refuse_unsent(sale));
        }
    }

    /// Answers purchases that wait to be sent with what everybody is told by now: so the end of a sale
    /// costs the ledger one batch, however many wait. Those with an idempotency key, of which the ledger
    /// may know more, are only asked for their claims.
    fn refuse_unsent(&self, sale: &SaleId) {
        let Some(settle) = self.settle.get() else { return };
        let Some(outcome) = settle.told_to_all(sale) else { return };
        let (entries, mut units) = self.queues.borrow_mut().sift(sale);
        for entry in entries {
            units += u64::from(entry.allowance);
            if let Some(ticket) = entry.ticket {
                let _ = self.answer(ticket, Ok(outcome.clone()), None, false);
            }
        }
        settle.give_back(sale, units);
    }

    /// For a link that has not sent a flight yet: takes out the commands whose tickets were given up.
    pub fn drop_given_up(&self, flight: &mut Flight) {
        for (group, (sale, entries)) in flight.batch.groups.iter_mut().zip(&mut flight.entries) {
            let given_up: Vec<bool> = {
                let mut queues = self.queues.borrow_mut();
                let gone = |entry: &Entry| entry.ticket.is_some_and(|key| !queues.waits(key));
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
            if let Some(settle) = self.settle.get() {
                settle.give_back(sale, units);
            }
        }
    }

    /// For a link: a batch has failed.
    pub fn fail(&self, flight: Flight, failure: Failure) {
        for (sale, entries) in flight.entries {
            self.fail_group(&sale, &entries, failure, flight.asked_ms);
        }
    }

    /// For a link whose late answers still come: answers the tickets of a batch that is overdue,
    /// but keeps the batch, to be settled by what its answer says.
    pub fn give_up_waiting(&self, flight: &mut Flight) {
        for (sale, entries) in &mut flight.entries {
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
            let oldest_ms = now_ms.saturating_sub(self.answer_deadline_ms());
            let overdue = self.queues.borrow_mut().take_overdue(oldest_ms);
            self.fail_unsent(overdue, Failure::Busy);
        }
    }

    /// Takes what leaves next: see `Queues::take`.
    pub fn take_batch(&self, now_ms: u64) -> Flight {
        let number = self.batches_taken.get() + 1;
        self.batches_taken.set(number);
        self.count_seen.set(0);
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
        Flight { batch, entries, asked_ms: now_ms, taken: Instant::now() }
    }

    /// Nothing was asked: what is known of the sales is as old as it was.
    fn fail_unsent(&self, unsent: Vec<Sent>, failure: Failure) {
        for (sale, entries) in unsent {
            self.fail_group(&sale, &entries, failure, 0);
        }
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
            let _ = self.answer(ticket, Err(failure), None, false);
        }
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
