//! What a core counts of what it asks its ledger, for operators.

use crate::count::{Gauge, Histogram};

/// See the module's header.
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
