//! How many requests may wait for a ledger, and how long: settings that may change while it is asked.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// See the module's header. All cores of a server share one.
pub struct Patience {
    /// `usize::MAX`: as many as there are.
    waiting_max: AtomicUsize,
    answer_deadline_ms: AtomicU64,
}

impl Patience {
    /// `waiting_max`: requests of one core that may wait, if there is such a bound.
    pub fn new(waiting_max: Option<usize>, answer_deadline_ms: u64) -> Self {
        Self {
            waiting_max: waiting_max.unwrap_or(usize::MAX).into(),
            answer_deadline_ms: answer_deadline_ms.into(),
        }
    }

    /// It is this from now on. Who waits already goes on to wait.
    pub fn change(&self, waiting_max: Option<usize>, answer_deadline_ms: u64) {
        self.waiting_max.store(waiting_max.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.answer_deadline_ms.store(answer_deadline_ms, Ordering::Relaxed);
    }

    /// Requests of one core that may wait for an answer, if there is such a bound.
    pub fn waiting_max(&self) -> Option<usize> {
        let most = self.waiting_max.load(Ordering::Relaxed);
        (most != usize::MAX).then_some(most)
    }

    /// Time a batch may take, in ms.
    pub fn answer_deadline_ms(&self) -> u64 {
        self.answer_deadline_ms.load(Ordering::Relaxed)
    }
}
