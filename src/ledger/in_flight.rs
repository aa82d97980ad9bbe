//! A batch that has left the queues, with our side of it.

use std::time::Instant;

use super::queue::Sent;
use super::{Batch, Group};

/// A batch that was taken to be sent: its commands, and our record of each.
#[derive(Debug)]
pub struct InFlightBatch {
    pub(super) batch: Batch,
    pub(super) entries: Vec<Sent>,
    /// When it was taken, on the core's clock.
    pub(super) asked_ms: u64,
    /// The same, on the system's clock.
    pub(super) taken: Instant,
}

impl InFlightBatch {
    /// The commands to send: one group per sale.
    pub fn groups(&self) -> &[Group] {
        &self.batch.groups
    }

    /// Takes the commands out, for a ledger on another thread. The waiters get their commands back
    /// with their answers if the batch is [put back](Self::put_back).
    pub fn take_batch(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// See [`take_batch`](Self::take_batch).
    pub fn put_back(&mut self, batch: Batch) {
        self.batch = batch;
    }

    /// The units of allowance taken for each of its sales.
    #[cfg(feature = "simulation")]
    pub fn allowance(&self) -> impl Iterator<Item = (&crate::sale::SaleId, u64)> {
        self.entries.iter().map(|(sale, entries)| {
            let units: u64 = entries.iter().map(|entry| u64::from(entry.allowance)).sum();
            (sale, units)
        })
    }

    /// Splits it into one batch per group, in order.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        let (asked_ms, taken) = (self.asked_ms, self.taken);
        self.batch.groups.into_iter().zip(self.entries).map(move |(group, entries)| Self {
            batch: Batch { groups: vec![group] },
            entries: vec![entries],
            asked_ms,
            taken,
        })
    }

    /// For a batch with one group: cuts off its commands from this one on.
    pub fn split_off(&mut self, at: usize) -> Self {
        let cut = |group: &mut Group| Group {
            sale: group.sale.clone(),
            commands: group.commands.split_off(at),
        };
        let groups = self.batch.groups.iter_mut().map(cut).collect();
        let cut =
            self.entries.iter_mut().map(|(sale, entries)| (sale.clone(), entries.split_off(at)));
        let (asked_ms, taken) = (self.asked_ms, self.taken);
        Self { batch: Batch { groups }, entries: cut.collect(), asked_ms, taken }
    }

    /// For batches with one group each, of the same sale: appends the other's commands.
    pub fn append(&mut self, other: Self) {
        self.asked_ms = self.asked_ms.min(other.asked_ms);
        for (group, more) in self.batch.groups.iter_mut().zip(other.batch.groups) {
            debug_assert_eq!(group.sale, more.sale);
            group.commands.extend(more.commands);
        }
        for ((_, entries), (_, more)) in self.entries.iter_mut().zip(other.entries) {
            entries.extend(more);
        }
    }
}
