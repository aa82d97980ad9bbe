//! Removes commands from the queues that are not to be sent.

use super::{Class, Queued, Queues, Sent, SentCommand, Stage, Waiting};
use crate::sale::{Command, Creation, SaleId};

impl<W> Queues<W> {
    /// Takes the unsent commands that were submitted before `oldest_ms`, by sale.
    pub fn take_overdue(&mut self, oldest_ms: u64) -> Vec<Sent> {
        self.take_out(|queued| queued.submitted_ms < oldest_ms)
    }

    /// Takes all unsent commands, by sale.
    pub fn take_all(&mut self) -> Vec<Sent> {
        self.take_out(|_| true)
    }

    /// Removes a sale's unsent purchases, wherever they are in its queue. Purchases with a key
    /// stay, but become claim queries. Returns our records of the removed ones, and the units of
    /// allowance of those that stay.
    pub fn take_purchases(&mut self, sale: &SaleId) -> (Vec<SentCommand>, u64) {
        let (mut out, mut units) = (Vec::new(), 0);
        let Some(&id) = self.queue_ids.get(sale) else { return (out, units) };
        let mut next = self.queue(id).changes.first;
        while self.queue(id).purchases > 0
            && let Some(Waiting { stage: Stage::Queued(queued), .. }) = self.waiting.at(next)
        {
            let index = std::mem::replace(&mut next, queued.next);
            match std::mem::replace(&mut queued.command, Command::Show) {
                Command::Reserve(reserve) if reserve.key.is_some() => {
                    queued.command = Command::FindClaim(reserve, Creation::UNKNOWN);
                    units += u64::from(std::mem::take(&mut queued.allowance));
                    self.queue(id).purchases -= 1;
                }
                command => {
                    let keyless = matches!(command, Command::Reserve(_));
                    queued.command = command;
                    if keyless {
                        out.push(self.unqueue(index).0);
                    }
                }
            }
        }
        (out, units)
    }

    /// Removes a record from its list. A record without a waiter is freed.
    pub(super) fn unqueue(&mut self, index: u32) -> (SentCommand, Command) {
        let record = self.record(index);
        let (line, has_place) = (record.queue, record.has_place);
        let stage = std::mem::replace(&mut record.stage, Stage::Awaited);
        let Stage::Queued(queued) = stage else { unreachable!("it is in a queue") };
        let Queued { command, allowance, read_only: looks, previous, next, .. } = queued;
        match self.waiting.at(previous) {
            Some(Waiting { stage: Stage::Queued(before), .. }) => before.next = next,
            _ => self.queue(line).list(looks).first = next,
        }
        match self.waiting.at(next) {
            Some(Waiting { stage: Stage::Queued(behind), .. }) => behind.previous = previous,
            _ => self.queue(line).list(looks).last = previous,
        }
        self.queue(line).list(looks).count -= 1;
        self.queue(line).purchases -= u32::from(matches!(command, Command::Reserve(_)));
        self.commands -= 1;
        let key = self.waiting.key_at(index);
        if !has_place {
            self.waiting.remove_at(index);
        }
        (SentCommand { ticket: key.filter(|_| has_place), allowance }, command)
    }

    fn take_out(&mut self, wanted: impl Fn(&Queued) -> bool) -> Vec<Sent> {
        // Every queue with something to send waits for a turn.
        let of = |class: Class| self.turns[class as usize].iter().map(move |&id| (id, class));
        let all: Vec<_> = Class::ALL.into_iter().flat_map(of).collect();
        let mut removed = Vec::new();
        for (id, class) in all {
            let mut next = self.queue(id).list(class == Class::ReadOnly).first;
            let mut entries = Vec::new();
            while let Some(Waiting { stage: Stage::Queued(queued), .. }) = self.waiting.at(next)
                && wanted(queued)
            {
                let index = std::mem::replace(&mut next, queued.next);
                entries.push(self.unqueue(index).0);
            }
            if !entries.is_empty() {
                removed.push((self.queue(id).sale.clone(), entries));
            }
        }
        removed
    }
}
