//! What a core needs to sell: its ledger queues, its cache of the sales, its allowances.
//!
//! Architecture invariant: needs a clock and no core, so that a test can create one.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::counts::{CoreCounts, Counted, SaleCounts};
use super::flows::Flows;
use super::slot::SaleSlot;
use super::table::Sales;
use crate::clock::Clock;
use crate::ledger::Failure;
use crate::ledger::batch::Batcher;
use crate::ledger::refused::RefusedSales;
use crate::stat_log::StatLogBuffer;
use crate::stock::{Allowances, Fleet, LatchReason, StockSetting};
use crate::trace::Trace;

/// What the cores of an instance share for selling: settings, and counters that each core writes on
/// its own cache line.
pub struct Selling {
    /// The instance's allowance of each sale.
    pub stock: StockSetting,
    /// The fleet of which the allowances are shares.
    pub fleet: Arc<Fleet>,
    /// Sales that the ledger refuses because of their stored data.
    pub refused_sales: Arc<RefusedSales>,
    /// The allowances of this instance.
    pub(super) allowances: Allowances,
    /// Outcomes of purchases, by sale.
    pub sales: Arc<SaleCounts>,
    /// What each core counts, apart from the outcomes by sale.
    pub counts: Box<[Arc<CoreCounts>]>,
}

impl Selling {
    /// For this many cores. `buffer_percent`: how much more than its fair share the instance may
    /// take.
    pub fn new(
        cores: usize,
        stock: StockSetting,
        buffer_percent: u64,
        refused_sales: Arc<RefusedSales>,
    ) -> Self {
        let fleet = Arc::new(Fleet::new(cores, buffer_percent));
        Self {
            stock,
            allowances: Allowances::new(stock, cores, fleet.clone()),
            fleet,
            refused_sales,
            sales: Arc::default(),
            counts: (0..cores).map(|_| Arc::default()).collect(),
        }
    }

    /// The number of cores.
    pub fn cores(&self) -> usize {
        self.counts.len()
    }

    /// Reservations that this instance has granted so far.
    pub fn grants_total(&self) -> u64 {
        self.counts.iter().map(|core| core.grants.get()).sum()
    }

    /// The allowance that is left, over all sales that this instance knows.
    pub fn allowance_left(&self) -> u64 {
        self.allowances.left()
    }

    /// The allowance of a sale that is left. `None`: this instance does not know the sale.
    #[cfg(feature = "simulation")]
    pub fn allowance_of(&self, sale: &str) -> Option<u64> {
        self.allowances.left_of(sale)
    }
}

/// See the module's header.
pub struct Seller {
    /// The number of its core within the instance, from 0.
    pub index: usize,
    /// What it shares with the other cores.
    pub selling: Arc<Selling>,
    /// The clock of its core.
    pub clock: Rc<Clock>,
    /// Its ledger queues.
    pub batcher: Batcher,
    /// Its cache of the sales.
    pub sales: Sales,
    /// Its flows of several steps.
    pub flows: Flows,
    /// What it counts, apart from the outcomes of sales that exist.
    pub(super) counts: Arc<CoreCounts>,
    /// The buffer of `stat.log`, if there is one.
    stat_log: RefCell<Option<StatLogBuffer>>,
    pub(super) last_tick_ms: Cell<u64>,
}

impl Seller {
    /// The seller of one core.
    pub fn new(
        index: usize,
        selling: Arc<Selling>,
        clock: Rc<Clock>,
        batcher: Batcher,
        stat_log: Option<StatLogBuffer>,
    ) -> Self {
        let counts = selling.counts[index].clone();
        let _ = counts.ledger.set(batcher.counts().clone());
        Self {
            index,
            selling,
            counts,
            clock,
            batcher,
            sales: Sales::default(),
            flows: Flows::default(),
            stat_log: RefCell::new(stat_log),
            last_tick_ms: Cell::new(0),
        }
    }

    /// Counts the outcome of a purchase and writes its line of `stat.log`.
    pub(super) fn record(&self, slot: Option<&SaleSlot>, counted: Counted, trace: Option<&Trace>) {
        let granted = counted == Counted::Granted;
        self.count(slot, counted);
        if counted == Counted::Busy {
            self.counts.busy.add(1);
        }
        if granted {
            self.counts.grants.add(1);
        }
        self.log_attempt(granted, trace);
    }

    /// The same for a rejection that the core decided by itself.
    #[inline(always)] // Most of what a sold-out sale is asked ends here.
    pub(super) fn record_known(
        &self,
        slot: &SaleSlot,
        reason: &LatchReason,
        trace: Option<&Trace>,
    ) {
        self.count(Some(slot), Counted::known(reason));
        self.log_attempt(false, trace);
    }

    /// Counts a failed request that is not a purchase, or not yet one.
    pub fn note_failure(&self, failure: Failure) {
        if failure == Failure::Busy {
            self.counts.busy.add(1);
        }
    }

    #[inline(always)]
    fn count(&self, slot: Option<&SaleSlot>, counted: Counted) {
        let entered = slot.and_then(|slot| slot.counted.get());
        entered.map_or(&self.counts.unknown_sales, |entered| &entered.outcomes).add(counted);
    }

    #[inline]
    fn log_attempt(&self, granted: bool, trace: Option<&Trace>) {
        if let Some(log) = self.stat_log.borrow_mut().as_mut() {
            log.record(granted, self.selling.grants_total(), trace);
        }
    }

    /// Passes the lines of `stat.log` to their writer.
    pub(super) fn flush_stat_log(&self) {
        if let Some(log) = self.stat_log.borrow_mut().as_mut() {
            log.flush();
        }
    }

    /// Ends selling: passes the last lines of `stat.log` to their writer.
    pub fn finish(&self) {
        drop(self.stat_log.borrow_mut().take());
    }
}
