//! An operator's changes to an existing sale: its times, its other terms, its stock, its end.

use super::Machine;
use super::by_user::ByUser;
use crate::limits::{
    LIMIT_COUNT_LINES_MAX, LIMIT_COUNT_UNITS_MAX, RESERVATION_SEATS_MAX, TIME_MS_MAX, TOTAL_MAX,
};
use crate::sale::command::Outcome;
use crate::sale::rules::Rules;
use crate::sale::seats::SeatRefusal;
use crate::sale::spec::{SaleSpec, SaleState};
use crate::sale::split::Split;
use crate::sale::terms::Terms;

impl Machine {
    pub(super) fn open(&mut self) -> Outcome {
        self.spec.opens_at_ms = self.spec.opens_at_ms.min(self.now_ms);
        if self.spec.closes_at_ms <= self.now_ms {
            self.spec.closes_at_ms = TIME_MS_MAX;
        }
        Outcome::Sale(Box::new(self.view()))
    }

    pub(super) fn close(&mut self) -> Outcome {
        self.spec.closes_at_ms = self.spec.closes_at_ms.min(self.now_ms);
        Outcome::Sale(Box::new(self.view()))
    }

    /// The owner of the machine drops it on [`Outcome::Removed`].
    pub(super) fn may_be_removed(&self) -> Outcome {
        if self.spec.state(self.now_ms) != SaleState::Closed {
            Outcome::NotClosed
        } else if self.held > 0 {
            Outcome::StillHeld { held: self.held }
        } else {
            Outcome::Removed
        }
    }

    /// Applies all of the terms or none.
    pub(super) fn change_terms(&mut self, terms: &Terms) -> Outcome {
        debug_assert!(terms.check().is_ok(), "unchecked terms: {terms:?}");
        let opens_at_ms = self.spec.opens_at_ms;
        if terms.closes_at_ms.is_some_and(|closes_at_ms| closes_at_ms <= opens_at_ms) {
            return Outcome::ClosesTooEarly { opens_at_ms };
        }
        let changed = terms.applied_to(&self.spec);
        let before = std::mem::replace(&mut self.spec, changed);
        if let Some(refusal) = self.refusal_of_terms(&before, terms) {
            self.spec = before;
            return refusal;
        }
        let (rules, old) = (self.spec.rules, before.rules);
        if self.spec.limit_per_user == 0 {
            self.units_by_user = ByUser::default();
        } else if before.limit_per_user == 0 {
            self.count_user_units();
        }
        if rules.reservations_per_user_max == 0 {
            self.made_by_user = ByUser::default();
        } else if old.reservations_per_user_max == 0 {
            self.count_user_reservations();
        }
        Outcome::Sale(Box::new(self.view()))
    }

    /// Why the new definition is rejected, given the one before.
    fn refusal_of_terms(&self, before: &SaleSpec, terms: &Terms) -> Option<Outcome> {
        let (spec, rules, old) = (&self.spec, &self.spec.rules, &before.rules);
        if let Some(refusal) = Outcome::refusal_of_quantities(terms, spec) {
            return Some(refusal);
        }
        if spec.plan.is_some() && spec.quantity_max > RESERVATION_SEATS_MAX {
            return Some(Outcome::NoSeats(SeatRefusal::QuantityMax));
        }
        let is_bounded = |rules: &Rules| rules.reservations_max.is_some_and(|max| max > 0);
        if is_bounded(rules) && !is_bounded(old) && spec.split != Split::Whole {
            return Some(Outcome::BoundOfParts);
        }
        let limits = spec.limit_per_user > 0 && before.limit_per_user == 0;
        let counts = is_bounded(rules) && !is_bounded(old)
            || rules.reservations_per_user_max > 0 && old.reservations_per_user_max == 0;
        let units = self.held + self.confirmed;
        let is_large = (limits || counts) && units > LIMIT_COUNT_UNITS_MAX
            || counts && self.rows.len() as u64 > LIMIT_COUNT_LINES_MAX;
        is_large.then_some(Outcome::TooManyToCount { units })
    }

    pub(super) fn add_stock(&mut self, units: u64) -> Outcome {
        if self.spec.plan.is_some() {
            return Outcome::NoSeats(SeatRefusal::CoachesOnly);
        }
        match self.spec.total.checked_add(units) {
            Some(total) if total <= TOTAL_MAX => {
                self.spec.total = total;
                self.transfers.stock = self.transfers.stock.map(|stock| stock + units);
                Outcome::Sale(Box::new(self.view()))
            }
            _ => Outcome::TotalTooLarge,
        }
    }

    /// Only free units can be taken.
    pub(super) fn take_stock(&mut self, units: u64, at_most: bool) -> Outcome {
        if self.spec.plan.is_some() {
            return Outcome::NoSeats(SeatRefusal::CoachesOnly);
        }
        let free = self.free();
        let units = if at_most { units.min(free) } else { units };
        if units > free {
            return Outcome::TooFewFree { free };
        }
        self.spec.total -= units;
        self.transfers.stock = self.transfers.stock.map(|stock| stock.saturating_sub(units));
        Outcome::StockTaken { units, view: Box::new(self.view()) }
    }
}
