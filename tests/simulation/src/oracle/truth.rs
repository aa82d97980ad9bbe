//! I6, tell the truth: what was true of each sale, and when, over the last seconds.
//!
//! A core may answer from what it knew a moment ago. So a refusal is true if there was an instant,
//! not too long before the answer, at which the ledger would have refused. Times are true times;
//! the ledger's clock between two commands is taken to run on from the earlier one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use stampede::sale::{SaleId, SaleSpec, SaleView, Split, TypeName, TypeUnits};

use super::Node;
use super::conserve::Sums;
use super::place::Place;
use crate::time::{MS, Us};

/// A sale from one instant to the next moment.
#[derive(Debug, Clone)]
struct Moment {
    at: Us,
    /// The ledger's time then.
    now_ms: u64,
    /// Its definition. `None`: it does not exist.
    spec: Option<Rc<SaleSpec>>,
    total: u64,
    held: u64,
    confirmed: u64,
    /// Units left, those between two places included.
    free: u64,
    /// Units that ever became free at some place: returned, added, arrived.
    risen: u64,
    by_type: Option<Rc<[TypeUnits]>>,
}

impl Moment {
    fn is_like(&self, other: &Self) -> bool {
        let counts = |one: &Self| (one.total, one.held, one.confirmed, one.free, one.risen);
        let same_spec = match (&self.spec, &other.spec) {
            (None, None) => true,
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            _ => false,
        };
        same_spec && counts(self) == counts(other)
    }

    /// The ledger's time, if its clock ran on until then.
    fn now_at(&self, at: Us) -> u64 {
        self.now_ms + at.saturating_sub(self.at) / MS
    }
}

/// From and to, both included.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The first instant.
    pub from: Us,
    /// The last instant.
    pub to: Us,
}

/// The moments of one sale or place, the latest last.
#[derive(Debug, Default)]
struct Past {
    moments: VecDeque<Moment>,
    /// Whether earlier moments were dropped.
    is_cut: bool,
    /// The last time at which something was heard of it.
    heard: Us,
}

/// The copies of one place.
#[derive(Debug, Default)]
struct Copies {
    /// The node of the copy that counts.
    current: Node,
    pasts: BTreeMap<Node, Past>,
}

impl Copies {
    /// Each copy, with the part of the window in which it could be asked: the one that counts at
    /// any time, others until something was last heard of them.
    fn in_window(&self, window: Window) -> impl Iterator<Item = (&Past, Window)> {
        let parts = self.pasts.iter().map(move |(node, past)| {
            let to = if *node == self.current { window.to } else { window.to.min(past.heard) };
            (past, Window { to, ..window })
        });
        parts.filter(|(_, part)| part.from <= part.to)
    }
}

impl Past {
    fn push(&mut self, moment: Moment, keep_from: Us) {
        self.heard = moment.at;
        if let Some(last) = self.moments.back()
            && last.is_like(&moment)
            && last.now_at(moment.at).abs_diff(moment.now_ms) <= 1
        {
            return;
        }
        self.moments.push_back(moment);
        while self.moments.len() > 1 && self.moments[1].at <= keep_from {
            self.moments.pop_front();
            self.is_cut = true;
        }
    }

    /// Whether it was so at some instant: `is_so` gets a moment with the first and the last instant
    /// of it that are in the window. The latest moments are asked first.
    fn was(&self, window: Window, is_so: impl Fn(&Moment, Window) -> bool) -> bool {
        let mut until = window.to;
        for moment in self.moments.iter().rev() {
            if moment.at <= window.to {
                let from = moment.at.max(window.from);
                if from <= until && is_so(moment, Window { from, to: until }) {
                    return true;
                }
                if moment.at < window.from {
                    return false;
                }
                until = moment.at;
            }
        }
        false
    }

    /// Whether the window begins before the first moment.
    fn begins_after(&self, window: Window) -> bool {
        !self.is_cut && self.moments.front().is_none_or(|first| first.at > window.from)
    }

    /// The moment that an instant belongs to.
    fn at(&self, at: Us) -> Option<&Moment> {
        let later = self.moments.partition_point(|moment| moment.at <= at);
        later.checked_sub(1).and_then(|before| self.moments.get(before))
    }

    /// Units that became free in the window.
    fn risen_in(&self, window: Window) -> u64 {
        let risen = |at| self.at(at).map_or(0, |moment| moment.risen);
        // What came back at the first instant itself may have been missed, too.
        risen(window.to).saturating_sub(risen(window.from.saturating_sub(1)))
    }
}

/// What was true.
#[derive(Debug, Default)]
pub struct Truth {
    places: BTreeMap<SaleId, Copies>,
    /// Split sales as a whole.
    sums: BTreeMap<SaleId, Past>,
    /// The nodes that were ever primaries, if there are several.
    nodes: BTreeSet<Node>,
    /// When a sale was last lost or copied, so that two truths may have been told.
    broken: BTreeMap<SaleId, Us>,
}

impl Truth {
    /// A node has executed a command on its copy of a place, while the copy of `current` counts.
    /// `is_redefined`: the definition may be another one.
    pub fn note(
        &mut self,
        (at, keep_from): (Us, Us),
        (node, current, id): (Node, Node, &SaleId),
        place: Option<&Place>,
        (now_ms, is_redefined): (u64, bool),
    ) {
        let copies = self.places.entry(id.clone()).or_default();
        copies.current = current;
        let past = copies.pasts.entry(node).or_default();
        let last = past.moments.back();
        let known = last.and_then(|last| last.spec.clone()).filter(|_| !is_redefined);
        let (free, risen) = last.map_or((0, 0), |last| (last.free, last.risen));
        let moment = match place {
            None => gone(at, now_ms, risen),
            Some(place) => {
                let spec = known.unwrap_or_else(|| Rc::new(place.header.spec.clone()));
                let units = spec.types.iter().map(|(name, _)| place.units_of_type(name));
                let by_type = (!spec.types.is_empty()).then(|| units.collect());
                Moment {
                    at,
                    now_ms,
                    total: spec.total,
                    held: place.held(),
                    confirmed: place.confirmed(),
                    free: place.free(),
                    risen: risen + place.free().saturating_sub(free),
                    spec: Some(spec),
                    by_type,
                }
            }
        };
        past.push(moment, keep_from);
    }

    /// The same for a split sale as a whole. `head` is its head.
    pub fn note_sums(
        &mut self,
        (at, keep_from): (Us, Us),
        id: &SaleId,
        (head, now_ms): (Option<&Place>, u64),
        sums: Sums,
    ) {
        let past = self.sums.entry(id.clone()).or_default();
        let known = past.moments.back().and_then(|last| last.spec.clone());
        let moment = match head {
            None => gone(at, now_ms, sums.risen),
            Some(head) => {
                let known = known.filter(|known| **known == head.header.spec);
                Moment {
                    at,
                    now_ms,
                    spec: Some(known.unwrap_or_else(|| Rc::new(head.header.spec.clone()))),
                    total: sums.owned,
                    held: sums.held,
                    confirmed: sums.confirmed,
                    free: sums.free,
                    risen: sums.risen,
                    by_type: None,
                }
            }
        };
        past.push(moment, keep_from);
    }

    /// A node takes the place of another.
    pub fn note_failover(&mut self, from: Node, to: Node) {
        self.nodes.extend([from, to]);
    }

    /// A sale was lost, or a copy of it went on: for a while, two answers may both be true.
    pub fn note_break(&mut self, at: Us, id: &SaleId) {
        self.broken.insert(id.whole(), at);
    }

    /// Whether the sale was lost or copied in the window.
    pub fn was_broken(&self, id: &SaleId, window: Window) -> bool {
        self.broken.get(&id.whole()).is_some_and(|at| *at >= window.from)
    }

    /// Whether any copy of this place, or of any place of this sale, was so.
    fn was(&self, id: &SaleId, window: Window, is_so: impl Fn(&Moment, Window) -> bool) -> bool {
        // The places of a sale stand together: no other id is between `s` and `s~9of9` that begins
        // with `s~`. Others are between, so each is compared.
        let from = self.places.range(id.clone()..);
        let near = from.take_while(|(found, _)| found.as_str().starts_with(id.as_str()));
        let mut ours = near.filter(|(found, _)| found.whole_str() == id.whole_str());
        ours.any(|(_, copies)| copies.in_window(window).any(|(past, part)| past.was(part, &is_so)))
    }

    /// Whether a sale is split, or was.
    pub fn is_split(&self, id: &SaleId) -> bool {
        self.sums.contains_key(id)
    }

    /// Whether the sale was in one piece at an instant, and so.
    fn was_whole(&self, id: &SaleId, window: Window, is_so: impl Fn(&Moment) -> bool) -> bool {
        let is_whole = |spec: &Rc<SaleSpec>| spec.split == Split::Whole;
        let is_so = |moment: &Moment| moment.spec.as_ref().is_some_and(is_whole) && is_so(moment);
        self.was(id, window, |moment, _| is_so(moment))
    }

    /// Whether fewer units than `quantity` were left at an instant. In a split sale, a search looks
    /// at one place after the other: it may miss units that come back or move meanwhile.
    pub fn was_short(&self, id: &SaleId, window: Window, quantity: u32) -> bool {
        let quantity = u64::from(quantity);
        let is_split = |past: &Past| {
            let missed = past.risen_in(window);
            past.was(window, |moment, _| moment.free < quantity + missed)
                || self.was_broken(id, window)
        };
        self.was_whole(id, window, |moment| moment.free < quantity)
            || self.sums.get(id).is_some_and(is_split)
    }

    /// Whether exactly this number of units was left at an instant; in a split sale, about this
    /// number.
    pub fn was_free(&self, id: &SaleId, window: Window, free: u64) -> bool {
        let is_split = |past: &Past| {
            let missed = past.risen_in(window);
            past.was(window, |moment, _| moment.free <= free + missed)
                || self.was_broken(id, window)
        };
        self.was_whole(id, window, |moment| moment.free == free)
            || self.sums.get(id).is_some_and(is_split)
    }

    /// Whether nothing was left of a ticket type at an instant.
    pub fn was_type_short(&self, id: &SaleId, window: Window, name: &TypeName) -> bool {
        self.was(id, window, |moment, _| {
            let (Some(spec), Some(by_type)) = (&moment.spec, &moment.by_type) else { return false };
            let mut types = spec.types.iter().zip(by_type.iter());
            types.any(|((found, cap), units)| found == name && units.held + units.confirmed >= cap)
        })
    }

    /// Whether the sale was not to open before this time, and the time had not come, at an instant.
    pub fn was_early(&self, id: &SaleId, window: Window, opens_at_ms: u64) -> bool {
        self.was(id, window, |moment, part| {
            let is_so = |spec: &Rc<SaleSpec>| spec.opens_at_ms == opens_at_ms;
            moment.spec.as_ref().is_some_and(is_so) && moment.now_at(part.from) <= opens_at_ms
        })
    }

    /// Whether the sale was over at an instant.
    pub fn was_over(&self, id: &SaleId, window: Window) -> bool {
        self.was(id, window, |moment, part| {
            let is_so = |spec: &Rc<SaleSpec>| moment.now_at(part.to) + 1 >= spec.closes_at_ms;
            moment.spec.as_ref().is_some_and(is_so)
        })
    }

    /// Whether there was no such sale at an instant.
    pub fn was_missing(&self, id: &SaleId, window: Window) -> bool {
        let Some(copies) = self.places.get(id) else { return true };
        // Another node that does not have it may be what a server still takes for the primary. A
        // link asks it without a command, so nothing is heard of that here.
        let has_none = |node: &Node| {
            let last = copies.pasts.get(node).and_then(|past| past.moments.back());
            *node != copies.current && last.is_none_or(|last| last.spec.is_none())
        };
        if self.nodes.iter().any(has_none) {
            return true;
        }
        copies.in_window(window).any(|(past, part)| {
            past.begins_after(part) || past.was(part, |moment, _| moment.spec.is_none())
        })
    }

    /// Whether the sale looked like this at an instant. The places of a split sale are looked at
    /// one after the other, so only its total is exact.
    pub fn was_seen(&self, id: &SaleId, window: Window, view: &SaleView) -> bool {
        if view.spec.split != Split::Whole {
            let total = |moment: &Moment, _| moment.total == view.spec.total;
            return self.was_broken(id, window)
                || self.sums.get(id).is_some_and(|past| past.was(window, total));
        }
        self.was_whole(id, window, |moment| {
            let counts = (moment.total, moment.held, moment.confirmed);
            let by_type = moment.by_type.as_deref().unwrap_or_default();
            counts == (view.spec.total, view.held, view.confirmed) && by_type == view.by_type
        })
    }
}

/// A sale that does not exist.
fn gone(at: Us, now_ms: u64, risen: u64) -> Moment {
    Moment {
        at,
        now_ms,
        spec: None,
        total: 0,
        held: 0,
        confirmed: 0,
        free: 0,
        risen,
        by_type: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Stage, ask, sale};
    use stampede::sale::{Command, ReservationId};

    const NODE: Node = Node(0);

    fn window(from: Us, to: Us) -> Window {
        Window { from, to }
    }

    /// A sale of two units, of which a buyer had both from 10 to 20 ms.
    fn told() -> Truth {
        let mut stage = Stage::begin(SaleSpec { hold_ms: 60_000, ..SaleSpec::with_total(2) });
        let mut truth = Truth::default();
        for (at_ms, command) in [
            (0, Command::Show),
            (10, ask(1, 2, "", "")),
            (20, Command::Cancel(ReservationId(1))),
            (30, Command::Close),
            (40, Command::Remove),
        ] {
            stage.run(at_ms, &command);
            let place = stage.oracle.book.place(&stage.sale);
            let now_ms = stage.now_ms(at_ms);
            truth.note((at_ms * MS, 0), (NODE, NODE, &stage.sale), place, (now_ms, true));
        }
        truth
    }

    #[test]
    fn a_refusal_is_true_if_it_was_at_some_instant_of_the_window() {
        let truth = told();
        let short = |from, to| truth.was_short(&sale("s"), window(from * MS, to * MS), 1);
        assert!(short(10, 12) && short(15, 25) && short(5, 10));
        assert!(!short(0, 9) && !short(21, 29));
        let free = |from, to, free| truth.was_free(&sale("s"), window(from * MS, to * MS), free);
        assert!(free(0, 9, 2) && free(11, 12, 0) && !free(11, 12, 2) && !free(0, 99, 1));
    }

    #[test]
    fn the_end_of_a_sale_is_told_from_then_on_and_not_before() {
        let truth = told();
        let over = |from, to| truth.was_over(&sale("s"), window(from * MS, to * MS));
        assert!(over(30, 35) && over(0, 30) && !over(0, 25));
        let missing = |from, to| truth.was_missing(&sale("s"), window(from * MS, to * MS));
        assert!(missing(40, 41) && !missing(20, 39));
        assert!(truth.was_missing(&sale("other"), window(0, 1)));
    }

    #[test]
    fn an_opening_is_judged_by_the_ledgers_clock_as_it_runs_on() {
        let mut stage = Stage::begin(SaleSpec::with_total(2));
        let opens_at_ms = stage.now_ms(50);
        let spec = SaleSpec { opens_at_ms, ..SaleSpec::with_total(2) };
        stage = Stage::begin(spec);
        let mut truth = Truth::default();
        let place = stage.oracle.book.place(&stage.sale);
        truth.note((0, 0), (NODE, NODE, &stage.sale), place, (stage.now_ms(0), true));
        let early = |from, to| truth.was_early(&sale("s"), window(from * MS, to * MS), opens_at_ms);
        assert!(early(0, 10) && early(49, 60) && !early(52, 60));
        assert!(!truth.was_early(&sale("s"), window(0, 1), opens_at_ms + 1), "another opening");
    }

    #[test]
    fn a_search_may_miss_what_comes_back_meanwhile() {
        let split = Split::Head { parts: 2 };
        let head = Stage::begin(SaleSpec { split, ..SaleSpec::with_total(2) });
        let place = head.oracle.book.place(&head.sale);
        let mut truth = Truth::default();
        for (at_ms, free, risen) in [(0, 2, 0), (10, 1, 0), (20, 2, 1), (30, 2, 1)] {
            let sums = Sums { owned: 2, held: 2 - free, confirmed: 0, free, risen };
            truth.note_sums((at_ms * MS, 0), &head.sale, (place, 0), sums);
        }
        let short = |from, to| truth.was_short(&sale("s"), window(from * MS, to * MS), 1);
        assert!(short(12, 22), "one was free, one came back");
        assert!(!short(12, 15) && !short(25, 30));
    }

    #[test]
    fn a_copy_that_does_not_count_is_asked_only_until_it_was_last_heard_of() {
        let stage = Stage::begin(SaleSpec::with_total(1));
        let mut truth = Truth::default();
        let (place, id) = (stage.oracle.book.place(&stage.sale), sale("s"));
        let mut empty = place.unwrap().clone();
        empty.header.spec.total = 0;
        let (old, new) = (Node(1), Node(2));
        truth.note((10, 0), (old, old, &id), Some(&empty), (0, true));
        truth.note((20, 0), (new, new, &id), place, (0, true));
        assert!(truth.was_short(&id, window(5, 20), 1));
        assert!(!truth.was_short(&id, window(21, 30), 1));
        truth.note((40, 0), (old, new, &id), Some(&empty), (0, false));
        assert!(truth.was_short(&id, window(35, 50), 1), "a server still asks it");
        assert!(!truth.was_short(&id, window(45, 50), 1));
    }

    #[test]
    fn old_moments_are_dropped_but_the_one_that_still_counts() {
        let mut past = Past::default();
        for at in 0..10 {
            past.push(Moment { held: at, ..gone(at, 0, 0) }, at.saturating_sub(3));
        }
        assert_eq!(past.moments.front().map(|first| first.at), Some(6));
        assert!(past.was(window(6, 7), |moment, _| moment.held == 6));
        assert!(!past.begins_after(window(0, 7)));
    }
}
