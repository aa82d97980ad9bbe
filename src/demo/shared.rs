//! What the threads of a demonstration share.

use std::sync::{Condvar, PoisonError};
use std::time::Instant;

use super::tally::Tally;
use crate::audit::Report;
use crate::sync::{Mutex, lock};

/// The report of the audit, or why it is incomplete.
pub type Verdict = Result<Report, String>;

/// See the module's header.
#[derive(Default)]
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The counts of the crowd.
    pub tally: Mutex<Tally>,
    /// The result of the audit at the end of the sale.
    pub verdict: Mutex<Option<Verdict>>,
}

/// What wakes all threads when it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// The server has ended.
    pub stopped: bool,
    /// Every ticket is paid for.
    pub all_paid: bool,
}

impl Shared {
    /// The present state.
    pub fn state(&self) -> State {
        *lock(&self.state)
    }

    /// Sets [`State::stopped`].
    pub fn stop(&self) {
        self.change(|state| state.stopped = true);
    }

    /// Sets [`State::all_paid`]: refused buyers give up.
    pub fn note_all_paid(&self) {
        self.change(|state| state.all_paid = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Waits until this time, or until the state differs from `known`. Returns the state.
    pub fn sleep_until(&self, until: Instant, known: State) -> State {
        let mut state = lock(&self.state);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || *state != known {
                return *state;
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
