//! The allowance of one sale on one instance, one shard per core.
//!
//! A core takes from its own shard: an atomic on a cache line that no other core touches while the
//! shard has some left. Only a core whose shard is empty looks at the shards of its siblings.
//!
//! With `--stock N` the shards together hold N, and only what the ledger refused is added again.
//! With `auto` an empty instance tops up with its share (see [`Fleet`]) of the units that the
//! ledger last reported as free, but never with less than the request needs, so that nothing is
//! refused while there is stock.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::fleet::Fleet;
use crate::sync::{AtomicU64, Ordering};

/// The maximum that one top-up gives a core.
const TOP_UP_MAX: u64 = 1024;

/// `--stock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StockSetting {
    /// Sized from the free units, topped up without end.
    Auto,
    /// A fixed allowance for this instance, headroom included.
    Fixed(u64),
}

/// The allowance of one sale.
pub struct Shards {
    setting: StockSetting,
    shards: Box<[CachePadded<AtomicU64>]>,
    fleet: Arc<Fleet>,
    free: CachePadded<AtomicU64>,
    /// The creation of the sale that it belongs to. [`NOT_SEEN`] until a core has seen the sale.
    making: AtomicU64,
}

/// No creation of a sale has this number.
const NOT_SEEN: u64 = u64::MAX;

impl Shards {
    /// The allowance of one sale for an instance of `cores` cores in this fleet.
    pub fn new(setting: StockSetting, cores: usize, fleet: Arc<Fleet>) -> Self {
        let share = |core: usize| match setting {
            StockSetting::Auto => 0,
            StockSetting::Fixed(units) => {
                let cores = cores as u64;
                units / cores + u64::from((core as u64) < units % cores)
            }
        };
        Self {
            setting,
            shards: (0..cores).map(|core| CachePadded::new(AtomicU64::new(share(core)))).collect(),
            fleet,
            free: CachePadded::new(AtomicU64::new(TOP_UP_MAX)),
            making: AtomicU64::new(NOT_SEEN),
        }
    }

    /// Whether it belongs to this creation of the sale: the first one that a core has seen.
    pub fn is_of(&self, making: u64) -> bool {
        let order = Ordering::Relaxed;
        match self.making.compare_exchange(NOT_SEEN, making, order, order) {
            Ok(_) => true,
            Err(seen) => seen == making,
        }
    }

    /// Takes permission for `units`. Returns `false` if this instance has not enough left.
    pub fn take(&self, core: usize, units: u64) -> bool {
        if take_from(&self.shards[core], units) {
            return true;
        }
        self.gather(core, units);
        if take_from(&self.shards[core], units) {
            return true;
        }
        match self.setting {
            StockSetting::Fixed(_) => false,
            StockSetting::Auto => {
                let share = self.fleet.share(self.free.load(Ordering::Relaxed));
                let top_up = share.clamp(units, TOP_UP_MAX.max(units));
                self.shards[core].fetch_add(top_up - units, Ordering::Relaxed);
                true
            }
        }
    }

    /// Returns the permission for units that the ledger did not grant.
    pub fn give_back(&self, core: usize, units: u64) {
        if units > 0 {
            self.shards[core].fetch_add(units, Ordering::Relaxed);
        }
    }

    /// Notes how many units the ledger has left, for the next top-up.
    pub fn note_free(&self, free: u64) {
        if self.free.load(Ordering::Relaxed) != free {
            self.free.store(free, Ordering::Relaxed);
        }
    }

    /// Whether nothing of it is used up, so that it may be dropped and created anew.
    pub fn is_whole(&self) -> bool {
        match self.setting {
            StockSetting::Auto => true,
            StockSetting::Fixed(units) => self.left() == units,
        }
    }

    /// What all cores together have left. A snapshot: other cores continue.
    pub fn left(&self) -> u64 {
        self.shards.iter().map(|shard| shard.load(Ordering::Relaxed)).sum()
    }

    /// Moves permissions from the siblings to `core`: half of what each has, or all that is needed.
    fn gather(&self, core: usize, units: u64) {
        let cores = self.shards.len();
        for step in 1..cores {
            let own = self.shards[core].load(Ordering::Relaxed);
            if own >= units {
                return;
            }
            let sibling = &self.shards[(core + step) % cores];
            let mut taken = 0;
            let _ = sibling.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                taken = left.min((units - own).max(left / 2));
                (taken > 0).then(|| left - taken)
            });
            self.give_back(core, taken);
        }
    }
}

fn take_from(shard: &AtomicU64, units: u64) -> bool {
    shard.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(units)).is_ok()
}
