//! All places of a split sale together: what its people see of it, and which units are to move.

use super::command::SaleView;
use super::spec::Creation;
use super::split::{Moves, Split};

/// Units that one place is to take that another gave: `gave` is all that it ever gave to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// The giver.
    pub from: usize,
    /// The taker.
    pub to: usize,
    /// The giver's count.
    pub gave: u64,
    /// Units on their way.
    pub units: u64,
}

/// What a place is to be asked to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gift {
    /// The giver.
    pub from: usize,
    /// The giver's count as it was seen: it gives nothing if that has changed since.
    pub gave: u64,
    /// Units.
    pub units: u64,
}

/// All places of a split sale, each as it was seen, not all at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    head: SaleView,
    /// In their order. `None`: it is not there.
    parts: Vec<Option<SaleView>>,
}

impl Places {
    /// Takes the views of a head and its parts. `None`: they are not those of one split sale.
    pub fn new(head: SaleView, parts: Vec<Option<SaleView>>) -> Option<Self> {
        let count = match head.spec.split {
            Split::Head { parts } => parts,
            Split::Whole | Split::Part { .. } => return None,
        };
        let fits = |view: &SaleView| view.spec.split == Split::Part { of: count };
        let all_fit = parts.len() == count as usize && parts.iter().flatten().all(fits);
        all_fit.then_some(Self { head, parts })
    }

    /// The head.
    pub fn head(&self) -> &SaleView {
        &self.head
    }

    /// A place by its number.
    pub fn get(&self, number: usize) -> Option<&SaleView> {
        match number {
            0 => Some(&self.head),
            _ => self.parts.get(number - 1)?.as_ref(),
        }
    }

    fn all(&self) -> impl Iterator<Item = (usize, &SaleView)> {
        (0..=self.parts.len()).filter_map(|number| Some((number, self.get(number)?)))
    }

    /// Numbers of the parts that are not there.
    pub fn missing(&self) -> Vec<usize> {
        (1..=self.parts.len()).filter(|&number| self.get(number).is_none()).collect()
    }

    /// Numbers of the parts that are there and not this sale's: of another making or, where the making
    /// of one of both is not known, with other terms for those who buy. When a sale opens and closes
    /// may differ for as long as somebody is changing it.
    pub fn foreign(&self) -> Vec<usize> {
        let terms =
            |view: &SaleView| (view.spec.hold_ms, view.spec.limit_per_user, view.spec.quantity_max);
        let head = &self.head;
        let is_ours = |part: &SaleView| match (head.creation, part.creation) {
            (Creation::UNKNOWN, _) | (_, Creation::UNKNOWN) => terms(head) == terms(part),
            (ours, other) => ours == other,
        };
        let not_ours = |number: &usize| self.get(*number).is_some_and(|part| !is_ours(part));
        (1..=self.parts.len()).filter(not_ours).collect()
    }

    /// Whether anybody ever gave units to a place: one that is missing then has been lost or removed,
    /// and must not be made again, or its units would be for sale twice.
    pub fn was_given(&self, number: usize) -> bool {
        self.all().any(|(_, view)| view.moves.gave[number] > 0)
    }

    /// The sale as people know it. Its total is exact, however the places were looked at.
    pub fn view(&self) -> SaleView {
        let sum = |of: fn(&SaleView) -> u64| self.all().map(|(_, view)| of(view)).sum::<u64>();
        let mut view = self.head.clone();
        view.spec.total = sum(SaleView::owned);
        (view.held, view.confirmed) = (sum(|view| view.held), sum(|view| view.confirmed));
        view.now_ms = self.all().map(|(_, view)| view.now_ms).max().unwrap_or(view.now_ms);
        view.moves = Moves::default();
        view
    }

    /// Units that are free in some place. What is under way is not among them.
    pub fn free(&self) -> u64 {
        self.all().map(|(_, view)| view.free()).sum()
    }

    /// What was given and not yet taken. A move that began after the giver was looked at is not seen;
    /// one that ended after the taker was is seen although it is over, which does no harm.
    pub fn under_way(&self) -> Vec<UnderWay> {
        self.given_and_not_taken(self)
    }

    /// What was under way here and still is in a `later` look: somebody gave it up.
    pub fn left_under_way(&self, later: &Self) -> Vec<UnderWay> {
        self.given_and_not_taken(later)
    }

    fn given_and_not_taken(&self, later: &Self) -> Vec<UnderWay> {
        compare(self, later, |gave, took| gave.saturating_sub(took))
    }

    /// What had been taken here, though by a `later` look it was never given: a sign of damage.
    pub fn from_nowhere(&self, later: &Self) -> Vec<UnderWay> {
        compare(later, self, |gave, took| took.saturating_sub(gave))
    }

    /// Units that all places together ever gave, and ever took.
    pub fn moved(&self) -> (u64, u64) {
        let sum = |of: fn(&SaleView) -> &[u64]| self.all().flat_map(|(_, view)| of(view)).sum();
        (sum(|view| &view.moves.gave), sum(|view| &view.moves.took))
    }

    /// Who is to give what so that `to` has at least `units` free: the one with the most gives half of
    /// what it has, so that moves are rare, and others what is then still lacking. `None`: all
    /// together have too few.
    pub fn gifts(&self, to: usize, units: u64) -> Option<Vec<Gift>> {
        let own = self.get(to).map_or(0, SaleView::free);
        let mut lacking = units.saturating_sub(own);
        let mut givers: Vec<_> = self.all().filter(|(number, _)| *number != to).collect();
        givers.sort_by_key(|(number, view)| (std::cmp::Reverse(view.free()), *number));
        let mut gifts = Vec::new();
        for (from, giver) in givers {
            if lacking == 0 {
                break;
            }
            let free = giver.free();
            let units = free.min(lacking.max(free.div_ceil(2)));
            if units > 0 {
                gifts.push(Gift { from, gave: giver.moves.gave[to], units });
            }
            lacking = lacking.saturating_sub(units);
        }
        (lacking == 0).then_some(gifts)
    }

    /// What the head gives to each part that it has given nothing yet, so that all have about the
    /// same: the number of the part, and the gift.
    pub fn shares(&self) -> Vec<(usize, Gift)> {
        let count = self.parts.len() as u64;
        let (whole, mut left) = (self.head.spec.total, self.head.free());
        let mut shares = Vec::new();
        for to in (1..=self.parts.len()).filter(|&to| self.get(to).is_some()) {
            let given: u64 = self.head.moves.gave.iter().sum();
            let all = whole + given;
            let share = all / count + u64::from((to as u64 - 1) < all % count);
            let units = share.min(left);
            if self.head.moves.gave[to] == 0 && units > 0 {
                shares.push((to, Gift { from: 0, gave: 0, units }));
                left -= units;
            }
        }
        shares
    }
}

/// Every pair of places between which units differ, by the givers of one look and the takers of
/// another.
fn compare(givers: &Places, takers: &Places, units: fn(u64, u64) -> u64) -> Vec<UnderWay> {
    let mut found = Vec::new();
    for (from, giver) in givers.all() {
        for (to, taker) in takers.all() {
            let gave = giver.moves.gave[to];
            let units = units(gave, taker.moves.took[from]);
            if units > 0 {
                found.push(UnderWay { from, to, gave, units });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::SaleSpec;

    fn place(split: Split, total: u64, sold: u64) -> SaleView {
        let spec = SaleSpec { split, ..SaleSpec::with_total(total) };
        let (moves, creation) = (Moves::none(split), Creation::UNKNOWN);
        let by_type = Vec::new();
        SaleView { spec, held: sold, confirmed: 0, by_type, now_ms: 0, moves, creation }
    }

    fn places(totals: [u64; 4]) -> Places {
        let part = |total| Some(place(Split::Part { of: 3 }, total, 0));
        let head = place(Split::Head { parts: 3 }, totals[0], 0);
        Places::new(head, totals[1..].iter().map(|&total| part(total)).collect()).unwrap()
    }

    #[test]
    fn the_largest_gives_half_and_all_together_what_is_asked() {
        let gift = |from, units| Gift { from, gave: 0, units };
        assert_eq!(places([0, 0, 9, 4]).gifts(1, 1), Some(vec![gift(2, 5)]));
        assert_eq!(places([0, 0, 2, 2]).gifts(1, 3), Some(vec![gift(2, 2), gift(3, 1)]));
        assert_eq!(places([1, 0, 0, 0]).gifts(3, 1), Some(vec![gift(0, 1)]));
        assert_eq!(places([1, 1, 1, 0]).gifts(1, 4), None);
        assert_eq!(places([1, 1, 0, 0]).gifts(1, 1), Some(vec![]), "it has enough itself");
    }

    #[test]
    fn the_head_gives_every_part_its_share_once() {
        let shares = |places: &Places| -> Vec<_> {
            places.shares().iter().map(|(to, gift)| (*to, gift.units)).collect()
        };
        let mut places = places([11, 0, 0, 0]);
        assert_eq!(shares(&places), [(1, 4), (2, 4), (3, 3)]);
        places.head.moves.gave[1] = 4;
        places.head.spec.total = 7;
        assert_eq!(shares(&places), [(2, 4), (3, 3)]);
        places.parts[2] = None;
        assert_eq!(shares(&places), [(2, 4)]);
    }

    #[test]
    fn the_total_is_the_same_at_every_step_of_a_move() {
        let mut places = places([0, 6, 3, 0]);
        assert_eq!((places.view().spec.total, places.free()), (9, 9));
        places.parts[0].as_mut().unwrap().moves.gave[3] = 4;
        places.parts[0].as_mut().unwrap().spec.total = 2;
        assert_eq!((places.view().spec.total, places.view().free(), places.free()), (9, 9, 5));
        assert_eq!(places.under_way(), [UnderWay { from: 1, to: 3, gave: 4, units: 4 }]);
        places.parts[2].as_mut().unwrap().moves.took[1] = 4;
        places.parts[2].as_mut().unwrap().spec.total = 4;
        assert_eq!((places.view().spec.total, places.free()), (9, 9));
        assert_eq!(places.under_way(), []);
        assert!(
            places.was_given(3) && !places.was_given(2) && places.from_nowhere(&places).is_empty()
        );
        places.parts[2].as_mut().unwrap().moves.took[1] = 5;
        assert_eq!(places.from_nowhere(&places), [UnderWay { from: 1, to: 3, gave: 4, units: 1 }]);
    }
}
