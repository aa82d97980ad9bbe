//! A purchase: first what the core knows by itself (latch, allowance), then the ledger, then the
//! outcome. A purchase that waits is a small record, a [`PendingPurchase`], which each answer
//! resumes.
//!
//! Architecture invariant: this layer knows no HTTP and no kind of ledger. It returns `sold_out`
//! only if the ledger did.

mod cache_updater;
mod counts;
mod enqueue;
mod flows;
mod outcome;
mod parts;
mod pending;
mod sales;
mod seller;
mod slot;
mod table;
mod vanished;
mod viewing;
mod waits;

pub use cache_updater::SaleCacheUpdater;
pub use counts::{CoreCounts, Counted, SaleCounts, Sums, ViewQueries};
pub use outcome::{LinesReason, PurchaseOutcome, PurchaseRequest, RejectReason};
pub use parts::{confirm_late, view_or_create_parts};
pub use pending::{PendingPurchase, Progress, begin, known_sold_out};
pub use seller::{Seller, Selling};
pub use slot::{CachedView, SaleSlot};
pub use viewing::{PendingView, ViewAnswer, ViewProgress, view};
pub use waits::Completed;

impl Seller {
    /// Uses the time of the last tick: a link whose own wait was overdue has had its turn since
    /// then. So a silent ledger fails its waiting requests as `unavailable` or `unknown`, not as
    /// `busy`.
    pub fn tick(&self) {
        // Uses the time of the last tick: a link whose own wait was overdue has had its turn since then.
        // So a silent ledger fails its waiting requests as `unavailable`, not as `busy`.
        self.batcher.fail_overdue(self.last_tick_ms.replace(self.clock.now_ms()));
        self.refresh_sales();
        self.flush_stat_log();
        self.batcher.counts().waiting.set(self.batcher.waiting() as u64);
        self.batcher.wake_link();
    }
}

#[cfg(test)]
#[path = "purchase/purchase_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "purchase/remade_tests.rs"]
mod remade_tests;
