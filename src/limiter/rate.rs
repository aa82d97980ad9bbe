//! A rate as it is set, and the limiter that cores use.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;

use super::table::{Pace, STEPS_PER_S, Table, Taken};
use crate::limits::{RATE_BURST_MAX, RATE_PER_S_MAX, RATE_SLOTS, RATE_WINDOW_S_MAX};
use crate::sync::{AtomicU64, Ordering};

/// A number of purchases per second, and a number at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_s: u32,
    burst: u32,
}

impl Rate {
    /// A rate within the bounds.
    ///
    /// # Errors
    /// Names the valid range.
    pub fn new(per_s: u64, burst: u64) -> Result<Self, String> {
        if !(1..=RATE_PER_S_MAX).contains(&per_s) {
            return Err(format!("must be 1 to {RATE_PER_S_MAX} purchases per second"));
        }
        if !(1..=RATE_BURST_MAX).contains(&burst) {
            return Err(format!("must be 1 to {RATE_BURST_MAX} purchases at once"));
        }
        // No burst within its bound takes longer than the window.
        debug_assert!(burst <= per_s * RATE_WINDOW_S_MAX);
        Ok(Self { per_s: per_s as u32, burst: burst as u32 })
    }

    /// Purchases per second.
    pub fn per_s(self) -> u32 {
        self.per_s
    }

    /// Purchases at once.
    pub fn burst(self) -> u32 {
        self.burst
    }

    fn pace(self) -> Pace {
        let one = STEPS_PER_S / u64::from(self.per_s);
        Pace { one, burst: one * u64::from(self.burst) }
    }

    fn to_word(rate: Option<Self>) -> u64 {
        rate.map_or(0, |rate| u64::from(rate.per_s) << 32 | u64::from(rate.burst))
    }

    fn of_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self { per_s: (word >> 32) as u32, burst: word as u32 })
    }
}

/// A purchase that exceeds the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// Time until the next one is allowed, in whole seconds, at least 1.
    pub retry_after_s: u32,
}

/// Limits the rate of many keys. See the module's header.
pub struct Limiter {
    /// The rate; 0: no limit.
    rate: AtomicU64,
    hasher: RandomState,
    /// Allocated when a rate is set for the first time.
    table: OnceLock<Table>,
    places: usize,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::with_slots(RATE_SLOTS)
    }
}

impl Limiter {
    /// A limiter with this number of slots and no rate.
    fn with_slots(places: usize) -> Self {
        Self { rate: AtomicU64::new(0), hasher: RandomState::new(), table: OnceLock::new(), places }
    }

    /// Sets the rate. `None`: no limit.
    pub fn set(&self, rate: Option<Rate>) {
        if rate.is_some() {
            self.table.get_or_init(|| Table::new(self.places));
        }
        self.rate.store(Rate::to_word(rate), Ordering::Relaxed);
    }

    /// The rate.
    pub fn rate(&self) -> Option<Rate> {
        Rate::of_word(self.rate.load(Ordering::Relaxed))
    }

    /// Takes one purchase of this key, at this time of a core's clock, in ms. Returns whether
    /// another key was evicted for it.
    ///
    /// # Errors
    /// It exceeds the rate, and does not count.
    pub fn take(&self, key: impl Hash, now_ms: u64) -> Result<bool, Limited> {
        let (Some(rate), Some(table)) = (self.rate(), self.table.get()) else { return Ok(false) };
        match table.take(self.hasher.hash_one(key), rate.pace(), now_ms) {
            Ok(taken) => Ok(taken == Taken::Evicting),
            Err(steps) => Err(Limited { retry_after_s: steps.div_ceil(STEPS_PER_S) as u32 }),
        }
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
