//! A counting semaphore that the cores of an engine share.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicUsize, Ordering};

/// Number of permits in use.
#[derive(Default)]
pub struct Permits(CachePadded<AtomicUsize>);

impl Permits {
    /// Takes a permit if fewer than `most` are in use.
    pub fn try_acquire(&self, most: usize) -> bool {
        let order = Ordering::Relaxed;
        let one_more = |taken: usize| (taken < most).then(|| taken + 1);
        self.0.fetch_update(order, order, one_more).is_ok()
    }

    /// Returns a permit.
    pub fn release(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Number of permits in use now.
    pub fn in_use(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
