//! Who asked for reservations, until the orders have them.
//!
//! A reservation is kept for as long as its sale; how its request is found again is of use to the orders
//! alone, and once. So it stands beside the rows, from the commit that granted it until the reader of
//! changes has told that its rows are in the database. It is bounded by its count, whether there is a
//! reader or not: the oldest go without. The journal has it, so a crash does not lose it; a snapshot has
//! not, so a restart does once the journal was folded.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::limits::TRACES_WAITING_MAX;
use crate::sale::Change;
use crate::trace::Trace;

/// A row: the numbers of its sale and of itself.
type Place = (u32, u32);

/// See the module's header.
#[derive(Default)]
pub(super) struct Traces {
    of: HashMap<Place, Arc<Trace>>,
    /// In the order they came, with the version of the change.
    order: VecDeque<(u64, Place)>,
}

impl Traces {
    /// A row was made, by a change of this version.
    pub(super) fn note(&mut self, sale: u32, row: u32, version: u64, trace: &Arc<Trace>) {
        let place = (sale, row);
        self.of.insert(place, trace.clone());
        self.order.push_back((version, place));
        if self.order.len() > TRACES_WAITING_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
    }

    /// Says in a change of a row who asked for it, if that is known.
    pub(super) fn tell(&self, sale: u32, row: usize, change: &mut Change) {
        if !self.of.is_empty() {
            change.trace = self.of.get(&(sale, row as u32)).cloned();
        }
    }

    /// The orders have every change up to this version.
    pub(super) fn forget(&mut self, version: u64) {
        while let Some((of, place)) = self.order.front()
            && *of <= version
        {
            self.of.remove(place);
            self.order.pop_front();
        }
        if self.order.is_empty() {
            *self = Self::default();
        }
    }

    /// A sale is no more: another one may have its number.
    pub(super) fn forget_sale(&mut self, sale: u32) {
        self.order.retain(|(_, place)| place.0 != sale);
        self.of.retain(|place, _| place.0 != sale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(traces: &Traces, place: Place) -> Option<Arc<Trace>> {
        traces.of.get(&place).cloned()
    }

    #[test]
    fn traces_are_bounded_and_kept_until_the_orders_have_them() {
        let mut traces = Traces::default();
        let trace = Arc::new(Trace::from_texts("a", "").unwrap());
        let count = TRACES_WAITING_MAX as u32 + 2;
        for row in 0..count {
            traces.note(row % 2, row, u64::from(row / 4), &trace);
        }
        assert_eq!((traces.of.len(), traces.order.len()), (TRACES_WAITING_MAX, TRACES_WAITING_MAX));
        assert_eq!([kept(&traces, (1, 1)), kept(&traces, (0, 2))], [None, Some(trace.clone())]);
        traces.forget(1);
        assert_eq!([kept(&traces, (1, 7)), kept(&traces, (0, 8))], [None, Some(trace.clone())]);
        traces.forget_sale(0);
        assert_eq!([kept(&traces, (0, 8)), kept(&traces, (1, 9))], [None, Some(trace)]);
        traces.forget(u64::MAX);
        assert!(traces.of.is_empty() && traces.order.is_empty());
    }
}
