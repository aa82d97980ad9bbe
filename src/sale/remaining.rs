//! What is to remain of a reservation.

use super::seats::Seats;
use super::types::Lines;

/// The units that are to remain when a part of a reservation is cancelled or refunded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remaining {
    /// This many units, in a sale without ticket types. 0: the whole reservation is given back, in
    /// any sale.
    Units(u32),
    /// These lines, in a sale with ticket types.
    Lines(Lines),
    /// These seats, in a sale with seats.
    Seats(Seats),
}

impl Remaining {
    /// Units of all types together.
    pub fn units(&self) -> u32 {
        match self {
            Self::Units(units) => *units,
            Self::Lines(lines) => lines.units(),
            Self::Seats(seats) => seats.count(),
        }
    }

    /// Whether nothing is to remain.
    pub fn is_none(&self) -> bool {
        self.units() == 0
    }
}
