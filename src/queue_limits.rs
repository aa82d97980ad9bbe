//! How many requests may wait for a ledger, and for how long. Both may change at run time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// See the module's header. All cores of a server share one.
pub struct QueueLimits {
    /// `usize::MAX`: no bound.
    waiting_max: AtomicUsize,
    answer_deadline_ms: AtomicU64,
}

impl QueueLimits {
    /// `waiting_max`: number of requests per core that may wait, if there is a bound.
    pub fn new(waiting_max: Option<usize>, answer_deadline_ms: u64) -> Self {
        Self {
            waiting_max: waiting_max.unwrap_or(usize::MAX).into(),
            answer_deadline_ms: answer_deadline_ms.into(),
        }
    }

    /// Changes the limits. Requests that are waiting already stay.
    pub fn set(&self, waiting_max: Option<usize>, answer_deadline_ms: u64) {
        self.waiting_max.store(waiting_max.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.answer_deadline_ms.store(answer_deadline_ms, Ordering::Relaxed);
    }

    /// Number of requests per core that may wait, if there is a bound.
    pub fn waiting_max(&self) -> Option<usize> {
        let most = self.waiting_max.load(Ordering::Relaxed);
        (most != usize::MAX).then_some(most)
    }

    /// Maximum time for a batch, in ms.
    pub fn answer_deadline_ms(&self) -> u64 {
        self.answer_deadline_ms.load(Ordering::Relaxed)
    }
}
