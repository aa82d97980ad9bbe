//! A running server, as whoever is no core sees it: settings, and atomics that the cores keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::Config;
use crate::engine::core::Engine;
use crate::ledger::counts::StoreCounts;
use crate::patience::Patience;
use crate::purchase::Selling;
use crate::stat_log::StatLogCounters;
use crate::trust::SharedTrust;
use crate::turnstile::SharedTurnstile;
use crate::upkeep::Upkeep;

/// See the module's header.
pub struct Status {
    /// The validated configuration, as it was at the start.
    pub config: Config,
    /// Its cores.
    pub engine: Arc<Engine>,
    /// Whom they believe.
    pub trust: Arc<SharedTrust>,
    /// What stands before a purchase.
    pub turnstile: Arc<SharedTurnstile>,
    /// What they sell with.
    pub selling: Arc<Selling>,
    /// How long its cores wait for the ledger.
    pub patience: Arc<Patience>,
    /// Set while another process takes over: the server as a whole stays ready.
    pub hands_over: AtomicBool,
    /// Cores whose link to the ledger carries batches.
    pub ledger_up: Box<[AtomicBool]>,
    /// What the thread of an embedded ledger tells of itself.
    pub store: Option<Arc<StoreCounts>>,
    /// The same of the other threads.
    pub upkeep: Arc<Upkeep>,
    /// The log of attempts, if there is one.
    pub stat_log: Option<Arc<StatLogCounters>>,
}

impl Status {
    /// Whether it is about to end, and nobody takes over.
    pub fn is_leaving(&self) -> bool {
        self.engine.is_leaving() && !self.hands_over.load(Ordering::Relaxed)
    }

    /// Whether any core reaches the ledger.
    pub fn ledger_is_up(&self) -> bool {
        self.ledger_up.iter().any(|up| up.load(Ordering::Relaxed))
    }
}
