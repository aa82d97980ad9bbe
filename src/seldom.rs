//! A line in the log that clients could cause at will, written once in a while with a count of what was
//! left out.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::limits::LOG_REPEAT_MS;

/// How often one cause has been logged. One `static` for each, shared by all threads: only what is
/// rare, or is logged already, comes here.
#[derive(Debug, Default)]
pub struct Seldom {
    /// When the next line may come, in ms since the first question of the process; 0: at once.
    next_ms: AtomicU64,
    left_out: AtomicU64,
}

impl Seldom {
    /// Nothing was logged yet.
    pub const fn new() -> Self {
        Self { next_ms: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Whether a line may come now: then how many were left out since the last one.
    pub fn now(&self) -> Option<u64> {
        static START: OnceLock<Instant> = OnceLock::new();
        let now_ms = START.get_or_init(Instant::now).elapsed().as_millis() as u64;
        self.at(now_ms)
    }

    fn at(&self, now_ms: u64) -> Option<u64> {
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let later_ms = now_ms + LOG_REPEAT_MS;
        let is_due = now_ms >= next_ms;
        // One of several threads that come at once has the line.
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
    fn a_line_comes_once_in_a_while_and_says_what_was_left_out() {
        let seldom = Seldom::new();
        assert_eq!([0, 1, LOG_REPEAT_MS - 1].map(|ms| seldom.at(ms)), [Some(0), None, None]);
        assert_eq!([LOG_REPEAT_MS, LOG_REPEAT_MS + 1].map(|ms| seldom.at(ms)), [Some(2), None]);
        assert_eq!(seldom.at(5 * LOG_REPEAT_MS), Some(1));
        assert_eq!(seldom.at(9 * LOG_REPEAT_MS), Some(0));
    }
}
