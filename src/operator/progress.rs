//! What who waits at a terminal is told of a command that takes long: on the standard error.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(2);

/// How far something is.
pub(super) struct Progress {
    what: &'static str,
    unit: &'static str,
    told_at: Instant,
}

impl Progress {
    /// Of something that begins now. `unit` is what is counted.
    pub(super) fn new(what: &'static str, unit: &'static str) -> Self {
        Self { what, unit, told_at: Instant::now() }
    }

    /// Tells of it, now and then.
    pub(super) fn tell(&mut self, done: u64, total: u64) {
        if self.told_at.elapsed() < INTERVAL {
            return;
        }
        self.told_at = Instant::now();
        let (done, total) = match self.unit {
            "MB" => (done / 1_000_000, total / 1_000_000),
            _ => (done, total),
        };
        // Nobody may read it.
        let _ = writeln!(io::stderr().lock(), "{}: {done} of {total} {}", self.what, self.unit);
    }
}
