//! The link of a core to whichever ledger its server has.

use super::redis;
use super::wire::{Incoming, Outgoing};
use crate::embedded;
use crate::oracle::TakenBatch;

/// See the module's header.
pub enum Link {
    /// To a node.
    Redis(redis::Link),
    /// To the ledger of the same process.
    Embedded(embedded::Link),
}

impl Link {
    /// Something has come in a session with a node.
    pub fn receive(&self, session: u32, incoming: Incoming) {
        if let Self::Redis(link) = self {
            link.receive(session, incoming);
        }
    }

    /// A session with a node was opened in this term.
    pub fn opened(&self, session: u32, term: u64) {
        if let Self::Redis(link) = self {
            link.opened(session, term);
        }
    }

    /// The server has heard of a later term. Returns whether that ends a session.
    pub fn term_ended(&self) -> bool {
        match self {
            Self::Redis(link) => link.term_ended(),
            Self::Embedded(_) => false,
        }
    }

    /// Lets it run, when the driver settles, if something has come. Returns whether it does.
    pub fn wake_if_ready(&self) -> bool {
        match self {
            Self::Redis(link) => link.wake_if_ready(),
            Self::Embedded(link) => link.wake_if_ready(),
        }
    }

    /// Lets it run, when the driver settles, if its deadline has passed.
    pub fn wake_if_overdue(&self, now_ms: u64) {
        match self {
            Self::Redis(link) => link.wake_if_overdue(now_ms),
            Self::Embedded(link) => link.wake_if_overdue(now_ms),
        }
    }

    /// Takes the next of what it sends to a node.
    pub fn take_outgoing(&self) -> Option<Outgoing> {
        match self {
            Self::Redis(link) => link.take_outgoing(),
            Self::Embedded(_) => None,
        }
    }

    /// The next of the batches that were taken, if the link notes them.
    pub fn take_taken(&self) -> Option<TakenBatch> {
        match self {
            Self::Redis(link) => link.take_taken(),
            Self::Embedded(_) => None,
        }
    }

    /// Whether it has sent something to the ledger of its process since it was asked.
    pub fn take_sent(&self) -> bool {
        match self {
            Self::Redis(_) => false,
            Self::Embedded(link) => link.take_sent(),
        }
    }

    /// Tells it to end, when the driver settles.
    pub fn end(&self) {
        match self {
            Self::Redis(link) => link.end(),
            Self::Embedded(link) => link.end(),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Redis(link) => link.has_ended(),
            Self::Embedded(link) => link.has_ended(),
        }
    }
}
