//! A purchase: the core's own knowledge first (latch, allowance), then the ledger, then what became
//! of it. A purchase that waits is a small record, an [`Asked`], that goes on from answer to answer.
//!
//! Architecture invariant: this layer knows no HTTP and no kind of ledger. It never says `sold_out`
//! unless the ledger did.

mod asked;
mod counts;
mod flows;
mod parts;
mod put;
mod sales;
mod seller;
mod slot;
mod table;
mod vanished;
mod verdict;

pub use asked::{Asked, Done, Progress, begin, known_sold_out};
pub use counts::{CoreCounts, Counted, Questions, SaleCounts, Sums};
pub use parts::{confirm_late, gather};
pub use sales::{Settler, ask, look};
pub use seller::{Seller, Selling};
pub use slot::{SaleSlot, SeenView};
pub use verdict::{Ask, LinesRefused, Refused, Verdict};

impl Seller {
    /// What is done at regular times.
    pub fn tick(&self) {
        // By the last tick's time: a link whose own wait was overdue then has had its turn since. If
        // the ledger is silent, what waits behind it is told so, and not that it is busy.
        self.batcher.fail_overdue(self.last_tick_ms.replace(self.clock.now_ms()));
        self.refresh_sales();
        self.flush_stat_log();
        self.batcher.counts().waiting.set(self.batcher.waiting() as u64);
        self.batcher.kick();
    }
}

#[cfg(test)]
#[path = "purchase/purchase_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "purchase/remade_tests.rs"]
mod remade_tests;
