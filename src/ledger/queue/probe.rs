//! What waits, for a simulation that checks that each sale gets its share.

use super::{Queues, Stage, Waiting, WaitingChanges};

impl<W> Queues<W> {
    /// The changes that wait to be sent, of each sale that has some.
    pub fn waiting_changes(&mut self) -> Vec<WaitingChanges> {
        let mut found = Vec::new();
        for line in self.queues.iter().flatten() {
            let (mut count, mut allowance, mut oldest_ms) = (0, 0, u64::MAX);
            let mut next = line.changes.first;
            while let Some(Waiting { stage: Stage::Queued(queued), .. }) = self.waiting.at(next) {
                next = queued.next;
                count += 1;
                allowance += u64::from(queued.allowance);
                oldest_ms = oldest_ms.min(queued.submitted_ms);
            }
            if count > 0 {
                let (sale, is_known) = (line.sale.clone(), line.is_known);
                found.push(WaitingChanges { sale, is_known, count, allowance, oldest_ms });
            }
        }
        found
    }
}
