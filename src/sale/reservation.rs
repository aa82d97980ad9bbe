//! A reservation, and sums over reservations.

use std::borrow::Borrow;

use super::details::{Details, Note};
use super::id::{ReservationId, User};
use super::seats::Ride;
use super::types::{Lines, TypeUnits, Types};

/// The status of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Held, to be confirmed before its deadline.
    Held = 0,
    /// Confirmed. Final, unless it is refunded.
    Confirmed = 1,
    /// Cancelled. Final.
    Cancelled = 2,
    /// Returned to stock after its deadline. A late confirmation may still take its units again.
    Expired = 3,
    /// Confirmed, then refunded: its units returned to stock. Final.
    Refunded = 4,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Held, Self::Confirmed, Self::Cancelled, Self::Expired, Self::Refunded];

    /// The status' public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Refunded => "refunded",
        }
    }

    /// Whether a reservation of this status has its units.
    pub fn has_units(self) -> bool {
        matches!(self, Self::Held | Self::Confirmed)
    }

    /// Parses the output of [`as_str`](Self::as_str).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// A reservation as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Its id within the sale.
    pub id: ReservationId,
    /// The buyer. `None`: anonymous.
    pub user: Option<User>,
    /// Units.
    pub quantity: u32,
    /// Its status.
    pub status: Status,
    /// The end of its hold time, in ms since 1970.
    pub expires_at_ms: u64,
    /// Its details.
    pub details: Option<Box<Details>>,
}

impl Reservation {
    /// The units of the original request.
    pub fn asked(&self) -> u32 {
        self.details.as_ref().and_then(|details| details.asked).unwrap_or(self.quantity)
    }

    /// Its units by ticket type, in a sale with ticket types.
    pub fn lines(&self) -> Option<&Lines> {
        self.details.as_ref()?.lines.as_ref()
    }

    /// The lines of the original request.
    pub fn asked_lines(&self) -> Option<&Lines> {
        self.details.as_ref()?.asked_lines.as_ref().or(self.lines())
    }

    /// Its note.
    pub fn note(&self) -> Option<&str> {
        self.details.as_ref().and_then(|details| details.note.as_ref()).map(Note::as_str)
    }

    /// Whether a request for this quantity, these lines and this ride is the one that made it.
    pub fn was_asked_by(&self, quantity: u32, lines: Option<&Lines>, ride: Option<&Ride>) -> bool {
        let same_ride = match (self.ride(), ride) {
            (Some(has), Some(asked)) => has.was_asked_as(asked),
            // A sale with one leg and no wish: nothing is asked of its seats.
            (Some(has), None) => has.was_asked_as(&Ride::default()),
            (None, asked) => asked.is_none(),
        };
        self.asked() == quantity && self.asked_lines() == lines && same_ride
    }

    /// Its journey and seats, in a sale with seats.
    pub fn ride(&self) -> Option<&Ride> {
        self.details.as_ref()?.ride.as_deref()
    }

    /// The original end of its hold time, in ms since 1970.
    pub fn first_expires_at_ms(&self) -> u64 {
        let first = self.details.as_ref().and_then(|details| details.first_expires_at_ms);
        first.unwrap_or(self.expires_at_ms)
    }
}

/// The units by ticket type of these reservations, in a sale of these types.
///
/// # Errors
/// The first reservation whose lines do not fit the sale: they are missing, present without types,
/// or of another type or quantity.
pub fn count_by_type(
    types: &Types,
    reservations: impl IntoIterator<Item = impl Borrow<Reservation>>,
) -> Result<Vec<TypeUnits>, ReservationId> {
    let mut counts = vec![TypeUnits::default(); types.len()];
    for reservation in reservations {
        let reservation = reservation.borrow();
        let lines = match reservation.lines() {
            None if types.is_empty() => continue,
            Some(lines) if lines.units() == reservation.quantity => lines,
            _ => return Err(reservation.id),
        };
        for (name, quantity) in lines.iter() {
            let Some(at) = types.position(name) else { return Err(reservation.id) };
            match reservation.status {
                Status::Held => counts[at].held += u64::from(quantity),
                Status::Confirmed => counts[at].confirmed += u64::from(quantity),
                Status::Cancelled | Status::Expired | Status::Refunded => {}
            }
        }
    }
    Ok(counts)
}
