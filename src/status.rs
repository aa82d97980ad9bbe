//! A running server as seen from outside of its cores: settings, and atomics that the cores update.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::background::BackgroundStats;
use crate::config::Config;
use crate::engine::core::Engine;
use crate::gatekeeper::SharedGatekeeper;
use crate::ledger::counts::StoreCounts;
use crate::purchase::Selling;
use crate::queue_limits::QueueLimits;
use crate::stat_log::StatLogCounters;
use crate::trust::SharedTrust;

/// The status of a running server.
pub struct Status {
    /// The validated configuration at the start.
    pub config: Config,
    /// Its cores.
    pub engine: Arc<Engine>,
    /// Whom the cores trust.
    pub trust: Arc<SharedTrust>,
    /// The admission checks before a purchase.
    pub gatekeeper: Arc<SharedGatekeeper>,
    /// What the cores share for selling.
    pub selling: Arc<Selling>,
    /// How long the cores wait for the ledger.
    pub queue_limits: Arc<QueueLimits>,
    /// Set while another process takes over: the server as a whole stays ready.
    pub hands_over: AtomicBool,
    /// Cores whose link to the ledger carries batches.
    pub ledger_up: Box<[AtomicBool]>,
    /// The counters of the thread of an embedded ledger.
    pub store: Option<Arc<StoreCounts>>,
    /// The counters of the other threads.
    pub background: Arc<BackgroundStats>,
    /// The counters of `stat.log`, if there is one.
    pub stat_log: Option<Arc<StatLogCounters>>,
}

impl Status {
    /// Whether it is about to end without a successor.
    pub fn is_leaving(&self) -> bool {
        self.engine.is_leaving() && !self.hands_over.load(Ordering::Relaxed)
    }

    /// Whether any core reaches the ledger.
    pub fn ledger_is_up(&self) -> bool {
        self.ledger_up.iter().any(|up| up.load(Ordering::Relaxed))
    }
}
