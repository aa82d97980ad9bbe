//! The commands to a sale, and their outcomes.

use std::sync::Arc;

use super::details::Details;
use super::id::{Key, ReservationId, User};
use super::remaining::Remaining;
use super::reservation::Reservation;
use super::seats::{Ride, SeatRefusal};
use super::spec::{Creation, SaleSpec, SaleState};
use super::split::Transfers;
use super::terms::Terms;
use super::types::{Lines, TypeName, TypeUnits};
use crate::trace::Trace;

/// A request for units. The sender creates the id, which becomes the reservation's id if the
/// request is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// Id for the reservation, never used before.
    pub id: ReservationId,
    /// Units wanted, at least 1, of all ticket types together. The sale's own maximum is checked by the
    /// ledger.
    pub quantity: u32,
    /// The buyer. `None`: anonymous.
    pub user: Option<User>,
    /// The idempotency key, if the client gave one.
    pub key: Option<Key>,
    /// Further properties of the reservation.
    pub details: Option<Box<Details>>,
    /// The trace of the client's request. It decides nothing, and only the orders keep it.
    pub trace: Option<Arc<Trace>>,
}

impl Reserve {
    /// The user as ledgers write it: empty if none is named.
    pub fn user_text(&self) -> &str {
        self.user.as_ref().map_or("", User::as_str)
    }

    /// The key as ledgers write it: empty if there is none.
    pub fn key_text(&self) -> &str {
        self.key.as_ref().map_or("", Key::as_str)
    }

    /// The wanted journey and seats, if it names any.
    pub fn ride(&self) -> Option<&Ride> {
        self.details.as_ref()?.ride.as_deref()
    }

    /// The wanted units by ticket type, if it names any.
    pub fn lines(&self) -> Option<&Lines> {
        self.details.as_ref()?.lines.as_ref()
    }
}

/// A command to one sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take units.
    Reserve(Reserve),
    /// Query whether such a request has its reservation already, and if not, whether the sale
    /// refuses every request; take nothing. A core sends it when it must not refuse a request that
    /// may have a reservation.
    ///
    /// With the number of a creation, the core knows that this creation has opened and is not
    /// split, and the query is cheaper. If the sale is another creation, the outcome is
    /// [`NotClaimed`](Outcome::NotClaimed).
    FindClaim(Reserve, Creation),
    /// Pay: a held reservation becomes confirmed.
    Confirm(ReservationId),
    /// The same. If it has expired and its seats are taken, other seats will do.
    ConfirmElsewhere(ReservationId),
    /// Cancel a held reservation.
    Cancel(ReservationId),
    /// Refund: the units of a confirmed reservation return to stock.
    Refund(ReservationId),
    /// Extend the hold until this many ms from now, by default the sale's hold time. Never shortens
    /// it.
    Extend(ReservationId, Option<u64>),
    /// Cancel the part of a held reservation that exceeds this; if nothing is to remain, it is
    /// cancelled as a whole.
    CancelTo(ReservationId, Remaining),
    /// Refund the part of a confirmed reservation that exceeds this; if nothing is to remain, it is
    /// refunded as a whole.
    RefundTo(ReservationId, Remaining),
    /// Return expired units to stock, of about `batch_max` reservations at most.
    Expire {
        /// About how many reservations to read.
        batch_max: u32,
    },
    /// Add units to the total.
    AddStock(u64),
    /// Take free units out of the total.
    TakeStock {
        /// Units.
        units: u64,
        /// If fewer are free, take those. Otherwise take none.
        at_most: bool,
    },
    /// Change the terms from now on.
    ChangeTerms(Terms),
    /// Open the sale: the opening time becomes now if it is later, and a past closing time is
    /// removed.
    Open,
    /// Close the sale now.
    Close,
    /// Remove the sale and all its reservations: only if it is closed and holds nothing.
    Remove,
    /// Create the sale if it does not exist; never changes one that does.
    Create(SaleSpec),
    /// Create a part of a split sale if it does not exist, or replace what an earlier creation of
    /// the sale left, if it never received units.
    CreatePart {
        /// Its definition.
        spec: SaleSpec,
        /// The creation of its head.
        creation: Creation,
    },
    /// Begin the sale anew, as if it had just been created. A place of a split sale is only
    /// removed.
    Reset {
        /// The new total. `None`: the present one.
        total: Option<u64>,
        /// Also drop units that are held, confirmed, or not yet in the orders.
        force: bool,
    },
    /// Show the sale.
    Show,
    /// The same for a core that asks often, answered only as far as the ledger can tell cheaply.
    Peek {
        /// The number of parts of the sale, as the core knows it. 0: it knows of none.
        parts: u32,
    },
    /// Show one reservation.
    ShowReservation(ReservationId),
    /// A place of a split sale sends free units to another place.
    TransferOut {
        /// The number of the other place.
        to: u32,
        /// All units that it ever sent to it, as the sender of the command knows. If the number
        /// differs, it sends nothing.
        gave: u64,
        /// The units to send, as far as they are free.
        units: u64,
    },
    /// A place of a split sale receives the units that another has sent.
    TransferIn {
        /// The number of the other place.
        from: u32,
        /// All units that the other ever sent to this one: those received before are not received
        /// again.
        gave: u64,
    },
}

impl Command {
    /// Whether it never changes anything.
    pub fn only_looks(&self) -> bool {
        self.may_overtake() || matches!(self, Self::FindClaim(..))
    }

    /// Whether it may overtake earlier commands. A claim query may not: an earlier purchase may be
    /// about to make that claim.
    pub fn may_overtake(&self) -> bool {
        matches!(self, Self::Show | Self::Peek { .. } | Self::ShowReservation(_))
    }

    /// Whether it costs a ledger next to nothing apart from its answer.
    pub fn is_cheap(&self) -> bool {
        matches!(self, Self::Peek { .. } | Self::FindClaim(..))
    }

    /// The id of the one existing reservation that it concerns, if there is one.
    pub fn reservation(&self) -> Option<ReservationId> {
        match self {
            Self::Confirm(id)
            | Self::ConfirmElsewhere(id)
            | Self::Cancel(id)
            | Self::Refund(id)
            | Self::Extend(id, _)
            | Self::CancelTo(id, _)
            | Self::RefundTo(id, _)
            | Self::ShowReservation(id) => Some(*id),
            _ => None,
        }
    }

    /// Whether a ledger can carry out this command and the next one in one step: purchases with
    /// purchases, claim queries for the same creation, and commands about single reservations.
    pub fn joins(&self, next: &Self) -> bool {
        let about_one = |command: &Self| command.reservation().is_some();
        match (self, next) {
            (Self::Reserve(_), Self::Reserve(_)) => true,
            (Self::FindClaim(_, made), Self::FindClaim(_, other)) => made == other,
            _ => about_one(self) && about_one(next),
        }
    }
}

/// A sale at one point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleView {
    /// Its definition.
    pub spec: SaleSpec,
    /// Units held and not yet confirmed.
    pub held: u64,
    /// Units confirmed.
    pub confirmed: u64,
    /// Units sold by ticket type, in the order of the definition's.
    pub by_type: Vec<TypeUnits>,
    /// The ledger's time, in ms since 1970.
    pub now_ms: u64,
    /// The units that it has sent to and received from other places of a split sale.
    pub transfers: Transfers,
    /// The creation of the sale.
    pub creation: Creation,
}

impl SaleView {
    /// Units left. 0 also if the total was lowered by hand below the sold units.
    pub fn free(&self) -> u64 {
        self.spec.total.saturating_sub(self.held + self.confirmed)
    }

    /// The ticket types: name, cap, sold units, and units left, which are no more than the sale has
    /// left.
    pub fn types(&self) -> impl Iterator<Item = (&TypeName, u64, TypeUnits, u64)> {
        let free = self.free();
        self.spec.types.iter().zip(&self.by_type).map(move |((name, cap), units)| {
            (name, cap, *units, cap.saturating_sub(units.sold()).min(free))
        })
    }

    /// The units that it would have without transfers. Only added stock changes this number.
    pub fn owned(&self) -> u64 {
        let [gave, took] =
            [&self.transfers.sent, &self.transfers.received].map(|m| m.iter().sum::<u64>());
        (self.spec.total + gave).saturating_sub(took)
    }

    /// The state at the ledger's time.
    pub fn state(&self) -> SaleState {
        self.spec.state(self.now_ms)
    }
}

impl Outcome {
    /// Why these terms can't be applied to the sale: together with its other terms they would allow
    /// no quantity.
    pub fn refusal_of_quantities(terms: &Terms, defined: &SaleSpec) -> Option<Self> {
        let (quantity_min, quantity_max) = (defined.rules.quantity_min, defined.quantity_max);
        if quantity_min <= quantity_max {
            None
        } else if terms.quantity_max.is_some() {
            Some(Self::QuantityMaxTooSmall { quantity_min })
        } else {
            terms.quantity_min.map(|_| Self::QuantityMinTooLarge { quantity_max })
        }
    }
}

/// The outcome of one [`Command`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Reserve: the units are held.
    Granted {
        /// The end of the hold time, in ms since 1970.
        expires_at_ms: u64,
    },
    /// Reserve in a sale with seats: these seats are held.
    Seated(Box<Reservation>),
    /// Reserve: this (user, key) has this reservation already, whatever its status.
    Replayed(Box<Reservation>),
    /// Reserve: this (user, key) was used for a request of another quantity, or with other lines.
    KeyReused,
    /// Find claim: this (user, key) has this reservation.
    Claimed(ReservationId),
    /// Find claim: this (user, key) has no reservation, and nothing is known against requesting
    /// one.
    NotClaimed,
    /// Reserve, late confirm: the user would exceed the limit per user.
    LimitReached {
        /// The sale's limit per user.
        limit_per_user: u32,
    },
    /// Reserve: fewer units are left than requested. Find claim: none is left.
    SoldOut {
        /// Units left: may be above 0 if more than one was requested.
        free: u64,
    },
    /// Reserve: the sale has units left, but fewer of this ticket type than requested.
    TypeSoldOut {
        /// The first such type, in the order of names.
        name: TypeName,
        /// Units of this type that are left.
        free: u64,
    },
    /// Reserve: the sale has ticket types, and the request names none. Also when cancelling or
    /// refunding a part.
    LinesRequired,
    /// Reserve: the request names ticket types, and the sale has none. Also when cancelling or
    /// refunding a part.
    LinesUnexpected,
    /// Reserve: the sale has no such ticket type.
    UnknownType {
        /// The first unknown type, in the order of names.
        name: TypeName,
    },
    /// Reserve, cancel or refund a part: the request does not fit a sale with seats, or there are no
    /// seats for it.
    NoSeats(SeatRefusal),
    /// Reserve, find claim: the sale is not open yet.
    NotOpen {
        /// When it opens, in ms since 1970.
        opens_at_ms: u64,
    },
    /// Reserve, find claim: the sale is over.
    Closed,
    /// Reserve: the sale has a limit or a bound per user, so the request must name the user.
    UserRequired,
    /// Reserve: above the maximum per reservation.
    QuantityTooLarge {
        /// The sale's maximum.
        quantity_max: u32,
    },
    /// Reserve: below the minimum per reservation.
    QuantityTooSmall {
        /// The sale's minimum.
        quantity_min: u32,
    },
    /// Reserve: the sale has reached its maximum number of reservations, counting those that came
    /// back.
    ReservationsExhausted {
        /// The sale's maximum.
        reservations_max: u64,
    },
    /// Reserve: the user has reached the maximum number of reservations per user.
    UserReservationsExhausted {
        /// The sale's maximum per user.
        reservations_per_user_max: u32,
    },
    /// Confirm, cancel, refund, show: the reservation as it is now.
    Reservation(Box<Reservation>),
    /// Confirm, cancel, refund: it has expired (for confirm: and its units are sold).
    Expired,
    /// Cancel: it is confirmed.
    AlreadyConfirmed,
    /// Confirm, cancel, refund: it was cancelled.
    AlreadyCancelled,
    /// Confirm, cancel: it was refunded.
    AlreadyRefunded,
    /// Refund: it is held, not confirmed.
    NotConfirmed,
    /// Extend: the hold would become longer than the sale allows.
    ExtensionLimit {
        /// The latest possible end of the hold, in ms since 1970.
        expires_at_ms_max: u64,
    },
    /// Cancel or refund a part: more units are to remain, in all or of a type, than the reservation
    /// was made with.
    RemainingTooLarge {
        /// The units that it has.
        quantity: u32,
    },
    /// Expire: units that returned to stock.
    Released {
        /// How many units.
        units: u64,
        /// More reservations are past their deadline: send the command again.
        more: bool,
        /// A lower bound of the earliest deadline of the held reservations, in ms since 1970;
        /// `None`: none is held. Nothing is due before it, unless a reservation made from now on
        /// ends earlier.
        next_due_ms: Option<u64>,
    },
    /// Add stock, change terms, open, close, show, peek: the sale as it is now. Create: it existed,
    /// like this.
    Sale(Box<SaleView>),
    /// Peek: a plain read can't tell.
    Unclear,
    /// Create: it did not exist, and was created like this.
    Created(Box<SaleView>),
    /// The total would exceed the maximum of any sale; nothing changed.
    TotalTooLarge,
    /// Take stock: the units were taken out of the sale.
    StockTaken {
        /// How many.
        units: u64,
        /// The sale as it is now.
        view: Box<SaleView>,
    },
    /// Take stock: fewer units are free; nothing changed.
    TooFewFree {
        /// Free units.
        free: u64,
    },
    /// Change terms: the sale would close before it opens; nothing changed.
    ClosesTooEarly {
        /// When it opens, in ms since 1970.
        opens_at_ms: u64,
    },
    /// Change terms: below the sale's minimum per reservation; nothing changed.
    QuantityMaxTooSmall {
        /// The sale's minimum.
        quantity_min: u32,
    },
    /// Change terms: above the sale's maximum per reservation; nothing changed.
    QuantityMinTooLarge {
        /// The sale's maximum.
        quantity_max: u32,
    },
    /// Change terms: only an unsplit sale can bound the number of its reservations; nothing
    /// changed.
    BoundOfParts,
    /// Change terms: the sale did not bound this before, and has too many held or confirmed units,
    /// or too many reservations, to count them now; nothing changed.
    TooManyToCount {
        /// How many units.
        units: u64,
    },
    /// Remove: the sale was removed.
    Removed,
    /// Remove: the sale is open or will open; nothing changed.
    NotClosed,
    /// Remove: units are still held; nothing changed.
    StillHeld {
        /// How many units.
        held: u64,
    },
    /// Reset: reservations would be dropped; nothing changed.
    HasSold {
        /// Units held.
        held: u64,
        /// Units confirmed.
        confirmed: u64,
    },
    /// Reset: the present total can't be read, and no other was given; nothing changed.
    TotalRequired,
    /// Reserve, find claim: this is the head of a split sale, which sells in its parts.
    Split {
        /// The number of parts.
        parts: u32,
    },
    /// Give: all units that this place has ever sent to the other.
    Sent {
        /// Units.
        gave: u64,
    },
    /// Take: this many units arrived.
    Received {
        /// Units.
        units: u64,
    },
    /// Give, take: the sale is not split, or has no such place.
    NotSplit,
    /// There is no such sale.
    UnknownSale,
    /// There is no such reservation in this sale.
    UnknownReservation,
}
