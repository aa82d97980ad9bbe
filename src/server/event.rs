//! What the main thread hears.

use std::io;

use super::succession::Successor;
use crate::config::Config;
use crate::engine;
use crate::ledger::embedded::OpenError;
use crate::ledger::link::LinkState;
use crate::sale::{SaleId, SaleView};

/// What the main thread hears.
pub enum Event {
    /// SIGTERM or SIGINT.
    Signal,
    /// A core could not be started.
    Failed(io::Error),
    /// The link to the ledger of the core of this number has changed.
    Link(usize, LinkState),
    /// A sale was looked after at the start.
    Sale(SaleId, SaleStart),
    /// A core has no connection left.
    Drained,
    /// SIGUSR2: a new process is to take over.
    HandOver,
    /// A process that was to take over could, or why it could not.
    Successor(io::Result<Successor>),
    /// The embedded ledger that another process had is open now, or why it can't be opened.
    LedgerOpen(Result<(), OpenError>),
    /// The end is to take other times than before.
    DrainTimes(DrainTimes),
}

/// How long the end of a server takes.
#[derive(Debug, Clone, Copy)]
pub struct DrainTimes {
    /// Time to serve on, not ready any more, before the drain.
    pub delay_ms: u64,
    /// Longest time for the drain.
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

/// What became of a sale at the start.
#[derive(Debug)]
pub enum SaleStart {
    /// It has been created.
    Created(SaleView),
    /// It was there before, perhaps not as asked.
    Existing(SaleView),
    /// Nobody asked for it to be created, and it is not there.
    Missing,
    /// The ledger refuses it for what is stored of it, and why. It is tried again.
    Refused(String),
}
