//! The allowances of an instance, one for each sale that its cores know. A core keeps the allowance of
//! a sale for as long as it knows the sale.

use std::sync::Arc;

use hashbrown::HashMap;

use super::fleet::Fleet;
use super::shard::{Shards, StockSetting};
use crate::sync::{Mutex, lock};

/// The allowances of all sales that the instance knows.
pub struct Allowances {
    setting: StockSetting,
    cores: usize,
    fleet: Arc<Fleet>,
    by_sale: Mutex<HashMap<String, Arc<Shards>>>,
}

impl Allowances {
    /// For an instance with this many cores, without allowances yet.
    pub fn new(setting: StockSetting, cores: usize, fleet: Arc<Fleet>) -> Self {
        Self { setting, cores, fleet, by_sale: Mutex::new(HashMap::new()) }
    }

    /// The allowance of a sale, a new one if no core knows the sale.
    pub fn of(&self, sale: &str) -> Arc<Shards> {
        let mut by_sale = lock(&self.by_sale);
        if by_sale.len() == by_sale.capacity() {
            // Before the map grows: drops entries of sales that two cores forgot at the same time.
            // What is left of a fixed allowance is kept.
            by_sale.retain(|_, shards| !shards.is_whole() || Arc::strong_count(shards) > 1);
        }
        by_sale.entry_ref(sale).or_insert_with(|| self.new_shards()).clone()
    }

    /// Another sale has this name now: replaces its allowance `old` by a new one, unless that was
    /// done already.
    pub fn renew(&self, sale: &str, old: &Arc<Shards>) {
        let mut by_sale = lock(&self.by_sale);
        let ours = by_sale.get_mut(sale).filter(|shards| Arc::ptr_eq(shards, old));
        if let Some(shards) = ours {
            *shards = self.new_shards();
        }
    }

    /// A core, which still holds `ours`, forgets a sale. Drops its allowance unless another core
    /// holds it or some of it is used up.
    pub fn forget(&self, sale: &str, ours: &Arc<Shards>) {
        let mut by_sale = lock(&self.by_sale);
        let last = |shards: &&Arc<Shards>| {
            // Another core may have replaced it, for a sale of the same name.
            Arc::ptr_eq(shards, ours) && Arc::strong_count(shards) <= 2
        };
        if by_sale.get(sale).filter(last).is_some_and(|shards| shards.is_whole()) {
            by_sale.remove(sale);
        }
    }

    /// The allowance that is left, over all sales that the instance knows.
    pub fn left(&self) -> u64 {
        lock(&self.by_sale).values().map(|shards| shards.left()).sum()
    }

    /// The allowance of a sale that is left. `None`: the instance does not know the sale.
    #[cfg(feature = "simulation")]
    pub fn left_of(&self, sale: &str) -> Option<u64> {
        lock(&self.by_sale).get(sale).map(|shards| shards.left())
    }

    fn new_shards(&self) -> Arc<Shards> {
        Arc::new(Shards::new(self.setting, self.cores, self.fleet.clone()))
    }
}
