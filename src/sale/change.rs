//! A change of a reservation, for the orders.

use std::sync::Arc;

use super::id::{Key, SaleId};
use super::reservation::Reservation;
use crate::trace::Trace;

/// A reservation as one change left it. Every change of a reservation (held, confirmed, cancelled,
/// expired, refunded) is reported as one of these, or is contained in a later one of the same
/// reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The sale.
    pub sale: SaleId,
    /// The reservation after the change.
    pub reservation: Reservation,
    /// The idempotency key that it was made with.
    pub key: Option<Key>,
    /// The trace of the request that made the reservation, if it had one and this change follows
    /// soon enough for the trace to be known.
    pub trace: Option<Arc<Trace>>,
    /// When, by the ledger's clock, in ms since 1970.
    pub at_ms: u64,
    /// Grows with every change of the same reservation: of two changes, the greater version is the
    /// later one.
    pub version: u64,
}
