//! What a core sells with: its queues to the ledger, what it knows of the sales, ids, allowances.
//!
//! Architecture invariant: it needs a clock and no core, so that a test can make one.

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
use crate::stock::{Allowances, Fleet, Refusal, StockSetting};
use crate::trace::Trace;

/// What the cores of an instance share of selling: settings, and counters that each core writes on a
/// cache line of its own.
pub struct Selling {
    /// The instance's allowance of each sale.
    pub stock: StockSetting,
    /// What the allowances are shares of.
    pub fleet: Arc<Fleet>,
    /// The sales that the ledger refuses for what is stored of them.
    pub refused_sales: Arc<RefusedSales>,
    /// What it may ask for.
    pub(super) allowances: Allowances,
    /// What became of purchases, by sale.
    pub sales: Arc<SaleCounts>,
    /// What each core counts beside that.
    pub counts: Box<[Arc<CoreCounts>]>,
}

impl Selling {
    /// For so many cores, with as many percent more than their share of what is left.
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

    /// Number of cores.
    pub fn cores(&self) -> usize {
        self.counts.len()
    }

    /// Grants of this instance so far.
    pub fn grants_total(&self) -> u64 {
        self.counts.iter().map(|core| core.grants.get()).sum()
    }

    /// What this instance may still ask for, over all sales that it was asked for.
    pub fn allowance_left(&self) -> u64 {
        self.allowances.left()
    }
}

/// See the module's header.
pub struct Seller {
    /// Number of its core within the instance, from 0.
    pub index: usize,
    /// What it shares with the others.
    pub selling: Arc<Selling>,
    /// Its core's clock.
    pub clock: Rc<Clock>,
    /// Its ledger queues.
    pub batcher: Batcher,
    /// What it knows of the sales.
    pub sales: Sales,
    /// What takes several steps.
    pub flows: Flows,
    /// What it counts beside what becomes of purchases of sales that exist.
    pub(super) counts: Arc<CoreCounts>,
    /// Lines for `stat.log`, if there is one.
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

    /// Notes what became of a purchase: one line of `stat.log` for each.
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

    /// The same of what the core knew by itself.
    #[inline(always)] // Most of what a sold-out sale is asked ends here.
    pub(super) fn record_known(&self, slot: &SaleSlot, refusal: &Refusal, trace: Option<&Trace>) {
        self.count(Some(slot), Counted::known(refusal));
        self.log_attempt(false, trace);
    }

    /// A request that is no purchase, or is none yet, could not be asked, or was not answered.
    pub fn note_failure(&self, failure: Failure) {
        if failure == Failure::Busy {
            self.counts.busy.add(1);
        }
    }

    #[inline(always)]
    fn count(&self, slot: Option<&SaleSlot>, counted: Counted) {
        let entered = slot.and_then(|slot| slot.counted.get());
        entered.map_or(&self.counts.strangers, |entered| &entered.outcomes).add(counted);
    }

    #[inline]
    fn log_attempt(&self, granted: bool, trace: Option<&Trace>) {
        if let Some(log) = self.stat_log.borrow_mut().as_mut() {
            log.record(granted, self.selling.grants_total(), trace);
        }
    }

    /// Gives the lines of `stat.log` to their writer.
    pub(super) fn flush_stat_log(&self) {
        if let Some(log) = self.stat_log.borrow_mut().as_mut() {
            log.flush();
        }
    }

    /// Nothing more is sold. The last lines of `stat.log` go to their writer.
    pub fn finish(&self) {
        drop(self.stat_log.borrow_mut().take());
    }
}
