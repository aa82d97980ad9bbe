//! What waits on one core to be sent to the ledger: a queue per sale, from which batches are taken
//! in turn.
//!
//! Within one sale, first come is first served; but what only looks (an operator's question, a view)
//! has a queue of its own and never stands behind purchases. Between sales, each that has something
//! to send gets the same share of a batch, and one whose turn did not come is first in the next. So
//! a sale with thousands of waiting buyers costs the others of its core no more than its share. Names
//! that the ledger has not confirmed, which clients may invent, share one part of a batch.
//!
//! Nothing here is linear in the number of sales but looking for what is overdue, once per tick.
//!
//! Architecture invariant: no I/O, no clock, no coroutine. It does not know what a ticket is.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::{Batch, Group};
use crate::limits::{BATCH_MAX, BATCH_SCRIPTS_MAX, WAITING_SHARE};
use crate::sale::{Command, SaleId};

/// One command of a batch, on our side of the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Who waits for the outcome, if anybody does.
    pub(super) ticket: Option<usize>,
    /// Units of allowance taken for it, to give back unless it is granted.
    pub allowance: u32,
    /// When it was put into the queue, on the core's clock.
    pub(super) submitted_ms: u64,
}

/// Commands of one sale with our side of them, in order.
pub(super) type Sent = (SaleId, Vec<Entry>);

/// Names a sale's queue while somebody has a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineId(usize);

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

/// Commands in their order of arrival.
#[derive(Default)]
struct Fifo {
    commands: VecDeque<Command>,
    entries: VecDeque<Entry>,
    /// Whether a turn of this class is waiting for it.
    turn: Option<Class>,
}

/// What waits for one sale.
struct Line {
    sale: SaleId,
    /// The ledger has said that it exists.
    is_known: bool,
    /// Places that its requests have, from the moment they wait until they have their answer.
    places: usize,
    looks: Fifo,
    changes: Fifo,
    /// Which group of the batch that is being taken is this sale's.
    group: Option<usize>,
}

/// See the module's header.
#[derive(Default)]
pub(super) struct Queues {
    lines: HashMap<SaleId, usize>,
    slab: Vec<Option<Line>>,
    free: Vec<usize>,
    /// The line that was asked for last: mostly the next one, too.
    last: usize,
    turns: [VecDeque<usize>; 3],
    commands: usize,
    places: usize,
}

impl Queues {
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

    /// Takes one of `places_max` places for a request that concerns this sale. A sale may have up to
    /// [`WAITING_SHARE`] times as many as are left, so that however many want to wait for one, some
    /// are left for others. `None`: it has its share, or none is left.
    pub fn enter(&mut self, sale: &SaleId, is_known: bool, places_max: usize) -> Option<LineId> {
        let left = places_max.saturating_sub(self.places);
        let id = self.line_of(sale, is_known);
        let line = self.line(id);
        if line.places >= left.saturating_mul(WAITING_SHARE) {
            self.drop_if_idle(id);
            return None;
        }
        line.places += 1;
        self.places += 1;
        Some(LineId(id))
    }

    /// Gives a place back.
    pub fn leave(&mut self, LineId(id): LineId) {
        self.line(id).places -= 1;
        self.places -= 1;
        self.drop_if_idle(id);
    }

    /// Puts a command behind those of its sale that are like it.
    pub fn push(&mut self, sale: &SaleId, is_known: bool, command: Command, entry: Entry) {
        let id = self.line_of(sale, is_known);
        let line = self.line(id);
        let class = match (line.is_known, command.only_looks()) {
            (false, _) => Class::Stranger,
            (true, true) => Class::Look,
            (true, false) => Class::Change,
        };
        let fifo = if class == Class::Look { &mut line.looks } else { &mut line.changes };
        fifo.commands.push_back(command);
        fifo.entries.push_back(entry);
        if fifo.turn.is_none() {
            fifo.turn = Some(class);
            self.turns[class as usize].push_back(id);
        }
        self.commands += 1;
    }

    /// Takes a batch: up to [`BATCH_MAX`] commands in up to [`BATCH_SCRIPTS_MAX`] scripts, from all
    /// queues in turn. With it, our side of each of its groups.
    pub fn take(&mut self) -> (Batch, Vec<Sent>) {
        let mut taken = Taken::default();
        // First every class has its own share, then whoever still has something takes what is left.
        for class in Class::ALL {
            let share = |whole: usize| whole * class.share() / 16;
            self.take_turns(class, &mut taken, share(BATCH_MAX), share(BATCH_SCRIPTS_MAX));
        }
        for class in Class::ALL {
            self.take_turns(class, &mut taken, BATCH_MAX, BATCH_SCRIPTS_MAX);
        }
        for &id in &taken.lines {
            self.line(id).group = None;
            self.drop_if_idle(id);
        }
        (taken.batch, taken.sent)
    }

    /// Takes what was submitted before `oldest_ms` and has not been sent, by sale.
    pub fn take_overdue(&mut self, oldest_ms: u64) -> Vec<Sent> {
        self.remove(|fifo| {
            let count = fifo.entries.iter().take_while(|e| e.submitted_ms < oldest_ms).count();
            fifo.commands.drain(..count);
            fifo.entries.drain(..count).collect()
        })
    }

    /// Takes everything, by sale.
    pub fn take_all(&mut self) -> Vec<Sent> {
        self.remove(|fifo| {
            fifo.commands.clear();
            Vec::from(std::mem::take(&mut fifo.entries))
        })
    }

    /// Takes those of a sale's changes that `wanted` picks out, whatever stands before them.
    pub fn take_those(&mut self, sale: &SaleId, wanted: impl Fn(&Command) -> bool) -> Vec<Entry> {
        let Some(&id) = self.lines.get(sale) else { return Vec::new() };
        let fifo = &mut self.line(id).changes;
        let mut out = Vec::new();
        let commands = std::mem::take(&mut fifo.commands);
        let entries = std::mem::take(&mut fifo.entries);
        for (command, entry) in commands.into_iter().zip(entries) {
            if wanted(&command) {
                out.push(entry);
            } else {
                fifo.commands.push_back(command);
                fifo.entries.push_back(entry);
            }
        }
        self.commands -= out.len();
        out
    }

    fn line(&mut self, id: usize) -> &mut Line {
        self.slab[id].as_mut().expect("a line in use")
    }

    /// The sale's line, made if there is none.
    fn line_of(&mut self, sale: &SaleId, is_known: bool) -> usize {
        let is_last = |line: &Option<Line>| line.as_ref().is_some_and(|line| line.sale == *sale);
        if !self.slab.get(self.last).is_some_and(is_last) {
            self.last = match self.lines.get(sale) {
                Some(&id) => id,
                None => self.add_line(sale),
            };
        }
        self.line(self.last).is_known |= is_known;
        self.last
    }

    fn add_line(&mut self, sale: &SaleId) -> usize {
        let line = Some(Line {
            sale: sale.clone(),
            is_known: false,
            places: 0,
            looks: Fifo::default(),
            changes: Fifo::default(),
            group: None,
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.slab[id] = line;
                id
            }
            None => {
                self.slab.push(line);
                self.slab.len() - 1
            }
        };
        self.lines.insert(sale.clone(), id);
        id
    }

    /// Forgets a line that nobody needs. One whose turn is still to come goes when it does.
    fn drop_if_idle(&mut self, id: usize) {
        let idle = |line: &&Line| {
            line.places == 0 && line.looks.turn.is_none() && line.changes.turn.is_none()
        };
        if let Some(line) = self.slab[id].as_ref().filter(idle) {
            self.lines.remove(&line.sale);
            self.slab[id] = None;
            self.free.push(id);
        }
    }

    /// Gives the lines of one class their turns until the batch, or what the class may have of it
    /// now, is full.
    fn take_turns(&mut self, class: Class, taken: &mut Taken, commands: usize, scripts: usize) {
        let mut room = commands.min(BATCH_MAX - taken.commands);
        let mut scripts = scripts.min(BATCH_SCRIPTS_MAX - taken.scripts);
        let mut left_of_cycle = 0;
        while room > 0
            && scripts > 0
            && let Some(id) = self.turns[class as usize].pop_front()
        {
            if left_of_cycle == 0 {
                left_of_cycle = self.turns[class as usize].len() + 1;
            }
            let fair = (room / left_of_cycle).max(1);
            left_of_cycle -= 1;
            let line = self.line(id);
            let (count, new_scripts) = taken.take_from(id, line, class, fair, scripts);
            room -= count;
            scripts -= new_scripts;
            self.commands -= count;
            // The line's own class by now: its sale may have been confirmed meanwhile.
            let line = self.line(id);
            let next =
                if class == Class::Stranger && line.is_known { Class::Change } else { class };
            let fifo = line.fifo(class);
            let more = !fifo.entries.is_empty();
            fifo.turn = more.then_some(next);
            if more {
                self.turns[next as usize].push_back(id);
            } else {
                self.drop_unless_taken(id);
            }
        }
    }

    /// As [`drop_if_idle`](Self::drop_if_idle), but for one with a group in the batch that is being
    /// taken: it goes when the batch is complete.
    fn drop_unless_taken(&mut self, id: usize) {
        if self.line(id).group.is_none() {
            self.drop_if_idle(id);
        }
    }

    fn remove(&mut self, mut from: impl FnMut(&mut Fifo) -> Vec<Entry>) -> Vec<Sent> {
        let mut removed = Vec::new();
        for line in self.slab.iter_mut().flatten() {
            for fifo in [&mut line.looks, &mut line.changes] {
                if fifo.entries.is_empty() {
                    continue;
                }
                let entries = from(fifo);
                if !entries.is_empty() {
                    self.commands -= entries.len();
                    removed.push((line.sale.clone(), entries));
                }
            }
        }
        removed
    }
}

impl Line {
    fn fifo(&mut self, class: Class) -> &mut Fifo {
        if class == Class::Look { &mut self.looks } else { &mut self.changes }
    }
}

/// A batch that is being taken.
#[derive(Default)]
struct Taken {
    batch: Batch,
    sent: Vec<Sent>,
    /// Whose groups they are.
    lines: Vec<usize>,
    commands: usize,
    scripts: usize,
}

impl Taken {
    /// Takes up to so many commands of a line, in up to so many new scripts. How many of both.
    fn take_from(
        &mut self,
        id: usize,
        line: &mut Line,
        class: Class,
        commands: usize,
        scripts: usize,
    ) -> (usize, usize) {
        let mut last = line.group.and_then(|group| self.batch.groups[group].commands.last());
        let fifo = if class == Class::Look { &mut line.looks } else { &mut line.changes };
        let (mut count, mut new_scripts) = (0, 0);
        for command in fifo.commands.iter().take(commands) {
            let joins = last.is_some_and(|last| last.joins(command));
            if !joins && new_scripts == scripts {
                break;
            }
            new_scripts += usize::from(!joins);
            count += 1;
            last = Some(command);
        }
        if count == 0 {
            return (0, 0);
        }
        let all = count == fifo.commands.len();
        let (commands, entries) = if all {
            let commands = std::mem::take(&mut fifo.commands).into();
            (commands, std::mem::take(&mut fifo.entries).into())
        } else {
            let commands: Vec<_> = fifo.commands.drain(..count).collect();
            (commands, fifo.entries.drain(..count).collect::<Vec<_>>())
        };
        match line.group {
            Some(group) => {
                self.batch.groups[group].commands.extend(commands);
                self.sent[group].1.extend(entries);
            }
            None => {
                line.group = Some(self.batch.groups.len());
                self.lines.push(id);
                self.batch.groups.push(Group { sale: line.sale.clone(), commands });
                self.sent.push((line.sale.clone(), entries));
            }
        }
        self.commands += count;
        self.scripts += new_scripts;
        (count, new_scripts)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
