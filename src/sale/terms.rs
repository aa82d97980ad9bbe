//! What of a sale's terms can be changed while it is there.

use super::spec::SpecError;
use crate::limits::{HOLD_MS_MAX, QUANTITY_MAX, TIME_MS_MAX};

/// Terms that a sale is to have from now on. What is `None` stays as it is.
///
/// Nobody loses what he has by it: a reservation keeps its deadline, and a user who has more than a
/// new limit keeps that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// The first millisecond at which the sale no longer sells. [`TIME_MS_MAX`]: never.
    pub closes_at_ms: Option<u64>,
    /// How long reservations made from now on are held.
    pub hold_ms: Option<u64>,
    /// Units that one user may hold and have confirmed together. 0: no limit.
    pub limit_per_user: Option<u32>,
    /// Most units in one reservation.
    pub quantity_max: Option<u32>,
}

impl Terms {
    /// Whether they change nothing, whatever the sale.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks every bound. That a sale opens before it closes, only the sale can tell.
    pub fn check(&self) -> Result<(), SpecError> {
        if let Some(hold_ms) = self.hold_ms.filter(|ms| !(1..=HOLD_MS_MAX).contains(ms)) {
            return Err(SpecError::Hold(hold_ms));
        }
        if let Some(quantity) = self.quantity_max.filter(|n| !(1..=QUANTITY_MAX).contains(n)) {
            return Err(SpecError::Quantity(quantity));
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
    fn terms_are_within_the_bounds_of_a_sale() {
        let legal = Terms {
            closes_at_ms: Some(TIME_MS_MAX),
            hold_ms: Some(1),
            limit_per_user: Some(0),
            quantity_max: Some(QUANTITY_MAX),
        };
        assert_eq!((legal.check(), legal.is_empty()), (Ok(()), false));
        assert!(Terms::default().check().is_ok() && Terms::default().is_empty());
        for bad in [
            Terms { hold_ms: Some(0), ..legal },
            Terms { hold_ms: Some(HOLD_MS_MAX + 1), ..legal },
            Terms { quantity_max: Some(0), ..legal },
            Terms { quantity_max: Some(QUANTITY_MAX + 1), ..legal },
            Terms { closes_at_ms: Some(TIME_MS_MAX + 1), ..legal },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
