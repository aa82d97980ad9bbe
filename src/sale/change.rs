//! What happened to a reservation, for those who keep orders.

use std::sync::Arc;

use super::id::{Key, SaleId};
use super::reservation::Reservation;
use crate::trace::Trace;

/// A reservation as one change left it. Every change of a reservation (held, confirmed, cancelled,
/// expired, refunded) is one, or is contained in a later one of the same reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The sale.
    pub sale: SaleId,
    /// The reservation after the change.
    pub reservation: Reservation,
    /// The idempotency key that it was made with.
    pub key: Option<Key>,
    /// How the request that made it is found again, if it said so and this change comes soon enough after
    /// it for that to be known.
    pub trace: Option<Arc<Trace>>,
    /// When, by the ledger's clock, in ms since 1970.
    pub at_ms: u64,
    /// Grows with every change of the same reservation: of two, the larger is the later one.
    pub version: u64,
}
