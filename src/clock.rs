//! Time as a core sees it: read once a round of events, not once a request.
//!
//! Deadlines run on a monotonic clock in milliseconds since the process began; dates and the
//! ledger's times are wall-clock milliseconds since 1970. The embedded ledger's own time is
//! [`SteadyClock`]'s: a deadline must not come early because somebody set the machine's clock.

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

/// Difference between the machine's clock and a [`SteadyClock`] that is worth a line in the log.
const DRIFT_LOG_MS: i64 = 1000;

/// Milliseconds since 1970 that go on evenly, whatever happens to the machine's clock: they begin
/// with that clock, or later if the one they continue was ahead, and count the time that has passed
/// since (`CLOCK_BOOTTIME`, which runs also while the machine sleeps).
pub struct SteadyClock {
    wall_ms: Box<dyn FnMut() -> u64 + Send>,
    start_ms: u64,
    start_boot_ms: u64,
    /// How far ahead of the machine's clock it was when that was last logged.
    logged_ahead_ms: i64,
}

impl SteadyClock {
    /// A clock that continues one which had come to `last_ms`. `wall_ms` reads the machine's.
    pub fn new(last_ms: u64, mut wall_ms: impl FnMut() -> u64 + Send + 'static) -> Self {
        let (start_ms, start_boot_ms) = (last_ms.max(wall_ms()), boot_ms());
        Self { wall_ms: Box::new(wall_ms), start_ms, start_boot_ms, logged_ahead_ms: 0 }
    }

    /// The time. Says in the log when the machine's clock has come to differ.
    pub fn now_ms(&mut self) -> u64 {
        let wall_ms = (self.wall_ms)();
        self.at(boot_ms().saturating_sub(self.start_boot_ms), wall_ms)
    }

    fn at(&mut self, passed_ms: u64, wall_ms: u64) -> u64 {
        let now_ms = self.start_ms.saturating_add(passed_ms);
        let ahead_ms = now_ms.wrapping_sub(wall_ms) as i64;
        if (ahead_ms - self.logged_ahead_ms).abs() > DRIFT_LOG_MS {
            self.logged_ahead_ms = ahead_ms;
            if ahead_ms.abs() > DRIFT_LOG_MS {
                tracing::warn!(
                    ahead_ms,
                    "the ledger's time differs from this machine's clock, which was set; deadlines \
                     stay what they were. A restart takes on a clock that is ahead"
                );
            } else {
                tracing::info!(
                    ahead_ms,
                    "the ledger's time agrees with this machine's clock again"
                );
            }
        }
        now_ms
    }
}

/// Milliseconds since the machine was started.
fn boot_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn the_steady_clock_does_not_follow_jumps() {
        let mut clock = SteadyClock::new(0, || 10 * HOUR_MS);
        for (passed_ms, wall_ms) in
            [(0, 10 * HOUR_MS), (5, 11 * HOUR_MS), (6, 9 * HOUR_MS), (7, 0), (8, u64::MAX)]
        {
            assert_eq!(clock.at(passed_ms, wall_ms), 10 * HOUR_MS + passed_ms);
        }
    }

    #[test]
    fn the_steady_clock_goes_on_from_the_last_one() {
        // The machine's clock went back while nobody was there: time neither goes back nor stands.
        let mut clock = SteadyClock::new(10 * HOUR_MS, || 9 * HOUR_MS);
        assert_eq!(clock.at(0, 9 * HOUR_MS), 10 * HOUR_MS);
        assert_eq!(clock.at(250, 9 * HOUR_MS + 250), 10 * HOUR_MS + 250);
        let start_ms = clock.now_ms();
        while clock.now_ms() == start_ms {
            std::thread::yield_now();
        }
    }
}
