//! I5, never strand: a reservation that nobody paid returns to stock within a second of its
//! deadline, while a server that reaches the ledger is up.
//!
//! A deadline passes when the ledger's clock is first seen behind it. From then on true time
//! counts: so a clock that jumps makes nothing late by itself.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use stampede::limits::SWEEP_PAUSE_MS_MAX;
use stampede::sale::{ReservationId, SaleId};

use super::place::Place;
use super::row::Deadline;
use super::{Findings, Settings};
use crate::time::{MS, SECOND, Us};

/// A deadline that has passed, and when it was seen.
#[derive(Debug)]
struct Due {
    at: Us,
    deadline: Deadline,
}

/// The due reservations of one place, in the order in which they became due.
#[derive(Debug, Default)]
struct Watch {
    due: VecDeque<Due>,
    /// The last deadline that was noted.
    noted: Option<Deadline>,
    /// Nothing is expected of the sweep before this.
    excused_until: Us,
    /// Deadlines that a jump of the clock may have brought closer, and when they would have passed
    /// without it: nobody is told of a jump.
    closer: BTreeMap<Deadline, Us>,
}

/// The due reservations of all places.
#[derive(Debug)]
pub struct Deadlines {
    places: BTreeMap<SaleId, Watch>,
    /// Since when a sweep works. `None`: none does.
    works_since: Option<Us>,
    excused_until: Us,
    late_us: Us,
    grace_us: Us,
}

impl Deadlines {
    /// With the times of these settings.
    pub fn new(settings: &Settings) -> Self {
        Self {
            places: BTreeMap::new(),
            works_since: Some(0),
            excused_until: 0,
            late_us: SECOND + settings.sweep_slack_ms * MS,
            grace_us: settings.sweep_grace_ms * MS,
        }
    }

    /// A server that reaches the ledger is up from now on, or none is.
    pub fn set_working(&mut self, at: Us, works: bool) {
        self.works_since = match (self.works_since, works) {
            (Some(since), true) => Some(since),
            (None, true) => Some(at),
            (_, false) => None,
        };
    }

    /// Nothing is expected of the sweep before a time, at one place or at all.
    pub fn excuse(&mut self, id: Option<&SaleId>, until: Us) {
        let excused_until = match id {
            Some(id) => &mut self.places.entry(id.clone()).or_default().excused_until,
            None => &mut self.excused_until,
        };
        *excused_until = until.max(*excused_until);
    }

    /// The ledger's clock, which has shown this, is about to be set. A deadline that has passed may
    /// be ahead again.
    pub fn jump<'a>(
        &mut self,
        at: Us,
        now_ms: u64,
        places: impl Iterator<Item = (&'a SaleId, &'a Place)>,
    ) {
        for watch in self.places.values_mut() {
            watch.due.clear();
            watch.noted = None;
        }
        for (id, place) in places {
            let mut ahead = place.deadlines().range((now_ms + 1, 0, ReservationId(0))..).peekable();
            if ahead.peek().is_some() {
                let watch = self.places.entry(id.clone()).or_default();
                for deadline in ahead {
                    let until = at + (deadline.0 - now_ms).min(SWEEP_PAUSE_MS_MAX) * MS;
                    let noted = watch.closer.entry(*deadline).or_default();
                    *noted = until.max(*noted);
                }
            }
        }
    }

    /// The place is another one now.
    pub fn begin_anew(&mut self, id: &SaleId) {
        if let Some(watch) = self.places.get_mut(id) {
            watch.due.clear();
            watch.closer.clear();
            watch.noted = None;
        }
    }

    /// Looks at a place at a time of the ledger's.
    pub fn look(
        &mut self,
        at: Us,
        id: &SaleId,
        (place, now_ms): (&Place, u64),
        findings: &mut Findings,
    ) {
        let is_known = self.places.contains_key(id);
        if !is_known && place.deadlines().first().is_none_or(|(due_ms, ..)| *due_ms > now_ms) {
            return;
        }
        let watch = self.places.entry(id.clone()).or_default();
        let from = watch.noted.map_or(Bound::Unbounded, Bound::Excluded);
        for deadline in place.deadlines().range((from, Bound::Unbounded)) {
            if deadline.0 > now_ms {
                break;
            }
            watch.due.push_back(Due { at, deadline: *deadline });
            watch.noted = Some(*deadline);
        }
        let working = self.works_since.map(|since| since + self.grace_us);
        let begin = working.map(|since| since.max(self.excused_until).max(watch.excused_until));
        while let Some(Due { at: since, deadline }) = watch.due.front() {
            if !place.deadlines().contains(deadline) {
                watch.due.pop_front();
                continue;
            }
            let closer = watch.closer.get(deadline).copied().unwrap_or(0);
            let begin = begin.map(|begin| begin.max(*since).max(closer));
            let Some(latest) = begin.map(|begin| begin + self.late_us) else { return };
            if at <= latest {
                return;
            }
            let (deadline_ms, _, row) = deadline;
            let text = format!(
                "{id}: {row} is held at {now_ms} ms, and its deadline was {deadline_ms} ms, seen \
                 {} ms ago",
                (at - since) / MS
            );
            findings.add(at, "I5 never strand", text);
            watch.due.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Stage, ask};
    use stampede::sale::{Command, ReservationId, SaleSpec};

    /// A sale with one reservation, held for 100 ms.
    fn held() -> Stage {
        let mut stage = Stage::begin(SaleSpec { hold_ms: 100, ..SaleSpec::with_total(2) });
        stage.run(0, &ask(1, 1, "", ""));
        stage
    }

    /// Time passes up to then, in steps of 50 ms.
    fn pass(stage: &mut Stage, from_ms: u64, to_ms: u64) {
        for at_ms in (from_ms..=to_ms).step_by(50) {
            let now_ms = stage.now_ms(at_ms);
            let id = stage.sale.clone();
            stage.oracle.passed(at_ms * MS, &id, now_ms);
        }
    }

    #[test]
    fn a_reservation_that_nobody_returns_is_found_once() {
        let mut stage = held();
        stage.oracle.sweeping(0, true);
        pass(&mut stage, 0, 2_400);
        assert_eq!(stage.names(), [""; 0], "the server may have just begun");
        pass(&mut stage, 2_450, 9_000);
        assert_eq!(stage.names(), ["I5 never strand"]);
    }

    #[test]
    fn whoever_returns_or_extends_it_in_time_is_not_late() {
        let mut stage = held();
        pass(&mut stage, 0, 900);
        stage.run(900, &Command::Extend(ReservationId(1), Some(2_000)));
        pass(&mut stage, 950, 3_800);
        stage.run(3_800, &Command::Expire { batch_max: 9 });
        pass(&mut stage, 3_850, 9_000);
        assert_eq!(stage.names(), [""; 0]);
    }

    #[test]
    fn nothing_is_late_while_no_server_is_up_or_the_sweep_is_excused() {
        let mut stage = held();
        stage.oracle.sweeping(0, false);
        pass(&mut stage, 0, 9_000);
        stage.oracle.sweeping(9_000 * MS, true);
        pass(&mut stage, 9_050, 11_500);
        let id = stage.sale.clone();
        stage.oracle.excuse_sweep(Some(&id), 20_000 * MS);
        pass(&mut stage, 11_550, 21_000);
        assert_eq!(stage.names(), [""; 0]);
        pass(&mut stage, 21_050, 21_100);
        assert_eq!(stage.names(), ["I5 never strand"]);
    }

    #[test]
    fn a_jump_of_the_clock_makes_nothing_late_at_once() {
        let mut stage = held();
        pass(&mut stage, 0, 50);
        let (id, later_ms) = (stage.sale.clone(), stage.now_ms(3_600_000));
        stage.oracle.passed(4_000 * MS, &id, later_ms);
        stage.oracle.passed(4_900 * MS, &id, later_ms);
        assert_eq!(stage.names(), [""; 0]);
        stage.oracle.passed(5_050 * MS, &id, later_ms);
        assert_eq!(stage.names(), ["I5 never strand"]);
    }
}
