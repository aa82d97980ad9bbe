//! Time as a core sees it: read once a round of events, not once a request.
//!
//! Deadlines run on a monotonic clock in milliseconds since the process began; dates and the
//! ledger's times are wall-clock milliseconds since 1970.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds on the monotonic clock since the process began.
pub fn monotonic_ms() -> u64 {
    START.elapsed().as_millis() as u64
}

/// Milliseconds since 1970, UTC. 0 for a clock set before it.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A time in ms since 1970 as RFC 3339 in UTC, with milliseconds.
pub fn rfc3339(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(String::new, |time| format!("{time:.3}"))
}

/// A core's reading of both clocks, as old as its current round of events.
#[derive(Default)]
pub struct Clock {
    monotonic_ms: Cell<u64>,
    wall_ms: Cell<u64>,
}

impl Clock {
    /// Reads both clocks.
    pub fn refresh(&self) {
        self.monotonic_ms.set(monotonic_ms());
        self.wall_ms.set(wall_ms());
    }

    /// Milliseconds for deadlines.
    pub fn now_ms(&self) -> u64 {
        self.monotonic_ms.get()
    }

    /// Milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        self.wall_ms.get()
    }
}
