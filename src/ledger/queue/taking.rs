//! Takes a batch from the queues of all sales in turn.

use std::collections::VecDeque;

use super::bounds::BatchBounds;
use super::{Class, NONE, Queued, Queues, Sent, SentCommand, Stage, Waiting};
use crate::ledger::{Batch, Group};
use crate::limits::BATCH_MAX;
use crate::planted::{self, Bug};
use crate::sale::Command;

/// A batch that is being taken.
#[derive(Default)]
struct Taken {
    batch: Batch,
    sent: Vec<Sent>,
    /// The queues of its groups.
    queues: Vec<u32>,
    commands: usize,
    scripts: usize,
    glances: usize,
    /// When the earliest of its commands was submitted, if there is any.
    first_ms: Option<u64>,
}

impl<W> Queues<W> {
    /// Sets the bounds of a batch.
    pub fn set_bounds(&mut self, bounds: BatchBounds) {
        self.bounds = bounds;
    }

    /// Takes a batch: up to [`BATCH_MAX`] commands, within its bounds, from all queues in turn.
    /// Also returns our records of each group.
    pub fn take(&mut self) -> (Batch, Vec<Sent>) {
        let scripts = self.bounds.scripts;
        let sales = self.turns.iter().map(VecDeque::len).sum::<usize>().min(BATCH_MAX);
        let mut taken = Taken {
            batch: Batch { groups: Vec::with_capacity(sales) },
            sent: Vec::with_capacity(sales),
            queues: Vec::with_capacity(sales),
            ..Taken::default()
        };
        // First each class takes its own share, then all classes take what is left.
        for class in Class::ALL {
            let share = |whole: usize| whole * class.share() / 16;
            self.take_turns(class, &mut taken, share(BATCH_MAX), share(scripts));
        }
        for class in Class::ALL {
            self.take_turns(class, &mut taken, BATCH_MAX, scripts);
        }
        for &id in &taken.queues {
            self.queue(id).group = NONE;
            self.drop_if_idle(id);
        }
        self.first_taken_ms = taken.first_ms;
        (taken.batch, taken.sent)
    }

    /// When the earliest command of the last batch was submitted.
    pub fn first_taken_ms(&self) -> Option<u64> {
        self.first_taken_ms
    }

    /// Gives the queues of one class their turns until the batch, or the class's share of it, is
    /// full.
    fn take_turns(&mut self, class: Class, taken: &mut Taken, commands: usize, scripts: usize) {
        let mut room = commands.min(BATCH_MAX - taken.commands);
        let mut scripts = scripts.min(self.bounds.scripts - taken.scripts);
        let mut left_of_cycle = 0;
        // Queues from which nothing may be taken now: they are first in the next batch.
        let mut passed = Vec::new();
        while room > 0
            && scripts > 0
            && let Some(id) = self.turns[class as usize].pop_front()
        {
            if left_of_cycle == 0 {
                left_of_cycle = self.turns[class as usize].len() + 1;
            }
            let fair = (room / left_of_cycle).max(1);
            left_of_cycle -= 1;
            let (count, new_scripts) =
                self.take_from(id, class == Class::ReadOnly, taken, fair, scripts);
            room -= count;
            scripts -= new_scripts;
            // The class may have changed: the sale may have been confirmed meanwhile.
            let line = self.queue(id);
            let next =
                if class == Class::UnknownSale && line.is_known { Class::Change } else { class };
            let list = line.list(class == Class::ReadOnly);
            let more = list.first != NONE;
            list.turn = more.then_some(next);
            if !more {
                self.drop_if_idle(id);
            } else if count == 0 {
                passed.push((next, id));
            } else if planted::is(Bug::RestPutFirst) {
                self.turns[next as usize].push_front(id);
            } else {
                self.turns[next as usize].push_back(id);
            }
        }
        for (class, id) in passed.into_iter().rev() {
            self.turns[class as usize].push_front(id);
        }
    }

    /// Takes up to `commands` commands from the front of a list, in up to `scripts` new scripts.
    /// Returns the number of both.
    fn take_from(
        &mut self,
        id: u32,
        looks: bool,
        taken: &mut Taken,
        commands: usize,
        scripts: usize,
    ) -> (usize, usize) {
        let line = self.queues[id as usize].as_mut().expect("a line in use");
        let first = line.list(looks).first;
        let most = commands.min(line.list(looks).count as usize);
        let is_new = line.group == NONE;
        let group = if is_new { taken.batch.groups.len() } else { line.group as usize };
        if is_new {
            let (sale, commands) = (line.sale.clone(), Vec::with_capacity(most));
            taken.batch.groups.push(Group { sale: sale.clone(), commands });
            taken.sent.push((sale, Vec::with_capacity(most)));
        }
        let (into, entries) = (&mut taken.batch.groups[group].commands, &mut taken.sent[group].1);
        let (mut next, mut count, mut new_scripts) = (first, 0, 0);
        while count < commands
            && let Some(record) = self.waiting.at(next)
            && let Stage::Queued(queued) = &record.stage
        {
            let is_glance = matches!(queued.command, Command::Peek { .. });
            if is_glance && taken.glances == self.bounds.views {
                break;
            }
            taken.glances += usize::from(is_glance);
            let joins = into.last().is_some_and(|last| last.joins(&queued.command));
            if !joins && !queued.command.is_cheap() && new_scripts == scripts {
                break;
            }
            new_scripts += usize::from(!joins && !queued.command.is_cheap());
            count += 1;
            let index = std::mem::replace(&mut next, queued.next);
            let has_place = record.has_place;
            let stage = std::mem::replace(&mut record.stage, Stage::Awaited);
            let Stage::Queued(Queued { command, allowance, submitted_ms, .. }) = stage else {
                break;
            };
            taken.first_ms = Some(taken.first_ms.map_or(submitted_ms, |ms| ms.min(submitted_ms)));
            line.purchases -= u32::from(matches!(command, Command::Reserve(_)));
            let ticket = self.waiting.key_at(index).filter(|_| has_place);
            if !has_place {
                self.waiting.remove_at(index);
            }
            into.push(command);
            entries.push(SentCommand { ticket, allowance });
        }
        let list = line.list(looks);
        list.first = next;
        list.count -= count as u32;
        match self.waiting.at(next) {
            Some(Waiting { stage: Stage::Queued(behind), .. }) => behind.previous = NONE,
            _ => list.last = NONE,
        }
        if count == 0 && is_new {
            taken.batch.groups.pop();
            taken.sent.pop();
        } else if is_new {
            line.group = group as u32;
            taken.queues.push(id);
        }
        self.commands -= count;
        taken.commands += count;
        taken.scripts += new_scripts;
        (count, new_scripts)
    }
}
