//! Taking out of the queues what is not to be sent any more.

use super::{Class, Entry, Queued, Queues, Sent, Stage, Waiting};
use crate::sale::{Command, Creation, SaleId};

impl<W> Queues<W> {
    /// Takes what was submitted before `oldest_ms` and has not been sent, by sale.
    pub fn take_overdue(&mut self, oldest_ms: u64) -> Vec<Sent> {
        self.take_out(|queued| queued.submitted_ms < oldest_ms)
    }

    /// Takes everything, by sale.
    pub fn take_all(&mut self) -> Vec<Sent> {
        self.take_out(|_| true)
    }

    /// Takes out a sale's purchases that have not been sent, whatever stands before them. Those with a
    /// key stay, but only to look for their claims. Gives what was taken out, and the units of
    /// allowance of those that stay.
    pub fn sift(&mut self, sale: &SaleId) -> (Vec<Entry>, u64) {
        let (mut out, mut units) = (Vec::new(), 0);
        let Some(&id) = self.lines.get(sale) else { return (out, units) };
        let mut next = self.line(id).changes.first;
        while self.line(id).purchases > 0
            && let Some(Waiting { stage: Stage::Queued(queued), .. }) = self.waiting.at(next)
        {
            let index = std::mem::replace(&mut next, queued.next);
            match std::mem::replace(&mut queued.command, Command::Show) {
                Command::Reserve(reserve) if reserve.key.is_some() => {
                    queued.command = Command::FindClaim(reserve, Creation::UNKNOWN);
                    units += u64::from(std::mem::take(&mut queued.allowance));
                    self.line(id).purchases -= 1;
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

    /// Takes a record out of its queue. What nobody waits for is gone then.
    pub(super) fn unqueue(&mut self, index: u32) -> (Entry, Command) {
        let record = self.record(index);
        let (line, has_place) = (record.line, record.has_place);
        let stage = std::mem::replace(&mut record.stage, Stage::Awaited);
        let Stage::Queued(queued) = stage else { unreachable!("it is in a queue") };
        let Queued { command, allowance, looks, previous, next, .. } = queued;
        match self.waiting.at(previous) {
            Some(Waiting { stage: Stage::Queued(before), .. }) => before.next = next,
            _ => self.line(line).list(looks).first = next,
        }
        match self.waiting.at(next) {
            Some(Waiting { stage: Stage::Queued(behind), .. }) => behind.previous = previous,
            _ => self.line(line).list(looks).last = previous,
        }
        self.line(line).list(looks).count -= 1;
        self.line(line).purchases -= u32::from(matches!(command, Command::Reserve(_)));
        self.commands -= 1;
        let key = self.waiting.key_at(index);
        if !has_place {
            self.waiting.remove_at(index);
        }
        (Entry { ticket: key.filter(|_| has_place), allowance }, command)
    }

    fn take_out(&mut self, wanted: impl Fn(&Queued) -> bool) -> Vec<Sent> {
        // Whatever has something to send waits for a turn.
        let of = |class: Class| self.turns[class as usize].iter().map(move |&id| (id, class));
        let all: Vec<_> = Class::ALL.into_iter().flat_map(of).collect();
        let mut removed = Vec::new();
        for (id, class) in all {
            let mut next = self.line(id).list(class == Class::Look).first;
            let mut entries = Vec::new();
            while let Some(Waiting { stage: Stage::Queued(queued), .. }) = self.waiting.at(next)
                && wanted(queued)
            {
                let index = std::mem::replace(&mut next, queued.next);
                entries.push(self.unqueue(index).0);
            }
            if !entries.is_empty() {
                removed.push((self.line(id).sale.clone(), entries));
            }
        }
        removed
    }
}
