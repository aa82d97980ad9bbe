//! Where a core's link to its ledger lives, and how it stands. One link takes the batches of one core.

use crate::engine::core::Core;
use crate::ledger::batch::Batcher;

/// How a core's link to the ledger stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// It carries batches.
    Up,
    /// It does not.
    Away {
        /// What went wrong.
        reason: String,
        /// Trying again is of no use until somebody changes something.
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

/// What a link is given by its core.
pub struct Site {
    /// Whose coroutine it is.
    pub core: &'static Core,
    /// From where it takes batches.
    pub batcher: &'static Batcher,
    /// Hears how it stands.
    pub report: Box<dyn Fn(LinkState)>,
}

impl Site {
    /// Tells how the link stands.
    pub fn report(&self, state: LinkState) {
        (self.report)(state);
    }
}
