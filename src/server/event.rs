//! What the main thread hears.

use std::io;

use crate::engine;
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
