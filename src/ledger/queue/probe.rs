//! What waits, for a simulation that checks that each sale gets its share.

use super::{Class, Queues, Stage, Waiting, WaitingChanges};

impl<W> Queues<W> {
    /// The changes that wait to be sent, of each sale that has some.
    pub fn waiting_changes(&mut self) -> Vec<WaitingChanges> {
        let mut found = Vec::new();
        for line in self.queues.iter().flatten() {
            let (mut count, mut allowance, mut oldest_ms) = (0, 0, u64::MAX);
            let mut next = line.changes.first;
            // A glance may wait although there is room.
            let may_be_taken = self.waiting.at(next).is_some_and(|first| {
                matches!(&first.stage, Stage::Queued(queued) if !queued.command.may_overtake())
            });
            let is_in_turn = may_be_taken && line.changes.turn == Some(Class::Change);
            while let Some(Waiting { stage: Stage::Queued(queued), .. }) = self.waiting.at(next) {
                next = queued.next;
                count += 1;
                allowance += u64::from(queued.allowance);
                oldest_ms = oldest_ms.min(queued.submitted_ms);
            }
            if count > 0 {
                let sale = line.sale.clone();
                found.push(WaitingChanges { sale, is_in_turn, count, allowance, oldest_ms });
            }
        }
        found
    }
}
