//! Counters of the ledger for operators: what a core sends, and what the thread of an embedded
//! ledger does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::count::{Gauge, Histogram, Moment};

/// What a core counts of its batches.
#[derive(Debug, Default)]
pub struct LedgerCounts {
    /// Commands per batch.
    pub commands: Histogram,
    /// How long the first command of a batch had waited, in ms.
    pub queued_ms: Histogram,
    /// From sending a batch until its answer, in microseconds.
    pub round_trip_us: Histogram,
    /// Requests that wait for an answer, as of the last tick.
    pub waiting: Gauge,
}

/// What the thread of an embedded ledger counts.
#[derive(Debug, Default)]
pub struct StoreCounts {
    /// How long each fdatasync of a record took, in microseconds.
    pub sync_us: Histogram,
    /// When the next expiry is due.
    pub expiry_due: Moment,
    /// The number of the last durable record.
    pub records: Gauge,
    /// The progress of the orders that are written from it.
    pub orders: OrdersCounts,
}

/// The progress of the orders of an embedded ledger. Their reader updates it.
#[derive(Debug, Default)]
pub struct OrdersCounts {
    is_known: AtomicBool,
    position: Gauge,
    /// Since when the oldest change that the orders lack has waited.
    pub behind: Moment,
}

impl OrdersCounts {
    /// Notes that the orders have everything up to this record.
    pub fn set_position(&self, records: u64) {
        self.position.set(records);
        self.is_known.store(true, Ordering::Release);
    }

    /// The record up to which the orders have everything, once their database has reported it.
    pub fn position(&self) -> Option<u64> {
        self.is_known.load(Ordering::Acquire).then(|| self.position.get())
    }

    /// Notes that no worker reads the missing changes: the orders are behind from now on, if they
    /// were not before.
    pub fn nobody_reads(&self) {
        if !self.behind.is_set() {
            self.behind.set(Instant::now());
        }
    }
}
