//! Bounds of a sale that most sales leave at their defaults.
//!
//! An older version would sell without regard to them, so a sale that has any of them says so by its format.

use crate::limits::EXTEND_MAX_MS_DEFAULT;

/// See the module's header. They are given when the sale is created, and changed by [`Terms`](super::Terms).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How much longer in all a hold may become than it was at first. 0: not at all.
    pub extend_max_ms: u64,
    /// Fewest units in one reservation.
    pub quantity_min: u32,
    /// Most reservations that are ever made, whatever became of them. 0: no bound. `None`: the reservations
    /// that come back are bounded instead: see [`SaleSpec::returned_max`].
    ///
    /// [`SaleSpec::returned_max`]: super::SaleSpec::returned_max
    pub reservations_max: Option<u64>,
    /// Most reservations that are ever made for one user. 0: no bound.
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
    /// Whether they are what a sale has that was given none.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
