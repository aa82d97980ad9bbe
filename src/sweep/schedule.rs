//! Decides when to probe which sale. Without I/O and clocks: the time is an argument.
//!
//! A sale is probed at the earliest deadline that was seen in it, and no later than its hold time
//! after the last probe, since all reservations made meanwhile end after that.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use hashbrown::HashMap;

use crate::limits::{SWEEP_PAUSE_MS_MAX, SWEEP_PAUSE_MS_MIN, SWEEP_RETRY_MS};
use crate::planted::{self, Bug};
use crate::sale::SaleId;

/// A sale to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The sale.
    pub sale: SaleId,
    /// Its definition is not known, or was last read long ago: read it too.
    pub define: bool,
}

/// The result of a probe. Times are ms from any origin, the same for all.
#[derive(Debug, Clone, Copy)]
pub struct ProbeResult {
    /// When the probe was sent.
    pub sent_ms: u64,
    /// When the answer arrived.
    pub now_ms: u64,
    /// The sale's hold time, if it was requested.
    pub hold_ms: Option<u64>,
    /// More units can be returned at once.
    pub more: bool,
    /// The time until the earliest deadline of the held reservations. `None`: none is held.
    pub due_in_ms: Option<u64>,
}

#[derive(Debug)]
struct SaleSchedule {
    /// When to probe next. An entry of the heap with another time is void. [`UNDER_WAY`]: a probe
    /// is in progress.
    next_ms: u64,
    hold_ms: u64,
    defined_ms: Option<u64>,
    listed: bool,
}

impl SaleSchedule {
    fn invalidate(&mut self, now_ms: u64) {
        (self.next_ms, self.defined_ms) = (now_ms, None);
    }
}

/// The `next_ms` of a sale that is being probed.
const UNDER_WAY: u64 = u64::MAX;

/// The schedule of all sales. After [`due`](Self::due), call one of the other methods for each
/// returned sale before calling it again.
#[derive(Debug, Default)]
pub struct Schedule {
    sales: HashMap<SaleId, SaleSchedule>,
    probes: BinaryHeap<Reverse<(u64, SaleId)>>,
    /// Advances with every probe, so that sales without a deadline are not all due at once.
    spread_ms: u64,
}

/// See [`Schedule::spread_ms`]: a step that reaches every part of the range in turn.
const SPREAD_STEP_MS: u64 = 7_919;

impl Schedule {
    /// Updates the list of sales in the index. New sales are due at once. So are sales that have
    /// left the index: they are gone, or belong into it.
    pub fn set_listed(&mut self, listed: &HashSet<SaleId>, now_ms: u64) {
        for sale in listed {
            match self.sales.get_mut(sale) {
                Some(entry) => entry.listed = true,
                None => {
                    let entry = SaleSchedule {
                        next_ms: now_ms,
                        hold_ms: 0,
                        defined_ms: None,
                        listed: true,
                    };
                    self.sales.insert(sale.clone(), entry);
                    self.probes.push(Reverse((now_ms, sale.clone())));
                }
            }
        }
        for (sale, entry) in &mut self.sales {
            if entry.listed && !listed.contains(sale) {
                entry.listed = false;
                entry.invalidate(now_ms);
                self.probes.push(Reverse((now_ms, sale.clone())));
            }
        }
    }

    /// The sale may have been replaced by another of its name: it is due at once, like a new one.
    pub fn invalidate(&mut self, sale: &SaleId, now_ms: u64) {
        if planted::is(Bug::SweepKeyedByName) && self.sales.contains_key(sale) {
            return;
        }
        let new = SaleSchedule { next_ms: now_ms, hold_ms: 0, defined_ms: None, listed: true };
        self.sales.entry(sale.clone()).or_insert(new).invalidate(now_ms);
        self.probes.push(Reverse((now_ms, sale.clone())));
    }

    /// When the next sale is due, if there is any.
    pub fn next_ms(&self) -> Option<u64> {
        self.probes.peek().map(|Reverse((at_ms, _))| *at_ms)
    }

    /// At most `max` sales that are due, the longest overdue first.
    pub fn due(&mut self, now_ms: u64, max: usize) -> Vec<Probe> {
        let mut due = Vec::new();
        while due.len() < max
            && self.probes.peek().is_some_and(|Reverse((at_ms, _))| *at_ms <= now_ms)
            && let Some(Reverse((at_ms, sale))) = self.probes.pop()
        {
            if let Some(entry) = self.sales.get_mut(&sale)
                && entry.next_ms == at_ms
            {
                entry.next_ms = UNDER_WAY;
                let known = |defined_ms| now_ms < defined_ms + SWEEP_PAUSE_MS_MAX;
                due.push(Probe { sale, define: !entry.defined_ms.is_some_and(known) });
            }
        }
        due
    }

    /// Notes the result of a probe. Returns `false` if the sale exists, but was not in the index.
    pub fn on_probed(&mut self, sale: &SaleId, result: &ProbeResult) -> bool {
        let Some(entry) = self.sales.get_mut(sale) else { return true };
        if let Some(hold_ms) = result.hold_ms {
            (entry.hold_ms, entry.defined_ms) = (hold_ms, Some(result.now_ms));
        }
        let next_ms = if result.more {
            result.now_ms
        } else {
            let hold_ends_ms = result.sent_ms.saturating_add(entry.hold_ms);
            let due_ms = result.due_in_ms.map_or(u64::MAX, |ms| result.now_ms.saturating_add(ms));
            self.spread_ms = (self.spread_ms + SPREAD_STEP_MS) % (SWEEP_PAUSE_MS_MAX / 2);
            let soonest_ms = result.now_ms + SWEEP_PAUSE_MS_MIN;
            let latest_ms = result.now_ms + SWEEP_PAUSE_MS_MAX - self.spread_ms;
            hold_ends_ms.min(due_ms).clamp(soonest_ms, latest_ms)
        };
        let was_listed = std::mem::replace(&mut entry.listed, true);
        self.set_next(sale, next_ms);
        was_listed
    }

    /// The ledger refuses this sale: probe it again later.
    pub fn on_refused(&mut self, sale: &SaleId, now_ms: u64) {
        self.set_next(sale, now_ms + SWEEP_RETRY_MS);
    }

    /// The ledger was away and may have lost data: every sale is due, like a new one.
    pub fn invalidate_all(&mut self, now_ms: u64) {
        self.sales.values_mut().for_each(|entry| entry.invalidate(now_ms));
        self.probes = self.sales.keys().map(|sale| Reverse((now_ms, sale.clone()))).collect();
    }

    /// The sale is gone.
    pub fn forget(&mut self, sale: &SaleId) {
        self.sales.remove(sale);
    }

    fn set_next(&mut self, sale: &SaleId, at_ms: u64) {
        if let Some(entry) = self.sales.get_mut(sale) {
            entry.next_ms = at_ms;
            self.probes.push(Reverse((at_ms, sale.clone())));
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

    fn names(looks: Vec<Probe>) -> Vec<String> {
        looks.into_iter().map(|probe| probe.sale.to_string()).collect()
    }

    /// The result of a probe at this time that found no expired reservation.
    fn at(now_ms: u64) -> ProbeResult {
        ProbeResult { sent_ms: now_ms, now_ms, hold_ms: None, more: false, due_in_ms: None }
    }

    #[test]
    fn a_new_sale_is_due_at_once_and_then_after_its_hold_time() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a"]), 10);
        assert_eq!(schedule.due(9, 9), []);
        assert_eq!(schedule.due(10, 9), [Probe { sale: sale("a"), define: true }]);
        assert_eq!((schedule.due(99, 9), schedule.next_ms()), (vec![], None));
        // The probe was sent at 12: a reservation of 13 expires at 1,013.
        let result = ProbeResult { sent_ms: 12, hold_ms: Some(1_000), ..at(20) };
        assert!(schedule.on_probed(&sale("a"), &result));
        assert_eq!(schedule.next_ms(), Some(1_012));
        schedule.set_listed(&listing(&["a"]), 900);
        assert_eq!(schedule.due(1_011, 9), []);
        assert_eq!(schedule.due(1_012, 9), [Probe { sale: sale("a"), define: false }]);
    }

    #[test]
    fn the_earliest_deadline_decides_within_bounds() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a"]), 0);
        let mut next = |result: ProbeResult| {
            schedule.due(u64::MAX - 1, 9);
            schedule.on_probed(&sale("a"), &result);
            schedule.next_ms().unwrap()
        };
        let hour = 3_600_000;
        assert_eq!(next(ProbeResult { hold_ms: Some(hour), due_in_ms: Some(700), ..at(0) }), 700);
        // Reservations that expire shortly after each other return in one sweep.
        assert_eq!(next(ProbeResult { due_in_ms: Some(1), ..at(700) }), 700 + SWEEP_PAUSE_MS_MIN);
        assert_eq!(next(ProbeResult { more: true, due_in_ms: Some(0), ..at(800) }), 800);
        let far = 900 + SWEEP_PAUSE_MS_MAX / 2..=900 + SWEEP_PAUSE_MS_MAX;
        assert!(far.contains(&next(ProbeResult { due_in_ms: Some(hour), ..at(900) })));
        assert_eq!(next(ProbeResult { hold_ms: Some(1), ..at(1_000) }), 1_000 + SWEEP_PAUSE_MS_MIN);
        assert_eq!(
            next(ProbeResult { due_in_ms: Some(u64::MAX), hold_ms: Some(500), ..at(2_000) }),
            2_500
        );
    }

    #[test]
    fn sales_waiting_longest_come_first_up_to_the_limit() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["c"]), 1);
        schedule.set_listed(&listing(&["b", "c"]), 2);
        schedule.set_listed(&listing(&["a", "b", "c"]), 3);
        assert_eq!(names(schedule.due(5, 2)), ["c", "b"]);
        assert_eq!(names(schedule.due(5, 2)), ["a"]);
    }

    #[test]
    fn after_an_outage_every_sale_is_treated_as_new() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a", "b"]), 0);
        for probe in schedule.due(0, 1) {
            schedule.on_probed(&probe.sale, &ProbeResult { hold_ms: Some(20_000), ..at(0) });
        }
        assert_eq!(names(schedule.due(1, 1)), ["b"]);
        schedule.invalidate_all(2);
        let looks = schedule.due(2, 9);
        assert!(looks.len() == 2 && looks.iter().all(|probe| probe.define), "{looks:?}");
        assert_eq!(schedule.next_ms(), None);
    }

    #[test]
    fn a_recreated_sale_is_probed_at_once_and_only_once() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a", "b"]), 0);
        for probe in schedule.due(0, 9) {
            schedule.on_probed(&probe.sale, &ProbeResult { hold_ms: Some(300_000), ..at(0) });
        }
        // The list is unchanged: only `invalidate` reports a new sale.
        schedule.set_listed(&listing(&["a", "b"]), 5);
        assert_eq!(schedule.due(5, 9), []);
        schedule.invalidate(&sale("a"), 6);
        schedule.invalidate(&sale("a"), 6);
        schedule.invalidate(&sale("new"), 6);
        let looks = schedule.due(6, 9);
        assert!(looks.iter().all(|probe| probe.define), "{looks:?}");
        assert_eq!(names(looks), ["a", "new"]);
        schedule.on_probed(&sale("a"), &ProbeResult { hold_ms: Some(1_000), ..at(7) });
        assert_eq!(schedule.due(1_006, 9), []);
        assert_eq!(names(schedule.due(1_007, 9)), ["a"]);
    }

    #[test]
    fn a_definition_is_requested_again_after_a_minute() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a"]), 0);
        schedule.due(0, 1);
        schedule.on_probed(&sale("a"), &ProbeResult { hold_ms: Some(1_000), ..at(0) });
        for round in 1..60 {
            assert!(!schedule.due(round * 1_000, 1)[0].define, "{round}");
            schedule.on_probed(&sale("a"), &at(round * 1_000));
        }
        assert!(schedule.due(60_000, 1)[0].define);
    }

    #[test]
    fn an_unlisted_sale_is_probed_and_kept_or_forgotten() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["gone", "lost", "stays"]), 0);
        for probe in schedule.due(0, 9) {
            schedule.on_probed(&probe.sale, &ProbeResult { hold_ms: Some(20_000), ..at(0) });
        }
        schedule.set_listed(&listing(&["stays"]), 5);
        let looks = schedule.due(5, 9);
        assert!(looks.iter().all(|probe| probe.define), "another may have its name: {looks:?}");
        assert_eq!(names(looks), ["gone", "lost"]);
        schedule.forget(&sale("gone"));
        let result = ProbeResult { hold_ms: Some(20_000), ..at(6) };
        assert!(!schedule.on_probed(&sale("lost"), &result), "it belongs into the index");
        schedule.set_listed(&listing(&["lost", "stays"]), 7);
        assert_eq!(schedule.due(10_000, 9), []);
        assert_eq!(names(schedule.due(60_000, 9)), ["stays", "lost"]);
    }

    #[test]
    fn a_refused_probe_is_retried_later() {
        let mut schedule = Schedule::default();
        schedule.set_listed(&listing(&["a"]), 0);
        schedule.due(0, 1);
        schedule.on_refused(&sale("a"), 0);
        assert_eq!(schedule.due(SWEEP_RETRY_MS - 1, 1), []);
        assert_eq!(schedule.due(SWEEP_RETRY_MS, 1), [Probe { sale: sale("a"), define: true }]);
    }
}
