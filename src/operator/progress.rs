//! Progress of a long command, on standard error.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(2);

/// The progress of a command.
pub(super) struct Progress {
    what: &'static str,
    unit: &'static str,
    reported_at: Instant,
}

impl Progress {
    /// Progress that starts now. `unit` is the unit of the counts.
    pub(super) fn new(what: &'static str, unit: &'static str) -> Self {
        Self { what, unit, reported_at: Instant::now() }
    }

    /// Prints the progress, at most once per [`INTERVAL`].
    pub(super) fn report(&mut self, done: u64, total: u64) {
        if self.reported_at.elapsed() < INTERVAL {
            return;
        }
        self.reported_at = Instant::now();
        let (done, total) = match self.unit {
            "MB" => (done / 1_000_000, total / 1_000_000),
            _ => (done, total),
        };
        // Standard error may be closed.
        let _ = writeln!(io::stderr().lock(), "{}: {done} of {total} {}", self.what, self.unit);
    }
}
