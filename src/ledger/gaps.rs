//! Versions that a ledger never assigned.
//!
//! A ledger that was restored, or that took over a sale, continues above every version that the
//! orders may have. The versions between were not assigned here: a row with such a version was
//! written by a lost state of the ledger, or by another ledger.

use std::ops::RangeInclusive;

use crate::limits::GAPS_MAX;

/// The latest gaps, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps(Vec<RangeInclusive<u64>>);

impl Gaps {
    /// Appends a gap. Returns `false` if it does not follow the others. An empty gap is not added.
    pub fn push(&mut self, gap: RangeInclusive<u64>) -> bool {
        if gap.is_empty() {
            return true;
        }
        if self.0.last().is_some_and(|last| last.end() >= gap.start()) {
            return false;
        }
        if self.0.len() == GAPS_MAX {
            self.0.remove(0);
        }
        self.0.push(gap);
        true
    }

    /// Whether a version is in one of them.
    pub fn contain(&self, version: u64) -> bool {
        let behind = self.0.partition_point(|gap| *gap.end() < version);
        self.0.get(behind).is_some_and(|gap| gap.contains(&version))
    }

    /// How many versions after `after` and up to `until` were assigned.
    pub fn given_between(&self, after: u64, until: u64) -> u64 {
        let within = self.0.iter().map(|gap| {
            let (first, last) =
                ((*gap.start()).max(after.saturating_add(1)), (*gap.end()).min(until));
            if first <= last { last - first + 1 } else { 0 }
        });
        until.saturating_sub(after).saturating_sub(within.sum())
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &RangeInclusive<u64>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_in_a_gap_or_was_assigned() {
        let mut gaps = Gaps::default();
        let last = 5;
        assert!(gaps.push(last + 1..=last) && gaps.iter().len() == 0);
        assert!(gaps.push(10..=19) && gaps.push(30..=30));
        assert!(!gaps.push(30..=40) && !gaps.push(1..=2));
        for (version, is_in) in [(9, false), (10, true), (19, true), (20, false), (30, true)] {
            assert_eq!(gaps.contain(version), is_in, "{version}");
        }
        assert_eq!(gaps.given_between(0, 40), 29);
        assert_eq!(gaps.given_between(12, 15), 0);
        assert_eq!(gaps.given_between(12, 25), 6);
        assert_eq!(gaps.given_between(30, 31), 1);
        assert_eq!(gaps.given_between(31, 30), 0);
    }

    #[test]
    fn the_list_of_gaps_is_bounded() {
        let mut gaps = Gaps::default();
        (0..GAPS_MAX as u64 + 3).for_each(|n| assert!(gaps.push(n * 10 + 1..=n * 10 + 5)));
        assert_eq!(gaps.iter().len(), GAPS_MAX);
        assert!(!gaps.contain(1) && gaps.contain(31));
    }
}
