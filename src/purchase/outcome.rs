//! The request for a purchase, and its outcome.

use std::sync::Arc;

use crate::ledger::Failure;
use crate::ledger::batch::Answer;
use crate::log_throttle::LogThrottle;
use crate::sale::seats::SeatRefusal;
use crate::sale::{
    Details, Key, Lines, Outcome, Reservation, ReservationId, Reserve, Status, TypeName, User,
};
use crate::stock::LatchReason;
use crate::trace::Trace;

/// A purchase that a buyer requests.
#[derive(Debug)]
pub struct PurchaseRequest {
    /// Units, at least 1.
    pub quantity: u32,
    /// The buyer. `None`: anonymous.
    pub user: Option<User>,
    /// The idempotency key.
    pub key: Option<Key>,
    /// Further properties of the reservation.
    pub details: Option<Box<Details>>,
    /// The trace of the client's request.
    pub trace: Option<Arc<Trace>>,
}

impl PurchaseRequest {
    /// Units by ticket type, if the request names any.
    pub(super) fn lines(&self) -> Option<&Lines> {
        self.details.as_ref()?.lines.as_ref()
    }

    /// Whether this reservation was made by such a request.
    fn has_made(&self, reservation: &Reservation) -> bool {
        let ride = self.details.as_ref().and_then(|details| details.ride.as_deref());
        reservation.was_asked_by(self.quantity, self.lines(), ride)
    }
}

impl From<PurchaseRequest> for Reserve {
    /// Leaves the id 0: the batcher sets the id when it sends the command.
    fn from(request: PurchaseRequest) -> Self {
        let PurchaseRequest { quantity, user, key, details, trace } = request;
        Self { id: ReservationId(0), quantity, user, key, details, trace }
    }
}

impl From<Reserve> for PurchaseRequest {
    fn from(reserve: Reserve) -> Self {
        let Reserve { quantity, user, key, details, trace, .. } = reserve;
        Self { quantity, user, key, details, trace }
    }
}

/// The outcome of a purchase.
#[derive(Debug)]
pub enum PurchaseOutcome {
    /// The units are held by this new reservation.
    Granted(Reservation),
    /// This user and key have this reservation already.
    Replayed(Box<Reservation>),
    /// The ledger refused, or the core's latch did, from an earlier answer of the ledger.
    Rejected(RejectReason),
    /// The request was refused because of the ticket types that it names, or does not name.
    Lines(LinesReason),
    /// The request was refused because of the seats that it asks for.
    NoSeats(SeatRefusal),
    /// The ledger gave no answer.
    Failed(Failure),
}

/// Why a purchase is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectReason {
    /// Fewer units are left than were requested.
    SoldOut {
        /// Units left.
        free: u64,
    },
    /// The sale is not open yet.
    NotOpen {
        /// When the sale opens, in ms since 1970.
        opens_at_ms: u64,
    },
    /// The sale is over.
    Closed,
    /// The user would exceed the limit per user.
    LimitReached {
        /// The sale's limit per user.
        limit_per_user: u32,
    },
    /// The sale has a limit or a bound per user, so the request must name the user.
    UserRequired,
    /// One reservation may have at most this many units.
    QuantityTooLarge {
        /// The sale's maximum.
        quantity_max: u32,
    },
    /// One reservation must have at least this many units.
    QuantityTooSmall {
        /// The sale's minimum.
        quantity_min: u32,
    },
    /// The sale has reached its maximum number of reservations, counting those that came back.
    ReservationsExhausted {
        /// The sale's maximum.
        reservations_max: u64,
    },
    /// The user has reached the maximum number of reservations per user.
    UserReservationsExhausted {
        /// The sale's maximum per user.
        reservations_per_user_max: u32,
    },
    /// The key was used for another request.
    KeyReused,
    /// The ledger's data about the sale contradicts itself.
    Damaged,
    /// This instance's `--stock` is used up. Another instance may still sell.
    AllowanceExhausted,
    /// There is no such sale.
    UnknownSale,
}

/// Why a request is rejected because of its ticket types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinesReason {
    /// Fewer units of a type are left than were requested.
    SoldOut {
        /// The type.
        name: TypeName,
        /// Units of the type that are left.
        free: u64,
    },
    /// The sale has ticket types, and the request names none.
    Required,
    /// The request names ticket types, and the sale has none.
    Unexpected,
    /// The sale has no such type.
    Unknown {
        /// Its name.
        name: TypeName,
    },
}

impl From<LatchReason> for RejectReason {
    fn from(reason: LatchReason) -> Self {
        match reason {
            LatchReason::SoldOut => Self::SoldOut { free: 0 },
            LatchReason::NotOpen { opens_at_ms } => Self::NotOpen { opens_at_ms },
            LatchReason::Closed => Self::Closed,
        }
    }
}

impl<Reason: Into<RejectReason>> From<Reason> for PurchaseOutcome {
    fn from(reason: Reason) -> Self {
        Self::Rejected(reason.into())
    }
}

impl PurchaseOutcome {
    /// Translates the ledger's answer to a request that was sent with this id.
    pub(super) fn of(answer: Answer, id: ReservationId, request: PurchaseRequest) -> Self {
        match answer {
            Ok(Outcome::Granted { expires_at_ms }) => {
                let PurchaseRequest { quantity, user, details, .. } = request;
                let status = Status::Held;
                Self::Granted(Reservation { id, user, quantity, status, expires_at_ms, details })
            }
            Ok(Outcome::Seated(reservation)) => Self::Granted(*reservation),
            answer => Self::without_request(answer),
        }
    }

    /// The same, for an answer that needs nothing of the request.
    pub(super) fn without_request(answer: Answer) -> Self {
        Self::Rejected(match answer {
            Ok(Outcome::Replayed(reservation)) => return Self::Replayed(reservation),
            Ok(Outcome::SoldOut { free }) => RejectReason::SoldOut { free },
            Ok(Outcome::NotOpen { opens_at_ms }) => RejectReason::NotOpen { opens_at_ms },
            Ok(Outcome::Closed) => RejectReason::Closed,
            Ok(Outcome::LimitReached { limit_per_user }) => {
                RejectReason::LimitReached { limit_per_user }
            }
            Ok(Outcome::UserRequired) => RejectReason::UserRequired,
            Ok(Outcome::KeyReused) => RejectReason::KeyReused,
            Ok(Outcome::QuantityTooLarge { quantity_max }) => {
                RejectReason::QuantityTooLarge { quantity_max }
            }
            Ok(Outcome::QuantityTooSmall { quantity_min }) => {
                RejectReason::QuantityTooSmall { quantity_min }
            }
            Ok(Outcome::ReservationsExhausted { reservations_max }) => {
                RejectReason::ReservationsExhausted { reservations_max }
            }
            Ok(Outcome::UserReservationsExhausted { reservations_per_user_max }) => {
                RejectReason::UserReservationsExhausted { reservations_per_user_max }
            }
            Ok(Outcome::TypeSoldOut { name, free }) => {
                return Self::Lines(LinesReason::SoldOut { name, free });
            }
            Ok(Outcome::LinesRequired) => return Self::Lines(LinesReason::Required),
            Ok(Outcome::LinesUnexpected) => return Self::Lines(LinesReason::Unexpected),
            Ok(Outcome::UnknownType { name }) => {
                return Self::Lines(LinesReason::Unknown { name });
            }
            Ok(Outcome::NoSeats(refusal)) => return Self::NoSeats(refusal),
            Ok(Outcome::UnknownSale) => RejectReason::UnknownSale,
            Ok(outcome) => {
                log_odd_answer(&outcome);
                return Self::Failed(Failure::Unknown);
            }
            Err(failure) => return Self::Failed(failure),
        })
    }

    /// Translates the answer to a query for the reservation that has the key of this request.
    pub(super) fn of_reservation(answer: Answer, request: &PurchaseRequest) -> Self {
        match answer {
            Ok(Outcome::Reservation(reservation)) if !request.has_made(&reservation) => {
                Self::Rejected(RejectReason::KeyReused)
            }
            Ok(Outcome::Reservation(reservation)) => Self::Replayed(reservation),
            Ok(Outcome::UnknownSale) => Self::Rejected(RejectReason::UnknownSale),
            Ok(outcome) => {
                log_odd_claim(&outcome);
                Self::Rejected(RejectReason::Damaged)
            }
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// Every request may cause it, so it is logged at most once in a while.
#[cold]
fn log_odd_answer(outcome: &Outcome) {
    static ODD: LogThrottle = LogThrottle::new();
    if let Some(left_out) = ODD.now() {
        tracing::error!(?outcome, left_out, "unexpected answer of the ledger to a purchase");
    }
}

/// Logged at most once in a while, like the one above.
#[cold]
fn log_odd_claim(outcome: &Outcome) {
    static ODD: LogThrottle = LogThrottle::new();
    if let Some(left_out) = ODD.now() {
        tracing::error!(?outcome, left_out, "claim names a missing reservation");
    }
}
