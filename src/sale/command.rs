//! What can be asked of a sale, and what it can answer.

use std::sync::Arc;

use super::details::Details;
use super::id::{Key, ReservationId, User};
use super::reservation::Reservation;
use super::spec::{Creation, SaleSpec, State};
use super::split::Moves;
use super::terms::Terms;
use super::types::{Lines, Remaining, TypeName, TypeUnits};
use crate::trace::Trace;

/// A request for units. The id is made by the one who asks; it becomes the reservation's if the
/// request is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// Id for the reservation, never used before.
    pub id: ReservationId,
    /// Units wanted, at least 1, of all ticket types together. The sale's own maximum is checked by the
    /// ledger.
    pub quantity: u32,
    /// For whom. `None`: anonymous.
    pub user: Option<User>,
    /// The idempotency key, if the client gave one.
    pub key: Option<Key>,
    /// What the reservation is to have beyond that.
    pub details: Option<Box<Details>>,
    /// How the client's request is found again. It decides nothing, and only the orders keep it.
    pub trace: Option<Arc<Trace>>,
}

impl Reserve {
    /// The user as ledgers write it: empty if nobody is named.
    pub fn user_text(&self) -> &str {
        self.user.as_ref().map_or("", User::as_str)
    }

    /// The key as ledgers write it: empty if there is none.
    pub fn key_text(&self) -> &str {
        self.key.as_ref().map_or("", Key::as_str)
    }

    /// Units wanted by ticket type, if it names any.
    pub fn lines(&self) -> Option<&Lines> {
        self.details.as_ref()?.lines.as_ref()
    }
}

/// A command to one sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take units for a user.
    Reserve(Reserve),
    /// Look whether such a request has its reservation already, and if not, whether the sale tells
    /// everybody the same; take nothing. For a core that knows no better, but must not refuse whoever
    /// has a reservation.
    ///
    /// With the number of a making, the core knows that this one has opened and is in one piece, and
    /// asks less. Of another making it hears [`NotClaimed`](Outcome::NotClaimed).
    FindClaim(Reserve, Creation),
    /// Pay: a held reservation becomes confirmed.
    Confirm(ReservationId),
    /// Give back a held reservation.
    Cancel(ReservationId),
    /// Pay back: the units of a confirmed reservation return to stock.
    Refund(ReservationId),
    /// Hold for longer: until so many ms from now, by default the sale's hold time. Never for less.
    Extend(ReservationId, Option<u64>),
    /// Give back what a held reservation has beyond that; if nothing is to remain, it is cancelled.
    CancelTo(ReservationId, Remaining),
    /// Pay back what a confirmed reservation has beyond that; if nothing is to remain, it is refunded.
    RefundTo(ReservationId, Remaining),
    /// Return to stock what was held past its deadline, about `batch_max` reservations at the most.
    Expire {
        /// About how many reservations to look at.
        batch_max: u32,
    },
    /// Add units to the total.
    AddStock(u64),
    /// Take free units out of the total.
    TakeStock {
        /// Units.
        units: u64,
        /// If fewer are free, as many as are. Otherwise it takes none then.
        at_most: bool,
    },
    /// Change what the sale sells by from now on.
    ChangeTerms(Terms),
    /// Sell from now on: the opening is now if it was later, and a past closing is lifted.
    Open,
    /// Stop selling now.
    Close,
    /// Forget the sale and all its reservations: only one that is closed and holds nothing.
    Remove,
    /// Define the sale if it does not exist; never change one that does.
    Create(SaleSpec),
    /// Define a part of a split sale if it does not exist, or is what an earlier making of the sale
    /// left and nobody ever gave anything.
    CreatePart {
        /// What it is defined as.
        spec: SaleSpec,
        /// Of which making its head is.
        creation: Creation,
    },
    /// Begin the sale anew, as if it had just been made. A place of a split sale is only forgotten.
    Reset {
        /// The new total. `None`: the one it has.
        total: Option<u64>,
        /// Forget what is held, confirmed, and not yet in the orders.
        force: bool,
    },
    /// The sale as it stands.
    Show,
    /// The same for a core that looks often, as far as a ledger can tell with little effort.
    Glance {
        /// In how many parts the sale is, as the core knows. 0: it knows of none.
        parts: u32,
    },
    /// One reservation as it stands.
    ShowReservation(ReservationId),
    /// A place of a split sale gives up free units, which another is to take.
    Give {
        /// The number of that other place.
        to: u32,
        /// All that it ever gave to it, as the asker knows: if that is another number, it gives
        /// nothing.
        gave: u64,
        /// Units, as far as that many are free.
        units: u64,
    },
    /// A place of a split sale takes what another gave.
    Take {
        /// The number of that other place.
        from: u32,
        /// All that the other ever gave to this one: what of it was taken before is not taken again.
        gave: u64,
    },
}

impl Command {
    /// Whether it changes nothing, whatever it finds.
    pub fn only_looks(&self) -> bool {
        self.may_overtake() || matches!(self, Self::FindClaim(..))
    }

    /// Whether it may overtake what was asked before. Not who looks for a claim, which a purchase before
    /// it may be about to make.
    pub fn may_overtake(&self) -> bool {
        matches!(self, Self::Show | Self::Glance { .. } | Self::ShowReservation(_))
    }

    /// Whether it costs a ledger next to nothing beside what it answers.
    pub fn is_cheap(&self) -> bool {
        matches!(self, Self::Glance { .. } | Self::FindClaim(..))
    }

    /// The only reservation that it is about, if it is about one that there is.
    pub fn reservation(&self) -> Option<ReservationId> {
        match self {
            Self::Confirm(id)
            | Self::Cancel(id)
            | Self::Refund(id)
            | Self::Extend(id, _)
            | Self::CancelTo(id, _)
            | Self::RefundTo(id, _)
            | Self::ShowReservation(id) => Some(*id),
            _ => None,
        }
    }

    /// Whether a ledger can carry out this command and the next one in one step: purchases go together,
    /// looks for claims in the same making do, and so do looks at single reservations and changes of
    /// them.
    pub fn joins(&self, next: &Self) -> bool {
        let about_one = |command: &Self| command.reservation().is_some();
        match (self, next) {
            (Self::Reserve(_), Self::Reserve(_)) => true,
            (Self::FindClaim(_, made), Self::FindClaim(_, other)) => made == other,
            _ => about_one(self) && about_one(next),
        }
    }
}

/// A sale as it stands.
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
    /// What it has given to other places of a split sale, and taken from them.
    pub moves: Moves,
    /// Which making of the sale it is.
    pub creation: Creation,
}

impl SaleView {
    /// Units left. 0 also where the total was lowered by hand below what is sold.
    pub fn free(&self) -> u64 {
        self.spec.total.saturating_sub(self.held + self.confirmed)
    }

    /// The ticket types: name, cap, what is sold, and how many units are left: no more than the sale has.
    pub fn types(&self) -> impl Iterator<Item = (&TypeName, u64, TypeUnits, u64)> {
        let free = self.free();
        self.spec.types.iter().zip(&self.by_type).map(move |((name, cap), units)| {
            (name, cap, *units, cap.saturating_sub(units.sold()).min(free))
        })
    }

    /// Units that it had if nothing had ever been moved to or from it. Only stock that is added
    /// changes that.
    pub fn owned(&self) -> u64 {
        let [gave, took] = [&self.moves.gave, &self.moves.took].map(|m| m.iter().sum::<u64>());
        (self.spec.total + gave).saturating_sub(took)
    }

    /// Whether it sells at the ledger's time.
    pub fn state(&self) -> State {
        self.spec.state(self.now_ms)
    }
}

impl Outcome {
    /// Why a sale can't be defined so by these terms: one of them, with what the sale has else, leaves no
    /// quantity that a reservation may have.
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

/// The answer to one [`Command`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Reserve: the units are held until then.
    Granted {
        /// The end of the hold time, in ms since 1970.
        expires_at_ms: u64,
    },
    /// Reserve: this (user, key) has this reservation already, whatever became of it.
    Replayed(Box<Reservation>),
    /// Reserve: this (user, key) was used for a request of another quantity, or of other lines.
    KeyReused,
    /// Find claim: this (user, key) has this reservation.
    Claimed(ReservationId),
    /// Find claim: this (user, key) has none, and nothing is known that speaks against asking for one.
    NotClaimed,
    /// Reserve, late confirm: the user would have more than this many units.
    LimitReached {
        /// The sale's limit per user.
        limit_per_user: u32,
    },
    /// Reserve: fewer units are left than were asked for. Find claim: none is.
    SoldOut {
        /// Units left: not 0 when more than one was asked for.
        free: u64,
    },
    /// Reserve: the sale has units left, but fewer of this ticket type than were asked for.
    TypeSoldOut {
        /// The first of those that are short, in the order of their names.
        name: TypeName,
        /// Units of it that are left.
        free: u64,
    },
    /// Reserve: the sale has ticket types, and none was named. Cancel or refund a part: the same.
    LinesRequired,
    /// Reserve: ticket types were named, and the sale has none. Cancel or refund a part: the same.
    LinesUnexpected,
    /// Reserve: the sale has no such ticket type.
    UnknownType {
        /// The first of those that it has not, in the order of their names.
        name: TypeName,
    },
    /// Reserve, find claim: the sale opens then.
    NotOpen {
        /// In ms since 1970.
        opens_at_ms: u64,
    },
    /// Reserve, find claim: the sale is over.
    Closed,
    /// Reserve: the sale has a limit or a bound per user, so the request must name the user.
    UserRequired,
    /// Reserve: more units than one reservation may have.
    QuantityTooLarge {
        /// The sale's maximum.
        quantity_max: u32,
    },
    /// Reserve: fewer units than one reservation must have.
    QuantityTooSmall {
        /// The sale's minimum.
        quantity_min: u32,
    },
    /// Reserve: as many reservations were made, or came back, as the sale ever allows.
    ReservationsExhausted {
        /// How many.
        reservations_max: u64,
    },
    /// Reserve: as many reservations were made for this user as the sale ever allows.
    UserReservationsExhausted {
        /// How many.
        reservations_per_user_max: u32,
    },
    /// Confirm, cancel, refund, show: the reservation as it stands now.
    Reservation(Box<Reservation>),
    /// Confirm, cancel, refund: it has expired (and, for confirm, nothing is left to take it up again).
    Expired,
    /// Cancel: it is paid.
    AlreadyConfirmed,
    /// Confirm, cancel, refund: it was cancelled.
    AlreadyCancelled,
    /// Confirm, cancel: it was refunded.
    AlreadyRefunded,
    /// Refund: it is held, and not paid.
    NotConfirmed,
    /// Extend: it would be held for longer than the sale allows.
    ExtensionLimit {
        /// Until when it may be held, in ms since 1970.
        expires_at_ms_max: u64,
    },
    /// Cancel or refund a part: more units are to remain, of all or of a type, than it was made with.
    RemainingTooLarge {
        /// Those that it has.
        quantity: u32,
    },
    /// Expire: units that returned to stock.
    Released {
        /// How many units.
        units: u64,
        /// More reservations are past their deadline: ask again.
        more: bool,
        /// No later than the earliest deadline of anything still held, in ms since 1970; `None`:
        /// nothing is. Before it, and before a reservation made from now on ends, nothing is due.
        next_due_ms: Option<u64>,
    },
    /// Add stock, change terms, open, close, show, glance: the sale as it stands now. Create: it existed, like this.
    Sale(Box<SaleView>),
    /// Glance: it takes more than that to tell.
    Unclear,
    /// Create: it did not exist and does now, like this.
    Created(Box<SaleView>),
    /// The total would be larger than any sale may have; nothing changed.
    TotalTooLarge,
    /// Take stock: these units are no longer in the sale.
    StockTaken {
        /// How many.
        units: u64,
        /// The sale as it stands now.
        view: Box<SaleView>,
    },
    /// Take stock: fewer are free; nothing changed.
    TooFewFree {
        /// How many are.
        free: u64,
    },
    /// Change terms: the sale would be over before it opens; nothing changed.
    ClosesTooEarly {
        /// When it opens, in ms since 1970.
        opens_at_ms: u64,
    },
    /// Change terms: a reservation of this sale has more units at the least; nothing changed.
    QuantityMaxTooSmall {
        /// The sale's minimum.
        quantity_min: u32,
    },
    /// Change terms: a reservation of this sale has no more units; nothing changed.
    QuantityMinTooLarge {
        /// The sale's maximum.
        quantity_max: u32,
    },
    /// Change terms: only a sale in one part bounds how many reservations are made in it; nothing changed.
    BoundOfParts,
    /// Change terms: the sale did not bound this, and too many units are held or confirmed, or too many
    /// reservations were made, to count them; nothing changed.
    TooManyToCount {
        /// How many units.
        units: u64,
    },
    /// Remove: the sale is no more.
    Removed,
    /// Remove: it still sells or will; nothing changed.
    NotClosed,
    /// Remove: units are still held; nothing changed.
    StillHeld {
        /// How many units.
        held: u64,
    },
    /// Reset: units would be forgotten; nothing changed.
    HasSold {
        /// Units held.
        held: u64,
        /// Units confirmed.
        confirmed: u64,
    },
    /// Reset: the total that the sale has can't be read, and none was given; nothing changed.
    TotalRequired,
    /// Reserve, find claim: this is the head of a split sale, which sells in its parts.
    Split {
        /// How many there are.
        parts: u32,
    },
    /// Give: all that this place ever gave to that one, by now.
    Gave {
        /// Units.
        gave: u64,
    },
    /// Take: this many units are here now and were under way before.
    Took {
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
