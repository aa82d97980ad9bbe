//! The link of a core to whichever ledger its server has.

use std::rc::Rc;

use stampede::clock::Clock;
use stampede::purchase::Seller;

use super::redis::{self, Outgoing};
use crate::embedded::{self, Way};
use crate::oracle::TakenBatch;
use crate::redis::Reply;
use crate::task::Turns;

/// See the module's header.
pub enum Link {
    /// To a node.
    Redis(redis::Link),
    /// To the ledger of the same process.
    Embedded(embedded::Link),
}

impl Link {
    /// Starts the link of the core of this number. `way`: to the embedded ledger, if there is one.
    pub fn start(
        turns: &Turns,
        (core, way): (usize, Option<Way>),
        seller: &'static Seller,
        clock: Rc<Clock>,
    ) -> Self {
        match way {
            None => Self::Redis(redis::Link::start(turns, seller, clock)),
            Some(way) => Self::Embedded(embedded::Link::start(turns, (core, way), seller, clock)),
        }
    }

    /// A message of a node has come.
    pub fn receive(&self, session: u32, reply: Reply) {
        if let Self::Redis(link) = self {
            link.receive(session, reply);
        }
    }

    /// The connection of a session has ended.
    pub fn line_ended(&self, session: u32) {
        if let Self::Redis(link) = self {
            link.line_ended(session);
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
