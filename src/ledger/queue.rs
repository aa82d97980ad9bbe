//! What waits on one core to be sent to the ledger: a queue per sale, from which batches are taken
//! in turn; and who waits for what becomes of it.
//!
//! Within one sale, first come is first served; but what only looks (an operator's question, a view)
//! has a queue of its own and never stands behind purchases. Between sales, each that has something
//! to send gets the same share of a batch, and one whose turn did not come is first in the next. So
//! a sale with thousands of waiting buyers costs the others of its core no more than its share. Names
//! that the ledger has not confirmed, which clients may invent, share one part of a batch.
//!
//! What waits is a record in a slab, named by a [`Ticket`], and the queues are lists through the
//! slab: so a command that nobody waits for any more is taken out of the middle at once, and one more
//! costs the same however many there are.
//!
//! Nothing here is linear in the number of sales that wait but looking for what is overdue, once per
//! tick.
//!
//! Architecture invariant: no I/O, no clock, no coroutine. It does not know who waits.

mod bounds;
#[cfg(feature = "simulation")]
mod probe;
mod removal;
mod taking;

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::Failure;
use crate::limits::{IDLE_QUEUES_MAX, WAITING_SHARE};
use crate::sale::{Command, Outcome, SaleId};
use crate::slab::{Key, Slab};

pub use bounds::BatchBounds;

/// The result of a command.
pub type Answer = Result<Outcome, Failure>;

/// Names a waiting request. Its owner must take the answer or give the ticket up.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Ticket(Key);

/// The number by which an answer finds a ticket. It stays valid, and finds nothing, after the
/// ticket was given up.
pub type TicketNumber = Key;

impl Ticket {
    /// Its number.
    pub fn number(&self) -> TicketNumber {
        self.0
    }
}

/// An answer with its command, unless the ledger has kept the command.
pub type Answered = (Answer, Option<Command>);

/// Our record of one command of a batch.
#[derive(Debug, Clone, Copy)]
pub struct SentCommand {
    /// The ticket of its waiter, if there is one. It may have been given up since.
    pub(super) ticket: Option<TicketNumber>,
    /// Units of allowance taken for it, to be returned unless it is granted.
    pub allowance: u32,
}

/// Our records of the commands to one sale, in order.
pub(super) type Sent = (SaleId, Vec<SentCommand>);

/// The share of a batch that a command competes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Only reads, from a sale that exists.
    ReadOnly,
    /// Changes a sale that exists, or tries to.
    Change,
    /// Concerns a name that the ledger has not confirmed.
    UnknownSale,
}

impl Class {
    const ALL: [Self; 3] = [Self::ReadOnly, Self::Change, Self::UnknownSale];

    /// The sixteenths of a batch that are reserved for this class.
    const fn share(self) -> usize {
        match self {
            Self::ReadOnly | Self::UnknownSale => 4,
            Self::Change => 8,
        }
    }
}

/// No record.
const NONE: u32 = u32::MAX;

/// A command that waits to be sent.
struct Queued {
    command: Command,
    allowance: u32,
    submitted_ms: u64,
    /// It is in the list of commands that only read.
    read_only: bool,
    /// The records before and after it in its list.
    previous: u32,
    next: u32,
}

/// The progress of a waiting record.
enum Stage {
    Queued(Queued),
    /// It was sent, or it waits for another request's query.
    Awaited,
    Answered(Answered),
}

/// A waiting record.
struct Waiting<W> {
    /// Its waiter. `None`: it has none, or the waiter was woken.
    waiter: Option<W>,
    /// It counts as one of the requests that may wait.
    has_place: bool,
    /// The queue of its sale.
    queue: u32,
    stage: Stage,
}

/// Commands in their order of arrival.
struct CommandList {
    first: u32,
    last: u32,
    count: u32,
    /// The class in which a turn is waiting for it, if any.
    turn: Option<Class>,
}

impl Default for CommandList {
    fn default() -> Self {
        Self { first: NONE, last: NONE, count: 0, turn: None }
    }
}

/// The waiting commands of one sale. At most a cache line: with many hot sales each is used only
/// once in a while.
struct SaleQueue {
    sale: SaleId,
    /// The ledger has confirmed that the sale exists.
    is_known: bool,
    /// Requests of this sale that count as waiting, from their entry until they have taken their
    /// answer.
    places: u32,
    reads: CommandList,
    changes: CommandList,
    /// Purchases among `changes`.
    purchases: u32,
    /// The sale's group in the batch that is being taken, or [`NONE`].
    group: u32,
    /// Not needed now, and kept for the next request.
    is_idle: bool,
}

const _: () = assert!(size_of::<SaleQueue>() <= 64);

impl SaleQueue {
    fn list(&mut self, looks: bool) -> &mut CommandList {
        if looks { &mut self.reads } else { &mut self.changes }
    }

    /// Whether it is in use and no longer needed.
    fn may_idle(&self) -> bool {
        self.places == 0
            && self.reads.turn.is_none()
            && self.changes.turn.is_none()
            && self.group == NONE
            && !self.is_idle
    }
}

/// The changes of one sale that wait to be sent.
#[cfg(feature = "simulation")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingChanges {
    /// The sale.
    pub sale: SaleId,
    /// It waits for its turn among the sales that the ledger has confirmed, and may be taken from
    /// if there is room.
    pub is_in_turn: bool,
    /// How many there are, at least one.
    pub count: usize,
    /// Units of allowance taken for them.
    pub allowance: u64,
    /// When the oldest was submitted, on the core's clock.
    pub oldest_ms: u64,
}

/// See the module's header. `W` is the type of a waiter.
pub(super) struct Queues<W> {
    waiting: Slab<Waiting<W>>,
    queue_ids: HashMap<SaleId, u32>,
    queues: Vec<Option<SaleQueue>>,
    free: Vec<u32>,
    /// Queues that are not needed now.
    idle: usize,
    /// The queue that was used last, which mostly is the next one too.
    last: u32,
    turns: [VecDeque<u32>; 3],
    commands: usize,
    places: usize,
    bounds: BatchBounds,
    first_taken_ms: Option<u64>,
}

impl<W> Default for Queues<W> {
    fn default() -> Self {
        Self {
            waiting: Slab::default(),
            queue_ids: HashMap::default(),
            queues: Vec::new(),
            free: Vec::new(),
            idle: 0,
            last: 0,
            turns: Default::default(),
            commands: 0,
            places: 0,
            bounds: BatchBounds::REDIS,
            first_taken_ms: None,
        }
    }
}

impl<W> Queues<W> {
    /// Commands that wait to be sent.
    pub fn len(&self) -> usize {
        self.commands
    }

    /// Whether no command waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// Requests that count as waiting.
    pub fn places(&self) -> usize {
        self.places
    }

    /// Enters a request for this sale. With a bound `places_max`, a sale may have up to
    /// [`WAITING_SHARE`] times as many places as are left: so however many requests wait for one
    /// sale, some places are left for others. Returns `None` if the sale has its share or no place
    /// is left.
    pub fn enter(
        &mut self,
        sale: &SaleId,
        is_known: bool,
        places_max: Option<usize>,
        who: Option<W>,
    ) -> Option<Ticket> {
        let line = self.queue_of(sale, is_known);
        if let Some(places_max) = places_max {
            let left = places_max.saturating_sub(self.places);
            if self.queue(line).places as usize >= left.saturating_mul(WAITING_SHARE) {
                self.drop_if_idle(line);
                return None;
            }
        }
        self.queue(line).places += 1;
        self.places += 1;
        let waiting = Waiting { waiter: who, has_place: true, queue: line, stage: Stage::Awaited };
        Some(Ticket(self.waiting.insert(waiting)))
    }

    /// Queues the command of a request that has entered, after the commands of the same kind and
    /// sale.
    pub fn push(&mut self, ticket: &Ticket, command: Command, allowance: u32, now_ms: u64) {
        self.enqueue(ticket.0.index, command, allowance, now_ms);
    }

    /// The same for a command without a waiter.
    pub fn push_unattended(
        &mut self,
        sale: &SaleId,
        is_known: bool,
        command: Command,
        now_ms: u64,
    ) {
        let line = self.queue_of(sale, is_known);
        let waiting =
            Waiting { waiter: None, has_place: false, queue: line, stage: Stage::Awaited };
        let index = self.waiting.insert(waiting).index;
        self.enqueue(index, command, 0, now_ms);
    }

    fn enqueue(&mut self, index: u32, command: Command, allowance: u32, submitted_ms: u64) {
        let line_id = self.record(index).queue;
        let line = self.queues[line_id as usize].as_mut().expect("a line in use");
        let class = match (line.is_known, command.may_overtake()) {
            (false, _) => Class::UnknownSale,
            (true, true) => Class::ReadOnly,
            (true, false) => Class::Change,
        };
        let looks = class == Class::ReadOnly;
        line.purchases += u32::from(matches!(command, Command::Reserve(_)));
        let list = line.list(looks);
        list.count += 1;
        let previous = std::mem::replace(&mut list.last, index);
        if previous == NONE {
            list.first = index;
        }
        if list.turn.is_none() {
            list.turn = Some(class);
            self.turns[class as usize].push_back(line_id);
        }
        if let Some(Waiting { stage: Stage::Queued(before), .. }) = self.waiting.at(previous) {
            before.next = index;
        }
        let queued =
            Queued { command, allowance, submitted_ms, read_only: looks, previous, next: NONE };
        self.record(index).stage = Stage::Queued(queued);
        self.commands += 1;
    }

    /// Stores the answer to a request, and returns its waiter. Returns the answer as an error if
    /// nobody waits for it any more.
    #[expect(clippy::result_large_err, reason = "it is moved on, and a box would be an allocation")]
    pub fn answer(
        &mut self,
        ticket: TicketNumber,
        answer: Answer,
        command: Option<Command>,
    ) -> Result<Option<W>, Answered> {
        let Some(waiting) = self.waiting.get(ticket) else { return Err((answer, command)) };
        debug_assert!(matches!(waiting.stage, Stage::Awaited), "answered twice, or not sent");
        waiting.stage = Stage::Answered((answer, command));
        Ok(waiting.waiter.take())
    }

    /// Takes an answer, if it is there, and frees the place of its request.
    pub fn take_answer(&mut self, ticket: Ticket) -> Result<Answered, Ticket> {
        match self.waiting.get(ticket.0) {
            Some(Waiting { stage: Stage::Answered(_), .. }) => {}
            _ => return Err(ticket),
        }
        match self.remove(ticket.0) {
            Some(Stage::Answered(answered)) => Ok(answered),
            _ => Err(ticket),
        }
    }

    /// Sets the waiter of a ticket.
    pub fn set_waiter(&mut self, ticket: &Ticket, who: W) {
        if let Some(waiting) = self.waiting.get(ticket.0) {
            waiting.waiter = Some(who);
        }
    }

    /// Abandons a request. If its command was not sent, removes it and returns its units of
    /// allowance. Returns `None` if it was sent, which is not undone, or had no command.
    pub fn give_up(&mut self, ticket: Ticket) -> Option<u32> {
        let queued = matches!(self.waiting.get(ticket.0)?.stage, Stage::Queued(_));
        let allowance = queued.then(|| self.unqueue(ticket.0.index).0.allowance);
        self.remove(ticket.0);
        allowance
    }

    /// Whether somebody waits for this ticket.
    pub fn waits(&mut self, ticket: TicketNumber) -> bool {
        self.waiting.get(ticket).is_some()
    }

    /// Removes a record that is in no list.
    fn remove(&mut self, key: Key) -> Option<Stage> {
        let Waiting { has_place, queue: line, stage, .. } = self.waiting.remove(key)?;
        if has_place {
            self.queue(line).places -= 1;
            self.places -= 1;
            self.drop_if_idle(line);
        }
        Some(stage)
    }

    fn record(&mut self, index: u32) -> &mut Waiting<W> {
        self.waiting.at(index).expect("a record in use")
    }

    fn queue(&mut self, id: u32) -> &mut SaleQueue {
        self.queues[id as usize].as_mut().expect("a line in use")
    }

    /// The queue of a sale, a new one if there is none.
    fn queue_of(&mut self, sale: &SaleId, is_known: bool) -> u32 {
        let is_last =
            |line: &Option<SaleQueue>| line.as_ref().is_some_and(|line| line.sale == *sale);
        if !self.queues.get(self.last as usize).is_some_and(is_last) {
            self.last = match self.queue_ids.get(sale) {
                Some(&id) => id,
                None => self.add_queue(sale),
            };
        }
        let line = self.queues[self.last as usize].as_mut().expect("a line in use");
        if std::mem::take(&mut line.is_idle) {
            self.idle -= 1;
            // Another sale may have this name by now.
            line.is_known = false;
        }
        line.is_known |= is_known;
        self.last
    }

    fn add_queue(&mut self, sale: &SaleId) -> u32 {
        let line = Some(SaleQueue {
            sale: sale.clone(),
            is_known: false,
            places: 0,
            reads: CommandList::default(),
            changes: CommandList::default(),
            purchases: 0,
            group: NONE,
            is_idle: false,
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.queues[id as usize] = line;
                id
            }
            None => {
                self.queues.push(line);
                self.queues.len() as u32 - 1
            }
        };
        self.queue_ids.insert(sale.clone(), id);
        id
    }

    /// Drops a queue that is not needed, unless the ledger knows its sale: then the queue is kept
    /// for a while, since a hot sale is used again soon. A queue with a turn to come is dropped
    /// after that turn.
    fn drop_if_idle(&mut self, id: u32) {
        let Some(line) = self.queues[id as usize].as_mut().filter(|line| line.may_idle()) else {
            return;
        };
        if !line.is_known {
            return self.drop_queue(id);
        }
        line.is_idle = true;
        self.idle += 1;
        if self.idle > IDLE_QUEUES_MAX {
            self.drop_idle();
        }
    }

    fn drop_idle(&mut self) {
        for id in 0..self.queues.len() as u32 {
            if self.queues[id as usize].as_ref().is_some_and(|line| line.is_idle) {
                self.drop_queue(id);
            }
        }
        self.idle = 0;
    }

    fn drop_queue(&mut self, id: u32) {
        if let Some(line) = self.queues[id as usize].take() {
            self.queue_ids.remove(&line.sale);
            self.free.push(id);
        }
    }
}

#[cfg(test)]
#[path = "queue/queue_tests.rs"]
mod tests;
