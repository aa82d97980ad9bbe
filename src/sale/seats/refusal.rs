//! Why a request about seats is refused.

use super::seat::Seat;
use super::stop::{Journey, StopName};

/// Why a request about seats is refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeatRefusal {
    /// The request names a journey or seats, and the sale has no seats.
    Unexpected,
    /// The sale has stops, and the request does not say from where to where.
    JourneyRequired,
    /// The request names stops, and the sale has none.
    JourneyUnexpected,
    /// The sale has no such stop: the first unknown one.
    UnknownStop(StopName),
    /// The journey goes nowhere, or backwards.
    WrongWay(Box<Journey>),
    /// The stop at which the journey begins has been left.
    Departed(StopName),
    /// The request names several classes.
    OneClassOnly,
    /// The class has no such seat: the first unknown one.
    UnknownSeat(Seat),
    /// The class has no row as long as the group that wants to sit in one.
    GroupTooLarge {
        /// The seats of the longest row.
        row_max: u32,
    },
    /// A named seat is not free on all legs of the journey: the first one.
    Taken(Seat),
    /// Fewer seats of the class are free on the journey than requested.
    TooFew {
        /// How many are free.
        free: u32,
    },
    /// Enough seats are free, but not next to each other in one row.
    Apart,
    /// Add or take stock: the stock of a sale with seats is changed by coaches.
    CoachesOnly,
    /// Change terms: more seats per reservation than is possible.
    QuantityMax,
    /// Cancel or refund a part: the seats that are to remain must be named.
    SeatsRequired,
}

impl SeatRefusal {
    /// Whether the request could be granted if fewer seats were sold.
    pub fn is_of_stock(&self) -> bool {
        matches!(self, Self::Taken(_) | Self::TooFew { .. } | Self::Apart)
    }
}
