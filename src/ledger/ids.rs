//! Creates reservation ids.
//!
//! Architecture invariant: knows no sale and no ledger; it only creates numbers that nobody can
//! guess.

use crate::planted::{self, Bug};
use crate::random;
use crate::sale::{ID_PREFIX_BITS, ID_PREFIX_SHARED_MAX, ReservationId};

/// Random reservation ids, drawn from the kernel some hundreds at a time. Ids of the same batch
/// share a prefix, so that a ledger may keep them together.
#[derive(Default)]
pub struct IdSource {
    drawn: Vec<u128>,
    prefix: u128,
    /// How many more ids may begin with `prefix`.
    prefix_left: usize,
    batch: Option<u64>,
}

/// The bits of an id that are not shared.
const OWN_BITS: u128 = u128::MAX >> ID_PREFIX_BITS;

impl IdSource {
    /// Returns an id, for the batch of this number, that nobody can guess and nobody else draws.
    pub fn next_id(&mut self, batch: u64) -> ReservationId {
        if self.drawn.is_empty() {
            let mut random = [0; 4096];
            random::fill(&mut random).expect("the kernel gives random numbers");
            let ids = random.chunks_exact(16).map(|id| u128::from_le_bytes(id.try_into().unwrap()));
            self.drawn.extend(ids);
        }
        let drawn = self.drawn.pop().expect("just drawn");
        if planted::is(Bug::IdUsedTwice)
            && self.drawn.len().is_multiple_of(97)
            && let Some(next) = self.drawn.last_mut()
        {
            *next = drawn;
        }
        if self.batch.replace(batch) != Some(batch) || self.prefix_left == 0 {
            self.prefix = drawn & !OWN_BITS;
            self.prefix_left = ID_PREFIX_SHARED_MAX;
        }
        self.prefix_left -= 1;
        ReservationId(self.prefix | drawn & OWN_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_batch_share_a_prefix_up_to_a_bound() {
        let mut ids = IdSource::default();
        let mut prefix = |batch| ids.next_id(batch).0 & !OWN_BITS;
        let first: Vec<_> = (0..2 * ID_PREFIX_SHARED_MAX).map(|_| prefix(1)).collect();
        let (one, other) = first.split_at(ID_PREFIX_SHARED_MAX);
        assert!(one.iter().all(|p| *p == one[0]) && other.iter().all(|p| *p == other[0]));
        let next = prefix(2);
        assert!(one[0] != other[0] && other[0] != next && next == prefix(2));
    }
}
