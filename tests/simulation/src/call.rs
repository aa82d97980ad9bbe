//! What a client asks a server, and what it is told.

use std::fmt;

use stampede::ledger::Failure;
use stampede::purchase::{LinesReason, PurchaseOutcome, RejectReason};
use stampede::sale::{Outcome, Reservation, ReservationId, SaleId, SaleView};

/// One attempt of a client to have a call answered. A repeated call is another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

impl CallId {
    /// The request id in the trace of the attempt's commands.
    pub fn tag(self) -> String {
        format!("r{}", self.0)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// What a client asks.
#[derive(Debug, Clone)]
pub enum Call {
    /// Buy.
    Buy {
        /// The sale.
        sale: SaleId,
        /// The buyer. `None`: anonymous.
        user: Option<String>,
        /// The idempotency key, if there is one.
        key: Option<String>,
        /// Units.
        quantity: u32,
    },
    /// Show a reservation.
    Show {
        /// The sale, or the part of it, that has the reservation.
        sale: SaleId,
        /// The reservation.
        id: ReservationId,
    },
    /// Confirm a reservation.
    Confirm {
        /// The sale, or the part of it, that has the reservation.
        sale: SaleId,
        /// The reservation.
        id: ReservationId,
    },
    /// Cancel a reservation.
    Cancel {
        /// The sale, or the part of it, that has the reservation.
        sale: SaleId,
        /// The reservation.
        id: ReservationId,
    },
    /// Show a sale.
    View {
        /// The sale.
        sale: SaleId,
    },
}

impl Call {
    /// The sale that it concerns.
    pub fn sale(&self) -> &SaleId {
        match self {
            Self::Buy { sale, .. }
            | Self::Show { sale, .. }
            | Self::Confirm { sale, .. }
            | Self::Cancel { sale, .. }
            | Self::View { sale } => sale,
        }
    }
}

/// The outcome of a purchase: a [`PurchaseOutcome`] that can be cloned and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purchase {
    /// The units are held by this new reservation.
    Granted(Reservation),
    /// This user and key have this reservation already.
    Replayed(Box<Reservation>),
    /// The ledger refused, or the core's latch did.
    Rejected(RejectReason),
    /// The request was refused because of its ticket types.
    Lines(LinesReason),
    /// The ledger gave no answer.
    Failed(Failure),
}

impl From<PurchaseOutcome> for Purchase {
    fn from(outcome: PurchaseOutcome) -> Self {
        match outcome {
            PurchaseOutcome::Granted(reservation) => Self::Granted(reservation),
            PurchaseOutcome::Replayed(reservation) => Self::Replayed(reservation),
            PurchaseOutcome::Rejected(reason) => Self::Rejected(reason),
            PurchaseOutcome::Lines(reason) => Self::Lines(reason),
            PurchaseOutcome::NoSeats(refusal) => {
                unreachable!("no sale here has seats, and no request asks for any: {refusal:?}")
            }
            PurchaseOutcome::Failed(failure) => Self::Failed(failure),
        }
    }
}

/// What a client is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// The outcome of a purchase. Its failures are in it.
    Purchase(Purchase),
    /// The ledger's answer to a call about a reservation.
    Reservation(Outcome),
    /// A sale. `None`: there is no such sale.
    View(Option<Box<SaleView>>),
    /// The ledger gave no answer to a call that is not a purchase.
    Failed(Failure),
    /// The connection ended without an answer.
    Nothing,
}
