//! The sources of changes.

use std::time::Duration;

use crate::sale::Change;

/// A source of changes: the streams in Redis, or the embedded ledger.
pub trait ChangeSource: Send {
    /// Returns the next changes, about `max` at most, and waits up to `wait` for the first. Empty:
    /// there were none.
    fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Change>, SourceError>;

    /// The database has everything that [`next`](Self::next) returned.
    fn acknowledge(&mut self) -> Result<(), SourceError>;

    /// The position of a source that keeps none itself: its name, and the version up to which
    /// everything has been delivered. Write it with the last delivered changes, or after them.
    fn position(&self) -> Option<(String, u64)> {
        None
    }

    /// How far the orders are behind.
    fn lag(&mut self) -> Result<Lag, SourceError>;

    /// This worker ends in order, and has acknowledged everything that it wrote.
    fn leave(&mut self) {}

    /// The counts of this source so far.
    fn counts(&self) -> SourceCounts {
        SourceCounts::default()
    }
}

/// The counts of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Entries acknowledged. 0 for a source without entries.
    pub entries: u64,
    /// Entries that could not be read. They are not acknowledged, and not counted as lag.
    pub unreadable: u64,
}

/// How far the orders are behind the reservations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Entries that no worker has acknowledged.
    pub entries: u64,
    /// Age of the oldest of them. 0: there is none.
    pub oldest_ms: u64,
}

/// Why a source fails.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It passes: retry.
    #[error("{0}")]
    Away(String),
    /// The operator must act.
    #[error("{0}")]
    Fatal(String),
}
