//! Prints the counts at the end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Batches and requests that went to the ledger.
#[derive(Default)]
pub struct Counts {
    pub batches: AtomicU64,
    pub requests: AtomicU64,
}

impl Counts {
    pub fn add_batches(&self, batches: u64, requests: u64) {
        self.batches.fetch_add(batches, Relaxed);
        self.requests.fetch_add(requests, Relaxed);
    }
}
