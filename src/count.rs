//! Counters that one thread writes and any thread reads: no lock, and no shared write.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A number that only grows. One thread adds; readers may see a slightly older value.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. Only its own thread may call this: concurrent additions would be lost.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls. One thread sets it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A point in time, or none. One thread sets it; readers get its age. So the age shows when a
/// thread is stuck.
#[derive(Debug)]
pub struct Moment {
    /// The zero of the number.
    origin: Instant,
    ms: AtomicI64,
}

/// The number for none.
const NO_MOMENT: i64 = i64::MIN;

impl Default for Moment {
    fn default() -> Self {
        Self { origin: Instant::now(), ms: AtomicI64::new(NO_MOMENT) }
    }
}

impl Moment {
    /// Sets the point in time.
    pub fn set(&self, at: Instant) {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let after = at.checked_duration_since(self.origin).map(ms);
        let ms = after.unwrap_or_else(|| -ms(self.origin.saturating_duration_since(at)));
        self.ms.store(ms, Ordering::Relaxed);
    }

    /// Sets it to this long ago.
    pub fn set_ago(&self, ago: Duration) {
        let now = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        self.ms.store(now.saturating_sub(ago).max(NO_MOMENT + 1), Ordering::Relaxed);
    }

    /// Sets it to none.
    pub fn clear(&self) {
        self.ms.store(NO_MOMENT, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.ms.load(Ordering::Relaxed) != NO_MOMENT
    }

    /// Its age. Zero for a time in the future.
    pub fn elapsed(&self) -> Option<Duration> {
        let ms = self.ms.load(Ordering::Relaxed);
        let now = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        let passed = u64::try_from(now.saturating_sub(ms)).unwrap_or(0);
        (ms != NO_MOMENT).then(|| Duration::from_millis(passed))
    }
}

/// Number of bounds of a histogram: powers of two from 1 on.
pub const BOUNDS: usize = 23;

/// A histogram of values by size.
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one has the values above all bounds.
    buckets: [Counter; BOUNDS + 1],
    sum: Counter,
}

impl Histogram {
    /// Counts a value. Only its own thread may call this.
    pub fn record(&self, value: u64) {
        let bound = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bound.min(BOUNDS)].add(1);
        self.sum.add(value);
    }
}

/// The sum of several threads' histograms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    buckets: [u64; BOUNDS + 1],
    /// Sum of all values.
    pub sum: u64,
}

impl Tally {
    /// The sum of these histograms.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        histograms.fold(Self::default(), |mut tally, histogram| {
            for (all, more) in tally.buckets.iter_mut().zip(&histogram.buckets) {
                *all += more.get();
            }
            tally.sum += histogram.sum.get();
            tally
        })
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Bounds from this power of two on, each with the number of values above the bound before it;
    /// the first one also has all smaller values. The last number counts the values above all
    /// bounds.
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
    fn a_value_counts_at_the_smallest_bound_not_below_it() {
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
    fn a_moment_reports_its_elapsed_time_once_set() {
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
    fn a_tally_sums_all_threads() {
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
