//! How much of its core a connection has at a time.

use std::time::{Duration, Instant};

use crate::limits::{REQUESTS_AT_ONCE_MAX, REQUESTS_PER_TURN_MAX, TURN_TIME_US};

/// Requests of a turn after which the time is read.
const REQUESTS_PER_CLOCK_READ: u32 = 8;
/// Time after which a turn ends, from the first few requests on.
const TURN_TIME: Duration = Duration::from_micros(TURN_TIME_US);

/// What a connection may still have of its core at a time.
pub(super) struct Turn {
    /// Requests before the time is read next. None: its turn is over.
    left: u32,
    /// Requests after that.
    more: u32,
    /// When it was read first.
    since: Option<Instant>,
}

impl Turn {
    /// That of a connection that something has come for.
    pub(super) const PROMPT: Self = Self { left: REQUESTS_AT_ONCE_MAX, more: 0, since: None };
    /// That of one that others were served before.
    pub(super) const DEFERRED: Self = Self {
        left: REQUESTS_AT_ONCE_MAX,
        more: REQUESTS_PER_TURN_MAX - REQUESTS_AT_ONCE_MAX,
        since: None,
    };

    /// It is given one more request.
    #[inline]
    pub(super) fn count(&mut self) {
        self.left -= 1;
        if self.left == 0 && self.more > 0 {
            self.go_on();
        }
    }

    /// Goes on if there is time left.
    #[cold]
    fn go_on(&mut self) {
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

    /// It was longer than one that is given at once.
    #[inline]
    pub(super) fn was_long(&self) -> bool {
        self.since.is_some()
    }
}
