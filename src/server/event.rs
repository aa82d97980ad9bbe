//! The events of the main thread.

use std::io;

use super::succession::Successor;
use crate::config::Config;
use crate::engine;
use crate::ledger::embedded::OpenError;
use crate::ledger::link::LinkState;
use crate::sale::{SaleId, SaleView};

/// An event of the main thread.
pub enum Event {
    /// SIGTERM or SIGINT.
    Signal,
    /// A core could not be started.
    Failed(io::Error),
    /// The ledger link of the core with this index has changed.
    Link(usize, LinkState),
    /// The state of a sale at the start.
    Sale(SaleId, SaleStart),
    /// A core has no connection left.
    Drained,
    /// SIGUSR2: hand over to a new process.
    HandOver,
    /// The new process is ready to take over, or why it is not.
    Successor(io::Result<Successor>),
    /// The embedded ledger of the previous process is open, or why it can't be opened.
    LedgerOpen(Result<(), OpenError>),
    /// New times for the shutdown.
    DrainTimes(DrainTimes),
}

/// The times of a shutdown.
#[derive(Debug, Clone, Copy)]
pub struct DrainTimes {
    /// Time before the drain in which the server serves but is not ready.
    pub delay_ms: u64,
    /// Maximum time for the drain.
    pub timeout_ms: u64,
}

impl From<&Config> for DrainTimes {
    fn from(config: &Config) -> Self {
        Self { delay_ms: config.drain_delay_ms, timeout_ms: config.drain_timeout_ms }
    }
}

impl From<engine::core::Event> for Event {
    fn from(event: engine::core::Event) -> Self {
        match event {
            engine::core::Event::Failed(error) => Self::Failed(error),
            engine::core::Event::Drained => Self::Drained,
        }
    }
}

/// The state of a sale at the start.
#[derive(Debug)]
pub enum SaleStart {
    /// It was created.
    Created(SaleView),
    /// It existed before, perhaps with other terms.
    Existing(SaleView),
    /// It does not exist, and was not to be created.
    Missing,
    /// The ledger refuses its stored data, for this reason. The server keeps trying.
    Refused(String),
}
