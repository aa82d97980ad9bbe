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
mod removal;
mod taking;

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::Failure;
use crate::limits::{LINES_IDLE_MAX, WAITING_SHARE};
use crate::sale::{Command, Outcome, SaleId};
use crate::slab::{Key, Slab};

pub use bounds::BatchBounds;

/// What a command becomes.
pub type Answer = Result<Outcome, Failure>;

/// Names a request that waits. Its answer must be taken, or it must be given up.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Ticket(Key);

/// The number by which an answer knows a ticket, also when that has been given up.
pub type TicketNumber = Key;

impl Ticket {
    /// Its number.
    pub fn number(&self) -> TicketNumber {
        self.0
    }
}

/// An answer with the command that it is about, unless the ledger has kept that.
pub type Answered = (Answer, Option<Command>);

/// One command of a batch, on our side of the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Whose it is, if anybody waits for the outcome. He may be gone by now.
    pub(super) ticket: Option<TicketNumber>,
    /// Units of allowance taken for it, to give back unless it is granted.
    pub allowance: u32,
}

/// Our side of the commands to one sale, in order.
pub(super) type Sent = (SaleId, Vec<Entry>);

/// What share of a batch a command competes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Only looks, at a sale that exists.
    Look,
    /// Changes a sale that exists, or tries to.
    Change,
    /// Concerns a name that the ledger has not confirmed.
    Stranger,
}

impl Class {
    const ALL: [Self; 3] = [Self::Look, Self::Change, Self::Stranger];

    /// Sixteenths of a batch that are its own, whatever the others have waiting.
    const fn share(self) -> usize {
        match self {
            Self::Look | Self::Stranger => 4,
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
    /// It stands in the queue of what only looks.
    looks: bool,
    /// The records before and behind it in its queue.
    previous: u32,
    next: u32,
}

/// How far what waits has come.
enum Stage {
    Queued(Queued),
    /// It was sent; or it waits for what somebody else has asked.
    Awaited,
    Answered(Answered),
}

/// What waits.
struct Waiting<W> {
    /// Whoever waits for it. `None`: nobody does, or he has been told.
    who: Option<W>,
    /// It has a place among those that may wait.
    has_place: bool,
    /// Its sale.
    line: u32,
    stage: Stage,
}

/// Commands in their order of arrival.
struct List {
    first: u32,
    last: u32,
    count: u32,
    /// Whether a turn of this class is waiting for it.
    turn: Option<Class>,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE, count: 0, turn: None }
    }
}

/// What waits for one sale: no more than a cache line, since with many hot sales each is met once in
/// a while.
struct Line {
    sale: SaleId,
    /// The ledger has said that it exists.
    is_known: bool,
    /// Places that its requests have, from the moment they wait until they have their answer.
    places: u32,
    looks: List,
    changes: List,
    /// Purchases among the latter.
    purchases: u32,
    /// Which group of the batch that is being taken is this sale's, or [`NONE`].
    group: u32,
    /// Nobody needs it: it is kept for the next who asks.
    is_idle: bool,
}

const _: () = assert!(size_of::<Line>() <= 64);

impl Line {
    fn list(&mut self, looks: bool) -> &mut List {
        if looks { &mut self.looks } else { &mut self.changes }
    }

    /// Whether it is in use and nobody needs it any more.
    fn may_idle(&self) -> bool {
        self.places == 0
            && self.looks.turn.is_none()
            && self.changes.turn.is_none()
            && self.group == NONE
            && !self.is_idle
    }
}

/// See the module's header. `W`: whoever waits.
pub(super) struct Queues<W> {
    waiting: Slab<Waiting<W>>,
    lines: HashMap<SaleId, u32>,
    slab: Vec<Option<Line>>,
    free: Vec<u32>,
    /// Lines that nobody needs.
    idle: usize,
    /// The line that was asked for last: mostly the next one, too.
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
            lines: HashMap::default(),
            slab: Vec::new(),
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

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// Places in use.
    pub fn places(&self) -> usize {
        self.places
    }

    /// Takes a place for a request that concerns this sale. Of `places_max` places, if there is such a
    /// bound, a sale may have up to [`WAITING_SHARE`] times as many as are left, so that however many
    /// want to wait for one, some are left for others. `None`: it has its share, or none is left.
    pub fn enter(
        &mut self,
        sale: &SaleId,
        is_known: bool,
        places_max: Option<usize>,
        who: Option<W>,
    ) -> Option<Ticket> {
        let line = self.line_of(sale, is_known);
        if let Some(places_max) = places_max {
            let left = places_max.saturating_sub(self.places);
            if self.line(line).places as usize >= left.saturating_mul(WAITING_SHARE) {
                self.drop_if_idle(line);
                return None;
            }
        }
        self.line(line).places += 1;
        self.places += 1;
        let waiting = Waiting { who, has_place: true, line, stage: Stage::Awaited };
        Some(Ticket(self.waiting.insert(waiting)))
    }

    /// Puts the command of a request that has entered behind those of its sale that are like it.
    pub fn push(&mut self, ticket: &Ticket, command: Command, allowance: u32, now_ms: u64) {
        self.enqueue(ticket.0.index, command, allowance, now_ms);
    }

    /// The same for one that nobody waits for.
    pub fn push_unattended(
        &mut self,
        sale: &SaleId,
        is_known: bool,
        command: Command,
        now_ms: u64,
    ) {
        let line = self.line_of(sale, is_known);
        let waiting = Waiting { who: None, has_place: false, line, stage: Stage::Awaited };
        let index = self.waiting.insert(waiting).index;
        self.enqueue(index, command, 0, now_ms);
    }

    fn enqueue(&mut self, index: u32, command: Command, allowance: u32, submitted_ms: u64) {
        let line_id = self.record(index).line;
        let line = self.slab[line_id as usize].as_mut().expect("a line in use");
        let class = match (line.is_known, command.may_overtake()) {
            (false, _) => Class::Stranger,
            (true, true) => Class::Look,
            (true, false) => Class::Change,
        };
        let looks = class == Class::Look;
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
        let queued = Queued { command, allowance, submitted_ms, looks, previous, next: NONE };
        self.record(index).stage = Stage::Queued(queued);
        self.commands += 1;
    }

    /// Notes the answer to a request; who is to be told. An error, with the answer: nobody waits for it
    /// any more.
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
        Ok(waiting.who.take())
    }

    /// Takes an answer, if it is there, with the place of its request.
    pub fn take_answer(&mut self, ticket: Ticket) -> Result<Answered, Ticket> {
        match self.waiting.get(ticket.0) {
            Some(Waiting { stage: Stage::Answered(_), .. }) => {}
            _ => return Err(ticket),
        }
        match self.leave(ticket.0) {
            Some(Stage::Answered(answered)) => Ok(answered),
            _ => Err(ticket),
        }
    }

    /// Says who waits for an answer from now on.
    pub fn set_who(&mut self, ticket: &Ticket, who: W) {
        if let Some(waiting) = self.waiting.get(ticket.0) {
            waiting.who = Some(who);
        }
    }

    /// Nobody waits for a request any more. One that was not sent is taken out: the units of allowance
    /// that were taken for it. `None`: it was sent, which is not undone, or had no command.
    pub fn give_up(&mut self, ticket: Ticket) -> Option<u32> {
        let queued = matches!(self.waiting.get(ticket.0)?.stage, Stage::Queued(_));
        let allowance = queued.then(|| self.unqueue(ticket.0.index).0.allowance);
        self.leave(ticket.0);
        allowance
    }

    /// Whether somebody waits for this.
    pub fn waits(&mut self, ticket: TicketNumber) -> bool {
        self.waiting.get(ticket).is_some()
    }

    /// Removes a record that is in no queue.
    fn leave(&mut self, key: Key) -> Option<Stage> {
        let Waiting { has_place, line, stage, .. } = self.waiting.remove(key)?;
        if has_place {
            self.line(line).places -= 1;
            self.places -= 1;
            self.drop_if_idle(line);
        }
        Some(stage)
    }

    fn record(&mut self, index: u32) -> &mut Waiting<W> {
        self.waiting.at(index).expect("a record in use")
    }

    fn line(&mut self, id: u32) -> &mut Line {
        self.slab[id as usize].as_mut().expect("a line in use")
    }

    /// The sale's line, made if there is none.
    fn line_of(&mut self, sale: &SaleId, is_known: bool) -> u32 {
        let is_last = |line: &Option<Line>| line.as_ref().is_some_and(|line| line.sale == *sale);
        if !self.slab.get(self.last as usize).is_some_and(is_last) {
            self.last = match self.lines.get(sale) {
                Some(&id) => id,
                None => self.add_line(sale),
            };
        }
        let line = self.slab[self.last as usize].as_mut().expect("a line in use");
        if std::mem::take(&mut line.is_idle) {
            self.idle -= 1;
            // Another sale may have its name by now.
            line.is_known = false;
        }
        line.is_known |= is_known;
        self.last
    }

    fn add_line(&mut self, sale: &SaleId) -> u32 {
        let line = Some(Line {
            sale: sale.clone(),
            is_known: false,
            places: 0,
            looks: List::default(),
            changes: List::default(),
            purchases: 0,
            group: NONE,
            is_idle: false,
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.slab[id as usize] = line;
                id
            }
            None => {
                self.slab.push(line);
                self.slab.len() as u32 - 1
            }
        };
        self.lines.insert(sale.clone(), id);
        id
    }

    /// Forgets a line that nobody needs, unless the ledger knows its sale: then it is kept for a while,
    /// since where many sales are hot each is asked for again soon. One whose turn is still to come
    /// goes when it does.
    fn drop_if_idle(&mut self, id: u32) {
        let Some(line) = self.slab[id as usize].as_mut().filter(|line| line.may_idle()) else {
            return;
        };
        if !line.is_known {
            return self.drop_line(id);
        }
        line.is_idle = true;
        self.idle += 1;
        if self.idle > LINES_IDLE_MAX {
            self.drop_idle();
        }
    }

    fn drop_idle(&mut self) {
        for id in 0..self.slab.len() as u32 {
            if self.slab[id as usize].as_ref().is_some_and(|line| line.is_idle) {
                self.drop_line(id);
            }
        }
        self.idle = 0;
    }

    fn drop_line(&mut self, id: u32) {
        if let Some(line) = self.slab[id as usize].take() {
            self.lines.remove(&line.sale);
            self.free.push(id);
        }
    }
}

#[cfg(test)]
#[path = "queue/queue_tests.rs"]
mod tests;
