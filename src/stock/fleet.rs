//! The fleet of which an instance has its fair share.

use crate::sync::{AtomicU64, Ordering};

/// The cores of all members of the fleet, and how much more than its fair share each may request.
/// `--stock auto` sizes a core's part of the allowance by it.
pub struct Fleet {
    cores: AtomicU64,
    /// The latest format of the ledger that all members read.
    reads: AtomicU64,
    buffer_percent: u64,
}

impl Fleet {
    /// A fleet of one instance with this many cores.
    pub fn new(cores: usize, buffer_percent: u64) -> Self {
        let (cores, reads) = (AtomicU64::new((cores as u64).max(1)), AtomicU64::new(u64::MAX));
        Self { cores, reads, buffer_percent }
    }

    /// Sets the number of cores of all members together.
    pub fn set_cores(&self, cores: u64) {
        self.cores.store(cores.max(1), Ordering::Relaxed);
    }

    /// The number of cores of all members together, as far as is known. At least 1.
    pub fn cores(&self) -> u64 {
        self.cores.load(Ordering::Relaxed)
    }

    /// Sets the latest format of the ledger that all members read.
    pub fn set_reads(&self, format: u32) {
        self.reads.store(format.into(), Ordering::Relaxed);
    }

    /// Whether all members read this format of the ledger, as far as is known, so that it may be
    /// written. An instance that shares its ledger with nobody reads everything that it writes.
    pub fn reads(&self, format: u32) -> bool {
        self.reads.load(Ordering::Relaxed) >= format.into()
    }

    /// One core's share of the free units, headroom included.
    pub(super) fn share(&self, free: u64) -> u64 {
        free.saturating_mul(100 + self.buffer_percent) / 100 / self.cores()
    }
}
