//! What is asked, and what it comes to.

use crate::ledger::batch::Failure;
use crate::sale::{Key, Outcome, Reservation, ReservationId, User};
use crate::stock::Refusal;

/// What a user asks for.
#[derive(Clone)]
pub struct Ask {
    /// Units, at least 1.
    pub quantity: u32,
    /// For whom. `None`: anonymous.
    pub user: Option<User>,
    /// Idempotency key.
    pub key: Option<Key>,
}

/// What a purchase comes to.
#[derive(Debug)]
pub enum Verdict {
    /// The units are held.
    Granted {
        /// The new reservation.
        id: ReservationId,
        /// The end of its hold time, in ms since 1970.
        expires_at_ms: u64,
    },
    /// This user and key have this one already.
    Replayed(Box<Reservation>),
    /// The ledger, or what it told this core before, says no.
    Refused(Refused),
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
        /// The sale's limit a user.
        limit_per_user: u32,
    },
    /// The sale has a limit a user, so it must be told who the user is.
    UserRequired,
    /// One reservation may have this many units at the most.
    QuantityTooLarge {
        /// The sale's maximum.
        quantity_max: u32,
    },
    /// What the ledger has stored of the sale contradicts itself.
    Damaged,
    /// This instance's `--stock` is used up. Another may sell.
    AllowanceExhausted,
    /// There is no such sale.
    UnknownSale,
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
    /// What an outcome of the ledger means for the purchase that was to have this id.
    pub(super) fn of(id: ReservationId, outcome: Outcome) -> Self {
        Self::Refused(match outcome {
            Outcome::Granted { expires_at_ms } => return Verdict::Granted { id, expires_at_ms },
            Outcome::Replayed(reservation) => return Verdict::Replayed(reservation),
            Outcome::SoldOut { free } => Refused::SoldOut { free },
            Outcome::NotOpen { opens_at_ms } => Refused::NotOpen { opens_at_ms },
            Outcome::Closed => Refused::Closed,
            Outcome::LimitReached { limit_per_user } => Refused::LimitReached { limit_per_user },
            Outcome::UserRequired => Refused::UserRequired,
            Outcome::QuantityTooLarge { quantity_max } => {
                Refused::QuantityTooLarge { quantity_max }
            }
            Outcome::NotClaimed => Refused::AllowanceExhausted,
            Outcome::UnknownSale => Refused::UnknownSale,
            // It was none when this core met it: the next who asks is led to its part.
            Outcome::Split { .. } => return Verdict::Failed(Failure::Busy),
            outcome => {
                tracing::error!(?outcome, "the ledger answered a purchase with something else");
                return Verdict::Failed(Failure::Unknown);
            }
        })
    }
}
