//! What is counted of the ledger, for operators: what a core asks it, and what an embedded ledger's own
//! thread does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::count::{Gauge, Histogram, Moment};

/// What a core counts of what it asks its ledger.
#[derive(Debug, Default)]
pub struct LedgerCounts {
    /// Commands by batch.
    pub commands: Histogram,
    /// For how long the first command of a batch had waited, in ms.
    pub queued_ms: Histogram,
    /// From when a batch left until it was answered, in microseconds.
    pub round_trip_us: Histogram,
    /// Requests that wait for an answer, as of the last tick.
    pub waiting: Gauge,
}

/// What the thread of an embedded ledger tells of itself.
#[derive(Debug, Default)]
pub struct StoreCounts {
    /// How long each fdatasync of a record took, in microseconds.
    pub sync_us: Histogram,
    /// When what expires is to be looked for next.
    pub expiry_due: Moment,
    /// How many records there are, up to the last one that is durable.
    pub records: Gauge,
    /// Of the orders that are written from it.
    pub orders: OrdersCounts,
}

/// How far the orders of an embedded ledger are. Their reader writes it.
#[derive(Debug, Default)]
pub struct OrdersCounts {
    is_known: AtomicBool,
    position: Gauge,
    /// Since when the oldest change has waited that the orders lack.
    pub behind: Moment,
}

impl OrdersCounts {
    /// The orders have everything of so many records.
    pub fn set_position(&self, records: u64) {
        self.position.set(records);
        self.is_known.store(true, Ordering::Release);
    }

    /// Of how many records the orders have everything, once their database has said so.
    pub fn position(&self) -> Option<u64> {
        self.is_known.load(Ordering::Acquire).then(|| self.position.get())
    }

    /// Nobody reads what the orders lack: they are behind from now on, if they were not.
    pub fn nobody_reads(&self) {
        if !self.behind.is_set() {
            self.behind.set(Instant::now());
        }
    }
}
