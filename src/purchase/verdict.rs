//! What is asked, and what it comes to.

use std::sync::Arc;

use crate::ledger::Failure;
use crate::ledger::batch::Answer;
use crate::sale::{
    Details, Key, Lines, Outcome, Reservation, ReservationId, Reserve, Status, TypeName, User,
};
use crate::seldom::Seldom;
use crate::stock::Refusal;
use crate::trace::Trace;

/// What a user asks for.
#[derive(Debug)]
pub struct Ask {
    /// Units, at least 1.
    pub quantity: u32,
    /// For whom. `None`: anonymous.
    pub user: Option<User>,
    /// Idempotency key.
    pub key: Option<Key>,
    /// What the reservation is to have beyond that.
    pub details: Option<Box<Details>>,
    /// How the client's request is found again.
    pub trace: Option<Arc<Trace>>,
}

impl Ask {
    /// Units by ticket type, if it names any.
    pub(super) fn lines(&self) -> Option<&Lines> {
        self.details.as_ref()?.lines.as_ref()
    }
}

impl From<Ask> for Reserve {
    /// Without an id, which it gets when it is sent.
    fn from(ask: Ask) -> Self {
        let Ask { quantity, user, key, details, trace } = ask;
        Self { id: ReservationId(0), quantity, user, key, details, trace }
    }
}

impl From<Reserve> for Ask {
    fn from(reserve: Reserve) -> Self {
        let Reserve { quantity, user, key, details, trace, .. } = reserve;
        Self { quantity, user, key, details, trace }
    }
}

/// What a purchase comes to.
#[derive(Debug)]
pub enum Verdict {
    /// The units are held, by this new reservation.
    Granted(Reservation),
    /// This user and key have this one already.
    Replayed(Box<Reservation>),
    /// The ledger, or what it told this core before, says no.
    Refused(Refused),
    /// The same of the ticket types that it names, or names not.
    Lines(LinesRefused),
    /// There is no answer of the ledger.
    Failed(Failure),
}

/// Why a purchase is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Fewer units are left than were asked for.
    SoldOut {
        /// Units left.
        free: u64,
    },
    /// The sale opens then, in ms since 1970.
    NotOpen {
        /// In ms since 1970.
        opens_at_ms: u64,
    },
    /// The sale is over.
    Closed,
    /// The user would have more than this many units.
    LimitReached {
        /// The sale's limit per user.
        limit_per_user: u32,
    },
    /// The sale has a limit or a bound per user, so the request must name the user.
    UserRequired,
    /// One reservation may have this many units at the most.
    QuantityTooLarge {
        /// The sale's maximum.
        quantity_max: u32,
    },
    /// One reservation must have this many units at the least.
    QuantityTooSmall {
        /// The sale's minimum.
        quantity_min: u32,
    },
    /// As many reservations were made, or came back, as the sale ever allows.
    ReservationsExhausted {
        /// How many.
        reservations_max: u64,
    },
    /// As many reservations were made for this user as the sale ever allows.
    UserReservationsExhausted {
        /// How many.
        reservations_per_user_max: u32,
    },
    /// The key was used for another request.
    KeyReused,
    /// What the ledger has stored of the sale contradicts itself.
    Damaged,
    /// This instance's `--stock` is used up. Another may sell.
    AllowanceExhausted,
    /// There is no such sale.
    UnknownSale,
}

/// What speaks against a request for the ticket types that it names, or names not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinesRefused {
    /// Fewer units of a type are left than were asked for.
    SoldOut {
        /// The type.
        name: TypeName,
        /// Units of it that are left.
        free: u64,
    },
    /// The sale has ticket types, and none was named.
    Required,
    /// Ticket types were named, and the sale has none.
    Unexpected,
    /// The sale has no such type.
    Unknown {
        /// Its name.
        name: TypeName,
    },
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::SoldOut => Self::SoldOut { free: 0 },
            Refusal::NotOpen { opens_at_ms } => Self::NotOpen { opens_at_ms },
            Refusal::Closed => Self::Closed,
        }
    }
}

impl Verdict {
    /// What the ledger's answer to a request means, which was to have this id.
    pub(super) fn of(answer: Answer, id: ReservationId, ask: Ask) -> Self {
        match answer {
            Ok(Outcome::Granted { expires_at_ms }) => {
                let Ask { quantity, user, details, .. } = ask;
                let status = Status::Held;
                Self::Granted(Reservation { id, user, quantity, status, expires_at_ms, details })
            }
            answer => Self::without_request(answer),
        }
    }

    /// The same of an answer that says all there is to say.
    pub(super) fn without_request(answer: Answer) -> Self {
        Self::Refused(match answer {
            Ok(Outcome::Replayed(reservation)) => return Self::Replayed(reservation),
            Ok(Outcome::SoldOut { free }) => Refused::SoldOut { free },
            Ok(Outcome::NotOpen { opens_at_ms }) => Refused::NotOpen { opens_at_ms },
            Ok(Outcome::Closed) => Refused::Closed,
            Ok(Outcome::LimitReached { limit_per_user }) => {
                Refused::LimitReached { limit_per_user }
            }
            Ok(Outcome::UserRequired) => Refused::UserRequired,
            Ok(Outcome::KeyReused) => Refused::KeyReused,
            Ok(Outcome::QuantityTooLarge { quantity_max }) => {
                Refused::QuantityTooLarge { quantity_max }
            }
            Ok(Outcome::QuantityTooSmall { quantity_min }) => {
                Refused::QuantityTooSmall { quantity_min }
            }
            Ok(Outcome::ReservationsExhausted { reservations_max }) => {
                Refused::ReservationsExhausted { reservations_max }
            }
            Ok(Outcome::UserReservationsExhausted { reservations_per_user_max }) => {
                Refused::UserReservationsExhausted { reservations_per_user_max }
            }
            Ok(Outcome::TypeSoldOut { name, free }) => {
                return Self::Lines(LinesRefused::SoldOut { name, free });
            }
            Ok(Outcome::LinesRequired) => return Self::Lines(LinesRefused::Required),
            Ok(Outcome::LinesUnexpected) => return Self::Lines(LinesRefused::Unexpected),
            Ok(Outcome::UnknownType { name }) => {
                return Self::Lines(LinesRefused::Unknown { name });
            }
            Ok(Outcome::UnknownSale) => Refused::UnknownSale,
            Ok(outcome) => {
                log_odd_answer(&outcome);
                return Self::Failed(Failure::Unknown);
            }
            Err(failure) => return Self::Failed(failure),
        })
    }

    /// What the reservation is, of which the ledger has said that the key of a request for this
    /// quantity, and these lines, has it.
    pub(super) fn of_reservation(answer: Answer, quantity: u32, lines: Option<&Lines>) -> Self {
        match answer {
            Ok(Outcome::Reservation(reservation)) if !reservation.was_asked_by(quantity, lines) => {
                Self::Refused(Refused::KeyReused)
            }
            Ok(Outcome::Reservation(reservation)) => Self::Replayed(reservation),
            Ok(Outcome::UnknownSale) => Self::Refused(Refused::UnknownSale),
            Ok(outcome) => {
                log_odd_claim(&outcome);
                Self::Refused(Refused::Damaged)
            }
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// Each request may meet it, so it is logged once in a while.
#[cold]
fn log_odd_answer(outcome: &Outcome) {
    static ODD: Seldom = Seldom::new();
    if let Some(left_out) = ODD.now() {
        tracing::error!(?outcome, left_out, "ledger answered a purchase with something else");
    }
}

/// The same.
#[cold]
fn log_odd_claim(outcome: &Outcome) {
    static ODD: Seldom = Seldom::new();
    if let Some(left_out) = ODD.now() {
        tracing::error!(?outcome, left_out, "claim names a reservation that is not there");
    }
}
