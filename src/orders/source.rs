//! Where changes come from.

use std::time::Duration;

use crate::sale::Change;

/// Where changes come from: the streams in Redis, or the embedded ledger.
pub trait Source: Send {
    /// The next changes, about `max` at the most, waiting up to `wait` for the first. None: there
    /// was nothing.
    fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Change>, SourceError>;

    /// The database has everything that [`next`](Self::next) gave.
    fn acknowledge(&mut self) -> Result<(), SourceError>;

    /// Where a source that keeps no position of its own is: its name, and the version up to which
    /// everything has been given. To be written with what was given last, or after it.
    fn position(&self) -> Option<(String, u64)> {
        None
    }

    /// How far behind the orders are.
    fn lag(&mut self) -> Result<Lag, SourceError>;

    /// This worker ends in order, and has acknowledged what it could.
    fn leave(&mut self) {}

    /// What it has come across so far.
    fn counts(&self) -> SourceCounts {
        SourceCounts::default()
    }
}

/// What a source has come across.
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

/// Why a source gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It passes: try again.
    #[error("{0}")]
    Away(String),
    /// The operator must act.
    #[error("{0}")]
    Fatal(String),
}
