//! What a core's link to its ledger gets from the core, and the state of the link. One link takes
//! the batches of one core.

use crate::engine::core::Core;
use crate::ledger::batch::Batcher;

/// The state of a core's link to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// It carries batches.
    Up,
    /// It does not.
    Away {
        /// What went wrong.
        reason: String,
        /// Retrying does not help until an operator changes something.
        fatal: bool,
    },
}

impl LinkState {
    /// Why it is away, if it is.
    pub fn away(&self) -> Option<&str> {
        match self {
            Self::Up => None,
            Self::Away { reason, .. } => Some(reason),
        }
    }
}

/// What a core gives to its link.
pub struct Site {
    /// The core on which the link's coroutine runs.
    pub core: &'static Core,
    /// The batcher from which it takes batches.
    pub batcher: &'static Batcher,
    /// Receives the state of the link.
    pub report: Box<dyn Fn(LinkState)>,
}

impl Site {
    /// Reports the state of the link.
    pub fn report(&self, state: LinkState) {
        (self.report)(state);
    }
}
