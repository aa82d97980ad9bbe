//! What the floor says when it is told to end.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What went to Redis.
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
