//! Numbers that one thread counts up and that any other may read: no lock, and no write that is shared.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A number that only grows. One thread adds to it; who reads it sees what it was a moment ago.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. Only the thread that it belongs to may: what two add at a time is lost.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// How much it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls. One thread sets it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// It is so much from now on.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// How much it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A point in time, or none. One thread sets it; who reads it learns how long ago it was. So what waits
/// for a thread that stands still is seen to become older.
#[derive(Debug)]
pub struct Moment {
    /// What the number counts from.
    origin: Instant,
    ms: AtomicI64,
}

/// The number of a [`Moment`] that is none.
const NO_MOMENT: i64 = i64::MIN;

impl Default for Moment {
    fn default() -> Self {
        Self { origin: Instant::now(), ms: AtomicI64::new(NO_MOMENT) }
    }
}

impl Moment {
    /// It is that point in time from now on.
    pub fn set(&self, at: Instant) {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let after = at.checked_duration_since(self.origin).map(ms);
        let ms = after.unwrap_or_else(|| -ms(self.origin.saturating_duration_since(at)));
        self.ms.store(ms, Ordering::Relaxed);
    }

    /// It is so long ago.
    pub fn set_ago(&self, ago: Duration) {
        let now = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        self.ms.store(now.saturating_sub(ago).max(NO_MOMENT + 1), Ordering::Relaxed);
    }

    /// It is none from now on.
    pub fn clear(&self) {
        self.ms.store(NO_MOMENT, Ordering::Relaxed);
    }

    /// Whether it is any.
    pub fn is_set(&self) -> bool {
        self.ms.load(Ordering::Relaxed) != NO_MOMENT
    }

    /// How long ago it was. Of one that has yet to come, no time at all.
    pub fn elapsed(&self) -> Option<Duration> {
        let ms = self.ms.load(Ordering::Relaxed);
        let now = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        let passed = u64::try_from(now.saturating_sub(ms)).unwrap_or(0);
        (ms != NO_MOMENT).then(|| Duration::from_millis(passed))
    }
}

/// Bounds of a histogram, each twice the one before it, from 1 on.
pub const BOUNDS: usize = 23;

/// How many values there were, by size.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Those that are larger than any bound come last.
    buckets: [Counter; BOUNDS + 1],
    sum: Counter,
}

impl Histogram {
    /// Counts a value. Only the thread that it belongs to may.
    pub fn record(&self, value: u64) {
        let bound = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bound.min(BOUNDS)].add(1);
        self.sum.add(value);
    }
}

/// What histograms of several threads hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    buckets: [u64; BOUNDS + 1],
    /// All values.
    pub sum: u64,
}

impl Tally {
    /// Of all these.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        histograms.fold(Self::default(), |mut tally, histogram| {
            for (all, more) in tally.buckets.iter_mut().zip(&histogram.buckets) {
                *all += more.get();
            }
            tally.sum += histogram.sum.get();
            tally
        })
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Bounds from this power of two on, each with how many values were larger than the one before it;
    /// of the first, all that are not larger than itself. What is larger than all has none.
    pub fn from_power(&self, power: usize) -> (Vec<(u64, u64)>, u64) {
        let power = power.min(BOUNDS - 1);
        let small: u64 = self.buckets[..power].iter().sum();
        let bound = |at: usize| (1 << at, self.buckets[at] + if at == power { small } else { 0 });
        ((power..BOUNDS).map(bound).collect(), self.buckets[BOUNDS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_at_the_first_bound_that_is_no_smaller() {
        let histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 5, 64, 65, 1 << 22, (1 << 22) + 1, u64::MAX / 2] {
            histogram.record(value);
        }
        let tally = Tally::of([&histogram, &Histogram::default()].into_iter());
        assert_eq!(tally.count(), 11);
        let (bounds, larger) = tally.from_power(0);
        let some = |bounds: &[(u64, u64)]| -> Vec<(u64, u64)> {
            bounds.iter().copied().filter(|(_, count)| *count > 0).collect()
        };
        assert_eq!(
            some(&bounds),
            [(1, 2), (2, 1), (4, 2), (8, 1), (64, 1), (128, 1), (1 << 22, 1)]
        );
        assert_eq!(larger, 2);
        let (bounds, larger) = tally.from_power(6);
        assert_eq!((bounds[0], larger), ((64, 7), 2));
        assert_eq!(bounds.iter().map(|(_, count)| count).sum::<u64>() + larger, tally.count());
    }

    #[test]
    fn a_moment_tells_how_long_ago_it_was_also_before_there_was_one() {
        let moment = Moment::default();
        assert!(moment.elapsed().is_none() && !moment.is_set());
        let hour = Duration::from_secs(3600);
        moment.set(Instant::now() + hour);
        assert_eq!(moment.elapsed(), Some(Duration::ZERO), "it has yet to come");
        let is_about_an_hour = |moment: &Moment| {
            let passed = moment.elapsed().expect("a moment");
            passed >= hour - Duration::from_millis(1) && passed < 2 * hour
        };
        moment.set_ago(hour);
        assert!(is_about_an_hour(&moment));
        if let Some(before) = Instant::now().checked_sub(hour) {
            moment.set(before);
            assert!(is_about_an_hour(&moment));
        }
        moment.set_ago(Duration::MAX);
        assert!(moment.is_set());
        moment.clear();
        assert!(!moment.is_set());
    }

    #[test]
    fn a_sum_is_that_of_all_threads() {
        let histograms: Vec<Histogram> = (0..3).map(|_| Histogram::default()).collect();
        std::thread::scope(|scope| {
            for histogram in &histograms {
                scope.spawn(|| (1..=1_000).for_each(|value| histogram.record(value)));
            }
        });
        let tally = Tally::of(histograms.iter());
        assert_eq!((tally.count(), tally.sum), (3_000, 3 * 500_500));
    }
}
