//! What an operator changes of a sale that is there: its times, its other terms, its stock.

use super::Machine;
use super::by_user::ByUser;
use crate::limits::{LIMIT_COUNT_UNITS_MAX, TIME_MS_MAX, TOTAL_MAX};
use crate::sale::command::Outcome;
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

    /// All of them or none.
    pub(super) fn change_terms(&mut self, terms: &Terms) -> Outcome {
        debug_assert!(terms.check().is_ok(), "unchecked terms: {terms:?}");
        let opens_at_ms = self.spec.opens_at_ms;
        if terms.closes_at_ms.is_some_and(|closes_at_ms| closes_at_ms <= opens_at_ms) {
            return Outcome::ClosesTooEarly { opens_at_ms };
        }
        let quantity_min = self.spec.rules.quantity_min;
        if terms.quantity_max.is_some_and(|quantity_max| quantity_max < quantity_min) {
            return Outcome::QuantityMaxTooSmall { quantity_min };
        }
        let limit_before = self.spec.limit_per_user;
        let limit = terms.limit_per_user.unwrap_or(limit_before);
        let units = self.held + self.confirmed;
        if limit > 0 && limit_before == 0 && units > LIMIT_COUNT_UNITS_MAX {
            return Outcome::TooManyToCount { units };
        }
        let spec = &mut self.spec;
        spec.closes_at_ms = terms.closes_at_ms.unwrap_or(spec.closes_at_ms);
        spec.hold_ms = terms.hold_ms.unwrap_or(spec.hold_ms);
        spec.quantity_max = terms.quantity_max.unwrap_or(spec.quantity_max);
        spec.limit_per_user = limit;
        match (limit_before, limit) {
            (0, 1..) => self.count_users(),
            (1.., 0) => self.units_by_user = ByUser::default(),
            _ => {}
        }
        Outcome::Sale(Box::new(self.view()))
    }

    pub(super) fn add_stock(&mut self, units: u64) -> Outcome {
        match self.spec.total.checked_add(units) {
            Some(total) if total <= TOTAL_MAX => {
                self.spec.total = total;
                self.moves.stock = self.moves.stock.map(|stock| stock + units);
                Outcome::Sale(Box::new(self.view()))
            }
            _ => Outcome::TotalTooLarge,
        }
    }

    /// Only what is free can leave.
    pub(super) fn take_stock(&mut self, units: u64, at_most: bool) -> Outcome {
        let free = self.free();
        let units = if at_most { units.min(free) } else { units };
        if units > free {
            return Outcome::TooFewFree { free };
        }
        self.spec.total -= units;
        self.moves.stock = self.moves.stock.map(|stock| stock.saturating_sub(units));
        Outcome::StockTaken { units, view: Box::new(self.view()) }
    }
}
