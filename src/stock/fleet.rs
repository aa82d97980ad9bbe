//! What an instance's fair share is a share of.

use crate::sync::{AtomicU64, Ordering};

/// The cores of all members of the fleet, and how much more than its fair share each may ask for.
/// `--stock auto` sizes a core's part of the allowance by it.
pub struct Fleet {
    cores: AtomicU64,
    buffer_percent: u64,
}

impl Fleet {
    /// A fleet of one instance with so many cores.
    pub fn new(cores: usize, buffer_percent: u64) -> Self {
        Self { cores: AtomicU64::new((cores as u64).max(1)), buffer_percent }
    }

    /// Notes how many cores all members have together.
    pub fn set_cores(&self, cores: u64) {
        self.cores.store(cores.max(1), Ordering::Relaxed);
    }

    /// How many cores all members have together, as far as is known. At least 1.
    pub fn cores(&self) -> u64 {
        self.cores.load(Ordering::Relaxed)
    }

    /// One core's share of what is left, buffer included.
    pub(super) fn share(&self, free: u64) -> u64 {
        free.saturating_mul(100 + self.buffer_percent) / 100 / self.cores()
    }
}
