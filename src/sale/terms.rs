//! The terms of a sale that can be changed while it exists.

use super::spec::{SaleSpec, SpecError};
use crate::limits::{HOLD_MS_MAX, QUANTITY_MAX, TIME_MS_MAX, TOTAL_MAX};

/// New terms of a sale. A term that is `None` stays as it is.
///
/// Nobody loses a reservation by it: a reservation keeps its deadline and its units, and a user
/// above a new limit keeps what he has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// The first millisecond at which the sale no longer sells. [`TIME_MS_MAX`]: never.
    pub closes_at_ms: Option<u64>,
    /// How long reservations made from now on are held.
    pub hold_ms: Option<u64>,
    /// The units that one user may have held and confirmed together. 0: no limit.
    pub limit_per_user: Option<u32>,
    /// The maximum of units in one reservation.
    pub quantity_max: Option<u32>,
    /// The minimum of units in one reservation.
    pub quantity_min: Option<u32>,
    /// How much longer a hold may become, in total, than it was at first. 0: not at all.
    pub extend_max_ms: Option<u64>,
    /// The maximum number of reservations that are ever made, including those made so far. 0: no
    /// bound. `Some(None)`: the default of a sale.
    pub reservations_max: Option<Option<u64>>,
    /// The same per user. 0: no bound.
    pub reservations_per_user_max: Option<u32>,
}

impl Terms {
    /// Whether they change nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether they include any of a sale's [`Rules`](super::Rules).
    pub fn name_rules(&self) -> bool {
        self.quantity_min.is_some()
            || self.extend_max_ms.is_some()
            || self.reservations_max.is_some()
            || self.reservations_per_user_max.is_some()
    }

    /// The definition of the sale after the change.
    pub fn applied_to(&self, spec: &SaleSpec) -> SaleSpec {
        let mut spec = spec.clone();
        spec.closes_at_ms = self.closes_at_ms.unwrap_or(spec.closes_at_ms);
        spec.hold_ms = self.hold_ms.unwrap_or(spec.hold_ms);
        spec.limit_per_user = self.limit_per_user.unwrap_or(spec.limit_per_user);
        spec.quantity_max = self.quantity_max.unwrap_or(spec.quantity_max);
        let rules = &mut spec.rules;
        rules.quantity_min = self.quantity_min.unwrap_or(rules.quantity_min);
        rules.extend_max_ms = self.extend_max_ms.unwrap_or(rules.extend_max_ms);
        rules.reservations_max = self.reservations_max.unwrap_or(rules.reservations_max);
        let per_user = &mut rules.reservations_per_user_max;
        *per_user = self.reservations_per_user_max.unwrap_or(*per_user);
        spec
    }

    /// Checks every bound. Only the sale can check that it opens before it closes.
    pub fn check(&self) -> Result<(), SpecError> {
        if let Some(hold_ms) = self.hold_ms.filter(|ms| !(1..=HOLD_MS_MAX).contains(ms)) {
            return Err(SpecError::Hold(hold_ms));
        }
        if let Some(quantity) = self.quantity_max.filter(|n| !(1..=QUANTITY_MAX).contains(n)) {
            return Err(SpecError::Quantity(quantity));
        }
        let quantity_max = self.quantity_max.unwrap_or(QUANTITY_MAX);
        if let Some(quantity) = self.quantity_min.filter(|n| !(1..=quantity_max).contains(n)) {
            return Err(SpecError::QuantityMin(quantity, quantity_max));
        }
        if let Some(extend_max_ms) = self.extend_max_ms.filter(|ms| *ms > HOLD_MS_MAX) {
            return Err(SpecError::Extend(extend_max_ms));
        }
        if let Some(max) = self.reservations_max.flatten().filter(|max| *max > TOTAL_MAX) {
            return Err(SpecError::Reservations(max));
        }
        match self.closes_at_ms.filter(|ms| *ms > TIME_MS_MAX) {
            Some(closes_at_ms) => Err(SpecError::Times(0, closes_at_ms)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_outside_the_bounds_of_a_sale_are_refused() {
        let legal = Terms {
            closes_at_ms: Some(TIME_MS_MAX),
            hold_ms: Some(1),
            limit_per_user: Some(0),
            quantity_max: Some(QUANTITY_MAX),
            quantity_min: Some(QUANTITY_MAX),
            extend_max_ms: Some(HOLD_MS_MAX),
            reservations_max: Some(Some(TOTAL_MAX)),
            reservations_per_user_max: Some(u32::MAX),
        };
        assert_eq!((legal.check(), legal.is_empty()), (Ok(()), false));
        assert!(Terms::default().check().is_ok() && Terms::default().is_empty());
        for bad in [
            Terms { hold_ms: Some(0), ..legal },
            Terms { hold_ms: Some(HOLD_MS_MAX + 1), ..legal },
            Terms { quantity_max: Some(0), ..legal },
            Terms { quantity_max: Some(QUANTITY_MAX + 1), ..legal },
            Terms { closes_at_ms: Some(TIME_MS_MAX + 1), ..legal },
            Terms { quantity_min: Some(0), ..legal },
            Terms { quantity_min: Some(5), quantity_max: Some(4), ..legal },
            Terms { quantity_min: Some(QUANTITY_MAX + 1), ..Terms::default() },
            Terms { extend_max_ms: Some(HOLD_MS_MAX + 1), ..legal },
            Terms { reservations_max: Some(Some(TOTAL_MAX + 1)), ..legal },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
