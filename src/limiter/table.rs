//! When each key may buy next: a table of fixed size that cores share without a lock.
//!
//! It implements the generic cell rate algorithm. One time is kept per key: the time at which its
//! burst is whole again. A purchase moves it by the time that one purchase takes, and is refused if
//! it would then be further ahead of now than the burst. A key whose time has passed is like a new
//! one, so its slot is free.
//!
//! A slot is one word: a part of the key's hash, and the time. So a step is one compare-and-swap,
//! and concurrent steps of two cores are serialized. The hash selects the bucket of a key. It is
//! keyed by a secret of the process, so that clients can't choose keys that share a slot. Two keys
//! of one bucket share a slot with a chance of 1 in 67 million.
//!
//! When all slots of a bucket are taken, a new key evicts the one that has used least. So a new key
//! is never refused because of others, and the key that has used most is evicted last. An evicted
//! key has a whole burst again.
//!
//! If two cores add a key at the same time while a slot of its bucket becomes free, each may choose
//! another slot: that key then has one extra burst, once.

use crate::limits::{RATE_BUCKET_SLOTS, RATE_CLOCKS_DIFFER_MS_MAX, RATE_WINDOW_S_MAX};
use crate::sync::{AtomicU64, Ordering};

/// Bits of a slot for its time, in steps of 10 us: it wraps after a month.
const TIME_BITS: u32 = 38;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// Steps of time in a millisecond.
const STEPS_PER_MS: u64 = 100;
/// Steps of time in a second.
pub(super) const STEPS_PER_S: u64 = 1000 * STEPS_PER_MS;
/// Steps by which a time may be further ahead than a core's own clock accounts for.
const SLACK: u64 = RATE_CLOCKS_DIFFER_MS_MAX * STEPS_PER_MS;

// A time that is long past is never mistaken for one ahead, except at one moment in thousands of
// months.
const _: () = assert!((RATE_WINDOW_S_MAX * STEPS_PER_S + SLACK) * 256 < TIME_MASK);

/// The slots that a key may have: one cache line.
#[repr(align(64))]
struct Bucket([AtomicU64; RATE_BUCKET_SLOTS]);

/// See the module's header.
pub(super) struct Table {
    buckets: Box<[Bucket]>,
}

/// The rate of a key, in steps of time.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Cost of one purchase.
    pub(super) one: u64,
    /// The burst.
    pub(super) burst: u64,
}

/// A purchase that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Its key was in the table, or had a free slot.
    Fit,
    /// Another key was evicted for it.
    Evicting,
}

impl Table {
    /// A table with at least this number of slots, rounded up to a power of two.
    pub(super) fn new(places: usize) -> Self {
        let bucket = |_| Bucket(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { buckets: (0..places / RATE_BUCKET_SLOTS).map(bucket).collect() }
    }

    /// Its size in bytes, which is constant.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// Takes one purchase of the key with this hash, at this time. `Err`: the number of steps until
    /// the next one is allowed.
    pub(super) fn take(&self, hash: u64, pace: Pace, now_ms: u64) -> Result<Taken, u64> {
        let now = now_ms.wrapping_mul(STEPS_PER_MS) & TIME_MASK;
        let tag = hash & !TIME_MASK;
        let bucket = &self.buckets[hash as usize % self.buckets.len()];
        loop {
            let found = Found::of(bucket, tag, now, pace);
            let ahead = found.ahead + pace.one;
            if ahead > pace.burst {
                return Err(ahead - pace.burst);
            }
            let word = tag | (now.wrapping_add(ahead) & TIME_MASK);
            let place = &bucket.0[found.place];
            let order = Ordering::Relaxed;
            // A failed exchange has seen the step of another core.
            if place.compare_exchange(found.word, word, order, order).is_ok() {
                return Ok(if found.evicts { Taken::Evicting } else { Taken::Fit });
            }
        }
    }
}

/// The slot of a key.
struct Found {
    place: usize,
    /// Its word.
    word: u64,
    /// How far the key's time is ahead of now.
    ahead: u64,
    /// It is the slot of another key, whose burst is not whole yet.
    evicts: bool,
}

impl Found {
    fn of(bucket: &Bucket, tag: u64, now: u64, pace: Pace) -> Self {
        let mut least = Self { place: 0, word: 0, ahead: u64::MAX, evicts: true };
        for (place, word) in bucket.0.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            let ahead = word.wrapping_sub(now) & TIME_MASK;
            // A time further ahead than is possible has passed.
            let ahead = if ahead > pace.burst + SLACK { 0 } else { ahead };
            if ahead > 0 && word & !TIME_MASK == tag {
                return Self { place, word, ahead, evicts: false };
            }
            if ahead < least.ahead {
                least = Self { place, word, ahead, evicts: ahead > 0 };
            }
        }
        Self { ahead: 0, ..least }
    }
}
