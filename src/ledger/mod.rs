//! The ledger: the one source of truth for stock and reservations, and the contract that both kinds
//! (embedded, Redis) fulfil.
//!
//! A core sends [`Batch`]es. It gets one [`BatchReply`] for each, or a [`LedgerError`] that says
//! whether the batch can have had an effect. Everything in a reply is as durable as the ledger's
//! setting promises.
//!
//! Architecture invariant: a ledger knows no HTTP, no connection and no core's stock.

pub mod batch;
pub mod client;
pub mod copy;
pub mod counts;
pub mod embedded;
pub mod in_flight;
pub mod format;
pub mod gaps;
mod hooks;
pub mod ids;
pub mod link;
pub mod members;
mod queue;
pub mod redis;
pub mod refused;

use crate::sale::{Command, Outcome, SaleId};

/// Commands to one sale, applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The sale.
    pub sale: SaleId,
    /// At least one command.
    pub commands: Vec<Command>,
}

/// The commands that one core sends to the ledger in one round trip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// One group per sale.
    pub groups: Vec<Group>,
}

/// The answer to one [`Group`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReply {
    /// One outcome per command, in order.
    pub outcomes: Vec<Outcome>,
    /// Units of the sale that are left after the last command. `None`: there is no such sale.
    pub free: Option<u64>,
    /// The ledger's time, in ms since 1970.
    pub now_ms: u64,
}

/// The answer to one [`Batch`]: one reply per group, in order.
pub type BatchReply = Vec<GroupReply>;

/// Why a batch has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Nothing of it was carried out, and nothing will be: it may be sent again.
    #[error("the ledger refused: {0}")]
    Refused(String),
    /// It may or may not have been carried out.
    #[error("the ledger's answer was lost: {0}")]
    Lost(String),
}

/// Why a command has no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Too many requests wait, or it waited too long to be sent. It had no effect.
    Busy,
    /// The ledger is not reachable. The command had no effect.
    Unavailable,
    /// It was sent, and the answer was lost or is late. It may have had its effect.
    Unknown,
}

impl From<&LedgerError> for Failure {
    fn from(error: &LedgerError) -> Self {
        match error {
            LedgerError::Refused(_) => Self::Unavailable,
            LedgerError::Lost(_) => Self::Unknown,
        }
    }
}

#[cfg(test)]
pub mod fake;
#[cfg(test)]
mod refused_tests;
