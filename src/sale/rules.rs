//! Bounds of a sale that most sales leave at their defaults.
//!
//! An older version would sell against them, so a sale that has any of them has a format of its
//! own.

use crate::limits::EXTEND_MAX_MS_DEFAULT;

/// Set when the sale is created, and changed by [`Terms`](super::Terms).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How much longer a hold may become, in total, than it was at first. 0: not at all.
    pub extend_max_ms: u64,
    /// The minimum of units in one reservation.
    pub quantity_min: u32,
    /// The maximum number of reservations that are ever made, whatever their status. 0: no bound.
    /// `None`: the reservations that come back are bounded instead: see [`SaleSpec::returned_max`].
    ///
    /// [`SaleSpec::returned_max`]: super::SaleSpec::returned_max
    pub reservations_max: Option<u64>,
    /// The maximum number of reservations that are ever made for one user. 0: no bound.
    pub reservations_per_user_max: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            extend_max_ms: EXTEND_MAX_MS_DEFAULT,
            quantity_min: 1,
            reservations_max: None,
            reservations_per_user_max: 0,
        }
    }
}

impl Rules {
    /// Whether they are the defaults.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
