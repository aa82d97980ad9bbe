//! When to look at which sale. Free of I/O and of clocks: the time comes in.
//!
//! A sale is looked at when the earliest deadline that was seen in it has come, and no later than
//! its hold time after the last look, since whatever was reserved meanwhile ends after that.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use hashbrown::HashMap;

use crate::limits::{SWEEP_PAUSE_MS_MAX, SWEEP_PAUSE_MS_MIN, SWEEP_RETRY_MS};
use crate::sale::SaleId;

/// A sale to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The sale.
    pub sale: SaleId,
    /// Its definition is not known, or was last seen long ago: ask for it too.
    pub define: bool,
}

/// What a look has shown. Times in ms since anything, but the same for all.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// When the question left.
    pub sent_ms: u64,
    /// When the answer was here.
    pub now_ms: u64,
    /// The sale's hold time, if it was asked for.
    pub hold_ms: Option<u64>,
    /// There is more to return at once.
    pub more: bool,
    /// When the earliest deadline comes of what is held. `None`: nothing is.
    pub due_in_ms: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    /// When to look next. An entry of the heap with another time is void. [`UNDER_WAY`]: now.
    next_ms: u64,
    hold_ms: u64,
    defined_ms: Option<u64>,
    listed: bool,
}

impl Entry {
    fn doubt(&mut self, now_ms: u64) {
        (self.next_ms, self.defined_ms) = (now_ms, None);
    }
}

/// The next look of a sale that is being looked at.
const UNDER_WAY: u64 = u64::MAX;

/// See the module's header. What [`due`](Self::due) returns is to be settled by one of the others
/// before it is called again.
#[derive(Debug, Default)]
pub struct Schedule {
    sales: HashMap<SaleId, Entry>,
    looks: BinaryHeap<Reverse<(u64, SaleId)>>,
    /// Moves on with every look, so that sales without a deadline do not all come up at once.
    spread_ms: u64,
}

/// See [`Schedule::spread_ms`]: a step that comes to every part of the range in turn.
const SPREAD_STEP_MS: u64 = 7_919;

impl Schedule {
    /// Takes in the sales that are in the index now. New ones are due at once. Those that are no
    /// longer in it too: they are gone, or belong into it.
    pub fn set_listed(&mut self, listed: &HashSet<SaleId>, now_ms: u64) {
        for sale in listed {
            match self.sales.get_mut(sale) {
                Some(entry) => entry.listed = true,
                None => {
                    let entry =
                        Entry { next_ms: now_ms, hold_ms: 0, defined_ms: None, listed: true };
                    self.sales.insert(sale.clone(), entry);
                    self.looks.push(Reverse((now_ms, sale.clone())));
                }
            }
        }
        for (sale, entry) in &mut self.sales {
            if entry.listed && !listed.contains(sale) {
                entry.listed = false;
                entry.doubt(now_ms);
                self.looks.push(Reverse((now_ms, sale.clone())));
            }
        }
    }

    /// What is known of a sale may be of another of its name: it is due at once, as if it were new.
    pub fn doubt(&mut self, sale: &SaleId, now_ms: u64) {
        let new = Entry { next_ms: now_ms, hold_ms: 0, defined_ms: None, listed: true };
        self.sales.entry(sale.clone()).or_insert(new).doubt(now_ms);
        self.looks.push(Reverse((now_ms, sale.clone())));
    }

    /// When something is due next, if anything ever is.
    pub fn next_ms(&self) -> Option<u64> {
        self.looks.peek().map(|Reverse((at_ms, _))| *at_ms)
    }

    /// The sales that are due, those that have been so for longest first, at most this many.
    pub fn due(&mut self, now_ms: u64, max: usize) -> Vec<Look> {
        let mut due = Vec::new();
        while due.len() < max
            && self.looks.peek().is_some_and(|Reverse((at_ms, _))| *at_ms <= now_ms)
            && let Some(Reverse((at_ms, sale))) = self.looks.pop()
        {
            if let Some(entry) = self.sales.get_mut(&sale)
                && entry.next_ms == at_ms
            {
                entry.next_ms = UNDER_WAY;
                let known = |defined_ms| now_ms < defined_ms + SWEEP_PAUSE_MS_MAX;
                due.push(Look { sale, define: !entry.defined_ms.is_some_and(known) });
            }
        }
        due
    }

    /// Takes in what a look has shown. `false`: the sale is there, but was not in the index.
    pub fn looked(&mut self, sale: &SaleId, seen: &Seen) -> bool {
        let Some(entry) = self.sales.get_mut(sale) else { return true };
        if let Some(hold_ms) = seen.hold_ms {
            (entry.hold_ms, entry.defined_ms) = (hold_ms, Some(seen.now_ms));
        }
        let next_ms = if seen.more {
            seen.now_ms
        } else {
            let hold_ends_ms = seen.sent_ms.saturating_add(entry.hold_ms);
            let due_ms = seen.due_in_ms.map_or(u64::MAX, |ms| seen.now_ms.saturating_add(ms));
            self.spread_ms = (self.spread_ms + SPREAD_STEP_MS) % (SWEEP_PAUSE_MS_MAX / 2);
            let soonest_ms = seen.now_ms + SWEEP_PAUSE_MS_MIN;
            let latest_ms = seen.now_ms + SWEEP_PAUSE_MS_MAX - self.spread_ms;
            hold_ends_ms.min(due_ms).clamp(soonest_ms, latest_ms)
        };
        let was_listed = std::mem::replace(&mut entry.listed, true);
        self.set_next(sale, next_ms);
        was_listed
    }

    /// The ledger refuses this sale: it is looked at again in a while.
    pub fn refused(&mut self, sale: &SaleId, now_ms: u64) {
        self.set_next(sale, now_ms + SWEEP_RETRY_MS);
    }

    /// The ledger was away and may have come back as another: every sale is due, as if it were new.
    pub fn doubt_all(&mut self, now_ms: u64) {
        self.sales.values_mut().for_each(|entry| entry.doubt(now_ms));
        self.looks = self.sales.keys().map(|sale| Reverse((now_ms, sale.clone()))).collect();
    }

    /// The sale is gone.
    pub fn forget(&mut self, sale: &SaleId) {
        self.sales.remove(sale);
    }

    fn set_next(&mut self, sale: &SaleId, at_ms: u64) {
        if let Some(entry) = self.sales.get_mut(sale) {
            entry.next_ms = at_ms;
            self.looks.push(Reverse((at_ms, sale.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(id: &str) -> SaleId {
        SaleId::new(id).unwrap()
    }

    fn listing(ids: &[&str]) -> HashSet<SaleId> {
        ids.iter().map(|id| sale(id)).collect()
    }

    fn names(looks: Vec<Look>) -> Vec<String> {
        looks.into_iter().map(|look| look.sale.to_string()).collect()
    }

    /// A look at this time that takes none.
    fn at(now_ms: u64) -> Seen {
        Seen { sent_ms: now_ms, now_ms, hold_ms: None, more: false, due_in_ms: None }
    }

    #[test]
    fn a_new_sale_is_due_at_once_and_then_after_its_hold_time() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a"]), 10);
        assert_eq!(schedule.due(9, 9), []);
        assert_eq!(schedule.due(10, 9), [Look { sale: sale("a"), define: true }]);
        assert_eq!((schedule.due(99, 9), schedule.next_ms()), (vec![], None));
        // The question left at 12: whoever reserved at 13 has until 1,013.
        let seen = Seen { sent_ms: 12, hold_ms: Some(1_000), ..at(20) };
        assert!(schedule.looked(&sale("a"), &seen));
        assert_eq!(schedule.next_ms(), Some(1_012));
        schedule.set_listed(&listing(&["a"]), 900);
        assert_eq!(schedule.due(1_011, 9), []);
        assert_eq!(schedule.due(1_012, 9), [Look { sale: sale("a"), define: false }]);
    }

    #[test]
    fn the_earliest_deadline_decides_within_bounds() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a"]), 0);
        let mut next = |seen: Seen| {
            schedule.due(u64::MAX - 1, 9);
            schedule.looked(&sale("a"), &seen);
            schedule.next_ms().unwrap()
        };
        let hour = 3_600_000;
        assert_eq!(next(Seen { hold_ms: Some(hour), due_in_ms: Some(700), ..at(0) }), 700);
        // What expires one after the other returns together.
        assert_eq!(next(Seen { due_in_ms: Some(1), ..at(700) }), 700 + SWEEP_PAUSE_MS_MIN);
        assert_eq!(next(Seen { more: true, due_in_ms: Some(0), ..at(800) }), 800);
        let far = 900 + SWEEP_PAUSE_MS_MAX / 2..=900 + SWEEP_PAUSE_MS_MAX;
        assert!(far.contains(&next(Seen { due_in_ms: Some(hour), ..at(900) })));
        assert_eq!(next(Seen { hold_ms: Some(1), ..at(1_000) }), 1_000 + SWEEP_PAUSE_MS_MIN);
        assert_eq!(
            next(Seen { due_in_ms: Some(u64::MAX), hold_ms: Some(500), ..at(2_000) }),
            2_500
        );
    }

    #[test]
    fn those_that_wait_longest_come_first_and_so_many_at_a_time() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["c"]), 1);
        schedule.set_listed(&listing(&["b", "c"]), 2);
        schedule.set_listed(&listing(&["a", "b", "c"]), 3);
        assert_eq!(names(schedule.due(5, 2)), ["c", "b"]);
        assert_eq!(names(schedule.due(5, 2)), ["a"]);
    }

    #[test]
    fn after_an_outage_every_sale_is_as_if_new() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a", "b"]), 0);
        for look in schedule.due(0, 1) {
            schedule.looked(&look.sale, &Seen { hold_ms: Some(20_000), ..at(0) });
        }
        assert_eq!(names(schedule.due(1, 1)), ["b"]);
        schedule.doubt_all(2);
        let looks = schedule.due(2, 9);
        assert!(looks.len() == 2 && looks.iter().all(|look| look.define), "{looks:?}");
        assert_eq!(schedule.next_ms(), None);
    }

    #[test]
    fn a_sale_that_was_made_anew_is_looked_at_at_once_and_no_more_than_once() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a", "b"]), 0);
        for look in schedule.due(0, 9) {
            schedule.looked(&look.sale, &Seen { hold_ms: Some(300_000), ..at(0) });
        }
        // Listed as before: only who made it says so.
        schedule.set_listed(&listing(&["a", "b"]), 5);
        assert_eq!(schedule.due(5, 9), []);
        schedule.doubt(&sale("a"), 6);
        schedule.doubt(&sale("a"), 6);
        schedule.doubt(&sale("new"), 6);
        let looks = schedule.due(6, 9);
        assert!(looks.iter().all(|look| look.define), "{looks:?}");
        assert_eq!(names(looks), ["a", "new"]);
        schedule.looked(&sale("a"), &Seen { hold_ms: Some(1_000), ..at(7) });
        assert_eq!(schedule.due(1_006, 9), []);
        assert_eq!(names(schedule.due(1_007, 9)), ["a"]);
    }

    #[test]
    fn a_definition_is_asked_for_again_after_a_while() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a"]), 0);
        schedule.due(0, 1);
        schedule.looked(&sale("a"), &Seen { hold_ms: Some(1_000), ..at(0) });
        for round in 1..60 {
            assert!(!schedule.due(round * 1_000, 1)[0].define, "{round}");
            schedule.looked(&sale("a"), &at(round * 1_000));
        }
        assert!(schedule.due(60_000, 1)[0].define);
    }

    #[test]
    fn a_sale_that_leaves_the_index_is_looked_at_and_kept_or_forgotten() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["gone", "lost", "stays"]), 0);
        for look in schedule.due(0, 9) {
            schedule.looked(&look.sale, &Seen { hold_ms: Some(20_000), ..at(0) });
        }
        schedule.set_listed(&listing(&["stays"]), 5);
        let looks = schedule.due(5, 9);
        assert!(looks.iter().all(|look| look.define), "another may have its name: {looks:?}");
        assert_eq!(names(looks), ["gone", "lost"]);
        schedule.forget(&sale("gone"));
        let seen = Seen { hold_ms: Some(20_000), ..at(6) };
        assert!(!schedule.looked(&sale("lost"), &seen), "it belongs into the index");
        schedule.set_listed(&listing(&["lost", "stays"]), 7);
        assert_eq!(schedule.due(10_000, 9), []);
        assert_eq!(names(schedule.due(60_000, 9)), ["stays", "lost"]);
    }

    #[test]
    fn what_is_refused_is_tried_again_in_a_while() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a"]), 0);
        schedule.due(0, 1);
        schedule.refused(&sale("a"), 0);
        assert_eq!(schedule.due(SWEEP_RETRY_MS - 1, 1), []);
        assert_eq!(schedule.due(SWEEP_RETRY_MS, 1), [Look { sale: sale("a"), define: true }]);
    }
}
