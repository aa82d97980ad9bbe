//! All places of a split sale together: the view of the whole sale, and the transfers that are
//! needed.

use super::command::SaleView;
use super::spec::Creation;
use super::split::{Split, Transfers};

/// Units that one place has sent and another has not received yet. `sent` is the total that the
/// first ever sent to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InTransit {
    /// The sender.
    pub from: usize,
    /// The receiver.
    pub to: usize,
    /// The sender's count.
    pub sent: u64,
    /// The units in transit.
    pub units: u64,
}

/// A transfer to request from a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The sender.
    pub from: usize,
    /// The sender's count when it was viewed: it sends nothing if that has changed since.
    pub sent: u64,
    /// Units.
    pub units: u64,
}

/// All places of a split sale, each as it was viewed, not all at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    head: SaleView,
    /// In order. `None`: the part is missing.
    parts: Vec<Option<SaleView>>,
}

impl Places {
    /// From the views of a head and its parts. `None`: they do not belong to one split sale.
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

    /// The view of a place, by its number.
    pub fn get(&self, number: usize) -> Option<&SaleView> {
        match number {
            0 => Some(&self.head),
            _ => self.parts.get(number - 1)?.as_ref(),
        }
    }

    fn all(&self) -> impl Iterator<Item = (usize, &SaleView)> {
        (0..=self.parts.len()).filter_map(|number| Some((number, self.get(number)?)))
    }

    /// The numbers of the missing parts.
    pub fn missing(&self) -> Vec<usize> {
        (1..=self.parts.len()).filter(|&number| self.get(number).is_none()).collect()
    }

    /// The numbers of the parts that exist but do not belong to this sale: parts of another
    /// creation or, if one of both creations is unknown, with other terms for buyers. Opening and
    /// closing time may differ while somebody is changing them.
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

    /// Whether a place was ever sent units. If such a place is missing, it was lost or removed. It
    /// must not be created again, or its units would be for sale twice.
    pub fn ever_received(&self, number: usize) -> bool {
        self.all().any(|(_, view)| view.transfers.sent[number] > 0)
    }

    /// The view of the whole sale. Its total is exact, although the places were viewed at different
    /// times.
    pub fn view(&self) -> SaleView {
        let sum = |of: fn(&SaleView) -> u64| self.all().map(|(_, view)| of(view)).sum::<u64>();
        let mut view = self.head.clone();
        view.spec.total = sum(SaleView::owned);
        (view.held, view.confirmed) = (sum(|view| view.held), sum(|view| view.confirmed));
        view.now_ms = self.all().map(|(_, view)| view.now_ms).max().unwrap_or(view.now_ms);
        view.transfers = Transfers::default();
        view
    }

    /// Free units of all places. Units in transit are not among them.
    pub fn free(&self) -> u64 {
        self.all().map(|(_, view)| view.free()).sum()
    }

    /// Units that were sent and not yet received. A transfer that began after its sender was viewed
    /// is missing here; one that ended after its receiver was viewed is included, which does no
    /// harm.
    pub fn in_transit(&self) -> Vec<InTransit> {
        self.sent_and_not_received(self)
    }

    /// Transfers that are in transit here and still in a `later` view: abandoned ones.
    pub fn still_in_transit(&self, later: &Self) -> Vec<InTransit> {
        self.sent_and_not_received(later)
    }

    fn sent_and_not_received(&self, later: &Self) -> Vec<InTransit> {
        compare(self, later, |gave, took| gave.saturating_sub(took))
    }

    /// Units that were received here, but by a `later` view never sent: a sign of damage.
    pub fn received_but_not_sent(&self, later: &Self) -> Vec<InTransit> {
        compare(later, self, |gave, took| took.saturating_sub(gave))
    }

    /// The units that all places together have ever sent, and ever received.
    pub fn moved(&self) -> (u64, u64) {
        let sum = |of: fn(&SaleView) -> &[u64]| self.all().flat_map(|(_, view)| of(view)).sum();
        (sum(|view| &view.transfers.sent), sum(|view| &view.transfers.received))
    }

    /// The transfers that give `to` at least `units` free units. The place with the most sends half
    /// of its units, so that transfers are rare; others send what is still lacking. `None`: all
    /// together have too few.
    pub fn transfers_to(&self, to: usize, units: u64) -> Option<Vec<Transfer>> {
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
                gifts.push(Transfer { from, sent: giver.transfers.sent[to], units });
            }
            lacking = lacking.saturating_sub(units);
        }
        (lacking == 0).then_some(gifts)
    }

    /// The first transfer from the head to each part that has received none yet, so that all have
    /// about the same: the number of the part, and the transfer.
    pub fn first_transfers(&self) -> Vec<(usize, Transfer)> {
        let count = self.parts.len() as u64;
        let (whole, mut left) = (self.head.spec.total, self.head.free());
        let mut shares = Vec::new();
        for to in (1..=self.parts.len()).filter(|&to| self.get(to).is_some()) {
            let given: u64 = self.head.transfers.sent.iter().sum();
            let all = whole + given;
            let share = all / count + u64::from((to as u64 - 1) < all % count);
            let units = share.min(left);
            if self.head.transfers.sent[to] == 0 && units > 0 {
                shares.push((to, Transfer { from: 0, sent: 0, units }));
                left -= units;
            }
        }
        shares
    }
}

/// Every pair of places with a difference, between the senders of one view and the receivers of
/// another.
fn compare(givers: &Places, takers: &Places, units: fn(u64, u64) -> u64) -> Vec<InTransit> {
    let mut found = Vec::new();
    for (from, giver) in givers.all() {
        for (to, taker) in takers.all() {
            let gave = giver.transfers.sent[to];
            let units = units(gave, taker.transfers.received[from]);
            if units > 0 {
                found.push(InTransit { from, to, sent: gave, units });
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
        let (moves, creation) = (Transfers::none(split), Creation::UNKNOWN);
        let by_type = Vec::new();
        SaleView { spec, held: sold, confirmed: 0, by_type, now_ms: 0, transfers: moves, creation }
    }

    fn places(totals: [u64; 4]) -> Places {
        let part = |total| Some(place(Split::Part { of: 3 }, total, 0));
        let head = place(Split::Head { parts: 3 }, totals[0], 0);
        Places::new(head, totals[1..].iter().map(|&total| part(total)).collect()).unwrap()
    }

    #[test]
    fn transfers_cover_the_request_starting_with_the_largest_part() {
        let gift = |from, units| Transfer { from, sent: 0, units };
        assert_eq!(places([0, 0, 9, 4]).transfers_to(1, 1), Some(vec![gift(2, 5)]));
        assert_eq!(places([0, 0, 2, 2]).transfers_to(1, 3), Some(vec![gift(2, 2), gift(3, 1)]));
        assert_eq!(places([1, 0, 0, 0]).transfers_to(3, 1), Some(vec![gift(0, 1)]));
        assert_eq!(places([1, 1, 1, 0]).transfers_to(1, 4), None);
        assert_eq!(places([1, 1, 0, 0]).transfers_to(1, 1), Some(vec![]), "it has enough itself");
    }

    #[test]
    fn the_head_gives_every_part_its_share_once() {
        let shares = |places: &Places| -> Vec<_> {
            places.first_transfers().iter().map(|(to, gift)| (*to, gift.units)).collect()
        };
        let mut places = places([11, 0, 0, 0]);
        assert_eq!(shares(&places), [(1, 4), (2, 4), (3, 3)]);
        places.head.transfers.sent[1] = 4;
        places.head.spec.total = 7;
        assert_eq!(shares(&places), [(2, 4), (3, 3)]);
        places.parts[2] = None;
        assert_eq!(shares(&places), [(2, 4)]);
    }

    #[test]
    fn the_total_stays_the_same_during_a_transfer() {
        let mut places = places([0, 6, 3, 0]);
        assert_eq!((places.view().spec.total, places.free()), (9, 9));
        places.parts[0].as_mut().unwrap().transfers.sent[3] = 4;
        places.parts[0].as_mut().unwrap().spec.total = 2;
        assert_eq!((places.view().spec.total, places.view().free(), places.free()), (9, 9, 5));
        assert_eq!(places.in_transit(), [InTransit { from: 1, to: 3, sent: 4, units: 4 }]);
        places.parts[2].as_mut().unwrap().transfers.received[1] = 4;
        places.parts[2].as_mut().unwrap().spec.total = 4;
        assert_eq!((places.view().spec.total, places.free()), (9, 9));
        assert_eq!(places.in_transit(), []);
        assert!(
            places.ever_received(3)
                && !places.ever_received(2)
                && places.received_but_not_sent(&places).is_empty()
        );
        places.parts[2].as_mut().unwrap().transfers.received[1] = 5;
        assert_eq!(
            places.received_but_not_sent(&places),
            [InTransit { from: 1, to: 3, sent: 4, units: 1 }]
        );
    }
}
