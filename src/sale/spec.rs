//! The definition of a sale, and its state at a time.

use std::sync::Arc;

use super::rules::Rules;
use super::seats::Plan;
use super::split::Split;
use super::types::Types;
use crate::limits::{
    HOLD_MS_DEFAULT, HOLD_MS_MAX, QUANTITY_MAX, QUANTITY_MAX_DEFAULT, RESERVATION_SEATS_MAX,
    RETURNED_MAX_DEFAULT, RETURNED_PER_UNIT_DEFAULT, SPLITS_MAX, TIME_MS_MAX, TOTAL_MAX,
};

/// In [`members`](SaleSpec::members): not a number.
const NOT_SET: u64 = u64::MAX;

/// The definition of a sale. Times are milliseconds since 1970, UTC, on the ledger's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleSpec {
    /// Units for sale.
    pub total: u64,
    /// The first millisecond at which it sells. 0: it is open from the start.
    pub opens_at_ms: u64,
    /// The first millisecond at which it no longer sells. [`TIME_MS_MAX`]: never.
    pub closes_at_ms: u64,
    /// The units that one user may have held and confirmed together. 0: no limit.
    pub limit_per_user: u32,
    /// How long a reservation is held before it must be confirmed.
    pub hold_ms: u64,
    /// The maximum of units in one reservation.
    pub quantity_max: u32,
    /// Further bounds, which most sales leave at their defaults.
    pub rules: Rules,
    /// Its ticket types, which never change. Most sales have none.
    pub types: Types,
    /// Its seats, in a sale with seats. They determine its total and its ticket types, until stock is
    /// added or a coach is withdrawn.
    pub plan: Option<Arc<Plan>>,
    /// Whether it is split into parts.
    pub split: Split,
}

/// Which creation of a sale this is. A sale that is removed and created again under its name is
/// another one: it has another number, if the ledger assigns numbers. The embedded ledger assigns
/// none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Creation(pub u64);

impl Creation {
    /// The sale was created by hand, or by a version before 0.2.0.
    pub const UNKNOWN: Self = Self(0);
}

/// Why a definition is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// `total` out of range.
    #[error("total must be 0 to {TOTAL_MAX}, not {0}")]
    Total(u64),
    /// `hold` out of range.
    #[error("hold must be 1 ms to 366 days, not {0} ms")]
    Hold(u64),
    /// `quantity` out of range.
    #[error("the maximum quantity must be 1 to {QUANTITY_MAX}, not {0}")]
    Quantity(u32),
    /// `quantity_min` out of range.
    #[error("the minimum quantity must be 1 to the maximum, {1}, not {0}")]
    QuantityMin(u32, u32),
    /// `extend_max` out of range.
    #[error("a hold may be extended by 366 days at the most, not {0} ms")]
    Extend(u64),
    /// `reservations_max` out of range, or of a sale in parts.
    #[error("a sale in one part may bound its reservations, by {TOTAL_MAX} at the most")]
    Reservations(u64),
    /// Ticket types of a sale in parts.
    #[error("a sale with ticket types can't be split into parts")]
    TypesSplit,
    /// Seats of a sale in parts.
    #[error("a sale with seats can't be split into parts")]
    SeatsSplit,
    /// A total or ticket types that are not those of the seats.
    #[error("the seats of a sale determine its total and its ticket types")]
    SeatsDiffer,
    /// More seats in one reservation than is possible.
    #[error("a reservation in a sale with seats has at most {RESERVATION_SEATS_MAX}, not {0}")]
    SeatsPerReservation(u32),
    /// Times out of range or in the wrong order.
    #[error("opens ({0} ms) must be before closes ({1} ms), both before the year 10000")]
    Times(u64, u64),
    /// `splits` out of range.
    #[error("a sale may be split into 1 to {SPLITS_MAX} parts, not {0}")]
    Splits(u32),
}

/// The state of a sale at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaleState {
    /// Not open yet.
    Scheduled,
    /// Open.
    Open,
    /// Over.
    Closed,
}

impl SaleState {
    /// The state's public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl SaleSpec {
    /// A sale of `total` units with every other setting at its default: open, no limit per user,
    /// held for five minutes.
    pub fn with_total(total: u64) -> Self {
        Self {
            total,
            opens_at_ms: 0,
            closes_at_ms: TIME_MS_MAX,
            limit_per_user: 0,
            hold_ms: HOLD_MS_DEFAULT,
            quantity_max: QUANTITY_MAX_DEFAULT,
            rules: Rules::default(),
            types: Types::default(),
            plan: None,
            split: Split::Whole,
        }
    }

    /// The same for a sale of these seats.
    pub fn with_plan(plan: Plan) -> Self {
        let (total, types) = (plan.units(), plan.classes().clone());
        Self { types, plan: Some(Arc::new(plan)), ..Self::with_total(total) }
    }

    /// Checks every bound.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.total > TOTAL_MAX {
            return Err(SpecError::Total(self.total));
        }
        if !(1..=HOLD_MS_MAX).contains(&self.hold_ms) {
            return Err(SpecError::Hold(self.hold_ms));
        }
        if !(1..=QUANTITY_MAX).contains(&self.quantity_max) {
            return Err(SpecError::Quantity(self.quantity_max));
        }
        let rules = &self.rules;
        if !(1..=self.quantity_max).contains(&rules.quantity_min) {
            return Err(SpecError::QuantityMin(rules.quantity_min, self.quantity_max));
        }
        if rules.extend_max_ms > HOLD_MS_MAX {
            return Err(SpecError::Extend(rules.extend_max_ms));
        }
        let max = rules.reservations_max.unwrap_or(0);
        if max > TOTAL_MAX || max > 0 && self.split != Split::Whole {
            return Err(SpecError::Reservations(max));
        }
        if self.opens_at_ms >= self.closes_at_ms || self.closes_at_ms > TIME_MS_MAX {
            return Err(SpecError::Times(self.opens_at_ms, self.closes_at_ms));
        }
        if self.split.parts() > SPLITS_MAX {
            return Err(SpecError::Splits(self.split.parts()));
        }
        if !self.types.is_empty() && self.split != Split::Whole {
            return Err(match self.plan {
                Some(_) => SpecError::SeatsSplit,
                None => SpecError::TypesSplit,
            });
        }
        match &self.plan {
            Some(plan) if self.total != plan.units() || self.types != *plan.classes() => {
                Err(SpecError::SeatsDiffer)
            }
            Some(_) if self.quantity_max > RESERVATION_SEATS_MAX => {
                Err(SpecError::SeatsPerReservation(self.quantity_max))
            }
            _ => Ok(()),
        }
    }

    /// The definition with which a sale like this one is created again. If this one was closed before
    /// it opened, its closing time would not pass the check: the new one has none.
    pub fn for_another(mut self) -> Self {
        if self.opens_at_ms >= self.closes_at_ms {
            self.closes_at_ms = TIME_MS_MAX;
        }
        self
    }

    /// How many reservations may come back until the sale rejects further purchases, if it has no
    /// bound on the reservations made. `None`: any number, as in a split sale, whose places pass
    /// their units on.
    ///
    /// Those that come back are counted, not those that are made: a purchase must be cheap, and
    /// counts nothing.
    pub fn returned_max(&self) -> Option<u64> {
        let has_default = self.rules.reservations_max.is_none() && self.split == Split::Whole;
        has_default.then(|| RETURNED_MAX_DEFAULT.max(RETURNED_PER_UNIT_DEFAULT * self.total))
    }

    /// Whether a purchase must name the user, since something in the sale is bounded per user.
    pub fn needs_user(&self) -> bool {
        self.limit_per_user > 0 || self.rules.reservations_per_user_max > 0
    }

    /// Whether a version that knows neither rules, types nor seats would sell it correctly.
    pub fn is_plain(&self) -> bool {
        self.rules.is_default() && self.types.is_empty() && self.plan.is_none()
    }

    /// The differences from the requested definition: `hold_ms is 300000, not 1000`.
    pub fn differences(&self, asked: &Self) -> Vec<String> {
        self.compare(asked, |_, _| true, self.types != asked.types, self.plan != asked.plan)
    }

    /// The same without the settings that were left at their defaults.
    pub fn differences_from_set(&self, asked: &Self) -> Vec<String> {
        let defaults = Self::with_total(asked.total).members();
        let counts = |name, value| name == "total" || !defaults.contains(&(name, value));
        let other_types = !asked.types.is_empty() && self.types != asked.types;
        let other_plan = asked.plan.is_some() && self.plan != asked.plan;
        self.compare(asked, counts, other_types, other_plan)
    }

    fn compare(
        &self,
        asked: &Self,
        counts: impl Fn(&'static str, u64) -> bool,
        other_types: bool,
        other_plan: bool,
    ) -> Vec<String> {
        let both = self.members().into_iter().zip(asked.members());
        let differ = both.filter(|((_, is), (name, asked))| is != asked && counts(name, *asked));
        let shown = |value: u64| match value {
            NOT_SET => "the default".to_owned(),
            value => value.to_string(),
        };
        let text =
            |((name, is), (_, asked))| format!("{name} is {}, not {}", shown(is), shown(asked));
        let types = other_types.then(|| {
            let named = |types: &Types| match types.is_empty() {
                true => "none".to_owned(),
                false => types.to_text(),
            };
            format!("types is {}, not {}", named(&self.types), named(&asked.types))
        });
        let plan = other_plan.then(|| "the seats are others".to_owned());
        differ.map(text).chain(types).chain(plan).collect()
    }

    fn members(&self) -> [(&'static str, u64); 11] {
        [
            ("total", self.total),
            ("hold_ms", self.hold_ms),
            ("limit_per_user", self.limit_per_user.into()),
            ("quantity_max", self.quantity_max.into()),
            ("splits", self.split.parts().into()),
            ("opens_at_ms", self.opens_at_ms),
            ("closes_at_ms", self.closes_at_ms),
            ("extend_max_ms", self.rules.extend_max_ms),
            ("quantity_min", self.rules.quantity_min.into()),
            ("reservations_max", self.rules.reservations_max.unwrap_or(NOT_SET)),
            ("reservations_per_user_max", self.rules.reservations_per_user_max.into()),
        ]
    }

    /// The state at a time.
    pub fn state(&self, now_ms: u64) -> SaleState {
        if now_ms >= self.closes_at_ms {
            SaleState::Closed
        } else if now_ms < self.opens_at_ms {
            SaleState::Scheduled
        } else {
            SaleState::Open
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_ticket_types_are_not_reported_as_a_difference() {
        let typed = |text| {
            let types = Types::from_text(text).unwrap();
            SaleSpec { types, ..SaleSpec::with_total(9) }
        };
        let (is, plain) = (typed("adult:6"), SaleSpec::with_total(9));
        assert_eq!(is.differences_from_set(&plain), Vec::<String>::new());
        assert_eq!(is.differences(&plain), ["types is adult:6, not none"]);
        for (is, asked, told) in [
            (&is, typed("adult:5"), "types is adult:6, not adult:5"),
            (&plain, typed("adult:5"), "types is none, not adult:5"),
        ] {
            assert_eq!(is.differences_from_set(&asked), [told]);
        }
        assert_eq!(is.differences_from_set(&is), Vec::<String>::new());
    }
}
