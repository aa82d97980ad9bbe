//! When the next purchase of each key is due, in a table of fixed size that cores share without a lock.
//!
//! The algorithm is the generic cell rate algorithm: of each key one time is kept, at which what it has
//! taken is free again. A purchase moves it by the time that one purchase takes, and is refused if that
//! would be more than the burst ahead of now. A key whose time is past is like one that never came, so
//! its place is free.
//!
//! A place is one word: a part of the key's hash, and the time. So a step is one compare-and-swap, and
//! what two cores do at the same time is done one after the other. The hash says in which bucket a key
//! is, and is keyed by a secret of the process, so that nobody can aim at another's place. Two keys of
//! one bucket share a place with a chance of 1 in 67 million.
//!
//! When all places of a bucket are taken, a new key takes that of the one that has taken least: a
//! newcomer is never refused for what others do, and who takes most is forgotten last. Who is forgotten
//! has a whole burst again.
//!
//! Where two cores meet a key for the first time at the same time while a place of its bucket becomes
//! free, each may find another place: that key then has one burst more, once.

use crate::limits::{RATE_BUCKET_PLACES, RATE_CLOCKS_DIFFER_MS_MAX, RATE_WINDOW_S_MAX};
use crate::sync::{AtomicU64, Ordering};

/// Bits of a place that are its time, in steps of 10 us: a month until they begin again.
const TIME_BITS: u32 = 38;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// Steps of time in a millisecond.
const STEPS_PER_MS: u64 = 100;
/// Steps of time in a second.
pub(super) const STEPS_PER_S: u64 = 1000 * STEPS_PER_MS;
/// By how many steps a time may be further ahead than a core's own clock accounts for.
const SLACK: u64 = RATE_CLOCKS_DIFFER_MS_MAX * STEPS_PER_MS;

// A time that is long past is never taken for one ahead, but in one of thousands of months' moments.
const _: () = assert!((RATE_WINDOW_S_MAX * STEPS_PER_S + SLACK) * 256 < TIME_MASK);

/// The places among which one is found for a key: one cache line.
#[repr(align(64))]
struct Bucket([AtomicU64; RATE_BUCKET_PLACES]);

/// See the module's header.
pub(super) struct Table {
    buckets: Box<[Bucket]>,
}

/// What a key may take, in steps of time.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// What one purchase takes.
    pub(super) one: u64,
    /// What may be taken at once.
    pub(super) burst: u64,
}

/// A purchase that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// Its key was known, or had a free place.
    Plainly,
    /// Another key was forgotten for it.
    Forgetting,
}

impl Table {
    /// A table with at least so many places, a power of two.
    pub(super) fn new(places: usize) -> Self {
        let bucket = |_| Bucket(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { buckets: (0..places / RATE_BUCKET_PLACES).map(bucket).collect() }
    }

    /// Bytes that it takes, whoever comes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// A purchase by the key with this hash, at this time. `Err`: after how many steps of time it may
    /// come again.
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
            // One that fails has seen the step of another core.
            if place.compare_exchange(found.word, word, order, order).is_ok() {
                return Ok(if found.forgets { Taken::Forgetting } else { Taken::Plainly });
            }
        }
    }
}

/// The place of a key.
struct Found {
    place: usize,
    /// What stands there.
    word: u64,
    /// By how much the key's time is ahead of now.
    ahead: u64,
    /// It is another's, who has not had all back.
    forgets: bool,
}

impl Found {
    fn of(bucket: &Bucket, tag: u64, now: u64, pace: Pace) -> Self {
        let mut least = Self { place: 0, word: 0, ahead: u64::MAX, forgets: true };
        for (place, word) in bucket.0.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            let ahead = word.wrapping_sub(now) & TIME_MASK;
            // A time further ahead than any can be is one that is past.
            let ahead = if ahead > pace.burst + SLACK { 0 } else { ahead };
            if ahead > 0 && word & !TIME_MASK == tag {
                return Self { place, word, ahead, forgets: false };
            }
            if ahead < least.ahead {
                least = Self { place, word, ahead, forgets: ahead > 0 };
            }
        }
        Self { ahead: 0, ..least }
    }
}
