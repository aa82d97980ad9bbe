//! Places that the cores of an engine share, of which there are so many and no more.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicUsize, Ordering};

/// How many are taken.
#[derive(Default)]
pub struct Places(CachePadded<AtomicUsize>);

impl Places {
    /// Takes one of `places`. `false`: none is free.
    pub fn take(&self, places: usize) -> bool {
        let order = Ordering::Relaxed;
        let one_more = |taken: usize| (taken < places).then(|| taken + 1);
        self.0.fetch_update(order, order, one_more).is_ok()
    }

    /// Gives one back.
    pub fn free(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are taken now.
    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
