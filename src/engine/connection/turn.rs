//! The share of its core that a connection gets at a time.

use std::time::{Duration, Instant};

use crate::limits::{REQUESTS_AT_ONCE_MAX, REQUESTS_PER_TURN_MAX, TURN_TIME_US};

/// Requests of a turn after which the time is read.
const REQUESTS_PER_CLOCK_READ: u32 = 8;
/// Maximum length of a turn, after the first few requests.
const TURN_TIME: Duration = Duration::from_micros(TURN_TIME_US);

/// What is left of a connection's turn.
pub(super) struct Turn {
    /// Requests until the time is read next. 0: the turn is over.
    left: u32,
    /// Requests after that.
    more: u32,
    /// When the time was first read.
    since: Option<Instant>,
}

impl Turn {
    /// The turn of a connection that has an event.
    pub(super) const PROMPT: Self = Self { left: REQUESTS_AT_ONCE_MAX, more: 0, since: None };
    /// The turn of a connection that has waited for others.
    pub(super) const DEFERRED: Self = Self {
        left: REQUESTS_AT_ONCE_MAX,
        more: REQUESTS_PER_TURN_MAX - REQUESTS_AT_ONCE_MAX,
        since: None,
    };

    /// Counts one more request.
    #[inline]
    pub(super) fn count(&mut self) {
        self.left -= 1;
        if self.left == 0 && self.more > 0 {
            self.extend();
        }
    }

    /// Continues if there is time left.
    #[cold]
    fn extend(&mut self) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) < TURN_TIME {
            self.left = self.more.min(REQUESTS_PER_CLOCK_READ);
            self.more -= self.left;
        }
    }

    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Whether it was longer than the turn of an event.
    #[inline]
    pub(super) fn was_long(&self) -> bool {
        self.since.is_some()
    }
}
