//! Throttles a log line that clients could cause at will. Lines that were left out are counted.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::limits::LOG_REPEAT_MS;

/// The throttle of one cause: one `static` each, shared by all threads. It is for rare events.
#[derive(Debug, Default)]
pub struct LogThrottle {
    /// When the next line is allowed, in ms since the first call of the process; 0: at once.
    next_ms: AtomicU64,
    left_out: AtomicU64,
}

impl LogThrottle {
    /// A throttle that allows the next line.
    pub const fn new() -> Self {
        Self { next_ms: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// If a line is allowed now: the number of lines left out since the last one.
    pub fn now(&self) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        let now_ms = START.get_or_init(Instant::now).elapsed().as_millis() as u64;
        self.at(now_ms)
    }

    fn at(&self, now_ms: u64) -> Option<u64> {
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let later_ms = now_ms + LOG_REPEAT_MS;
        let is_due = now_ms >= next_ms;
        // Of several threads at the same time, one writes the line.
        if is_due
            && self
                .next_ms
                .compare_exchange(next_ms, later_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_lines_are_throttled_and_counted() {
        let seldom = LogThrottle::new();
        assert_eq!([0, 1, LOG_REPEAT_MS - 1].map(|ms| seldom.at(ms)), [Some(0), None, None]);
        assert_eq!([LOG_REPEAT_MS, LOG_REPEAT_MS + 1].map(|ms| seldom.at(ms)), [Some(2), None]);
        assert_eq!(seldom.at(5 * LOG_REPEAT_MS), Some(1));
        assert_eq!(seldom.at(9 * LOG_REPEAT_MS), Some(0));
    }
}
