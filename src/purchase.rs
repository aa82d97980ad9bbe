//! A purchase: the core's own knowledge first (latch, allowance), then the ledger, then what became
//! of it.
//!
//! Architecture invariant: this layer knows no HTTP and no kind of ledger. It never says `sold_out`
//! unless the ledger did.

mod ids;
mod parts;
mod sales;
mod seller;
mod vanished;

pub use ids::IdSource;
pub use parts::{confirm_late, gather};
pub use sales::{SaleSlot, Sales, SeenView, Settler, ask, look};
pub use seller::{Seller, Selling};

use std::rc::Rc;

use crate::ledger::batch::{Failure, Ticket};
use crate::sale::{Command, Key, Outcome, Reservation, ReservationId, Reserve, SaleId, User};
use crate::stock::{Refusal, Word};

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

/// A purchase after the local step.
pub enum Begun {
    /// It needs nothing more.
    Decided(Verdict),
    /// It is in the ledger's queue.
    Asked(Asked),
}

/// A purchase that waits for the ledger.
#[must_use]
pub struct Asked(Waits);

enum Waits {
    /// For its own outcome.
    Outcome(Put),
    /// For the ledger's view of a sale that it refused too long ago, to be asked or refused then.
    View { ask: Box<Ask>, ticket: Ticket, came_ms: u64 },
}

/// A purchase in the ledger's queue.
struct Put {
    id: ReservationId,
    ticket: Ticket,
    /// What was asked: it may have to be asked again at another place.
    ask: Ask,
    /// Where it was asked: the sale, or a part of it.
    place: Rc<SaleSlot>,
    /// Until when it may be asked again, on the core's clock.
    until_ms: u64,
}

/// The local step of a purchase: latch, allowance, queue. Does not suspend.
pub fn begin(seller: &Seller, slot: &Rc<SaleSlot>, ask: Ask) -> Begun {
    // A repeated key must find its reservation whatever the core knows of the sale.
    if ask.key.is_none() {
        match slot.word(seller) {
            Word::Refuse(refusal) => return decided(seller, Verdict::Refused(refusal.into())),
            Word::Doubt => return wait_for_view(seller, slot, ask),
            Word::Ask => {}
        }
    }
    match put(seller, slot, ask) {
        Ok(put) => Begun::Asked(Asked(Waits::Outcome(put))),
        Err(verdict) => decided(seller, verdict),
    }
}

/// One question for all who come while the core does not know whether the sale still refuses: a
/// ledger that is slow must not be given every rejection to decide as well.
fn wait_for_view(seller: &Seller, slot: &Rc<SaleSlot>, ask: Ask) -> Begun {
    match sales::ask(seller, slot) {
        Ok(ticket) => {
            let came_ms = seller.clock.now_ms();
            Begun::Asked(Asked(Waits::View { ask: Box::new(ask), ticket, came_ms }))
        }
        Err(failure) => decided(seller, Verdict::Failed(not_sent(failure))),
    }
}

/// What a failed question means for a purchase that waited for its answer and was not sent.
fn not_sent(failure: Failure) -> Failure {
    match failure {
        Failure::Busy => Failure::Busy,
        Failure::Unavailable | Failure::Unknown => Failure::Unavailable,
    }
}

/// Asks the ledger at the place of the sale where this is to be asked.
fn put(seller: &Seller, slot: &Rc<SaleSlot>, ask: Ask) -> Result<Put, Verdict> {
    let place = slot.home(&ask).clone();
    let (id, ticket) = put_at(seller, slot, place.id(), ask.clone())?;
    let until_ms = seller.clock.now_ms() + seller.batcher.answer_deadline_ms();
    Ok(Put { id, ticket, ask, place, until_ms })
}

/// Allowance and queue: asks the ledger at a sale, or at a part of it.
fn put_at(
    seller: &Seller,
    slot: &SaleSlot,
    place: &SaleId,
    ask: Ask,
) -> Result<(ReservationId, Ticket), Verdict> {
    let now_ms = seller.clock.now_ms();
    let units = u64::from(ask.quantity);
    let allowed = slot.shards.take(seller.index, units);
    if !allowed && ask.key.is_none() {
        return Err(Verdict::Refused(Refused::AllowanceExhausted));
    }
    let allowance = if allowed { ask.quantity } else { 0 };
    let id = seller.ids.borrow_mut().next_id(seller.batcher.batches_taken());
    let Ask { quantity, user, key } = ask;
    let reserve = Command::Reserve(Reserve { id, quantity, user, key, claim_only: !allowed });
    match seller.batcher.submit(now_ms, place, slot.exists.get(), reserve, allowance) {
        Ok(ticket) => Ok((id, ticket)),
        Err(failure) => {
            slot.shards.give_back(seller.index, u64::from(allowance));
            Err(Verdict::Failed(failure))
        }
    }
}

impl Asked {
    /// Suspends until the ledger has answered. Gives also where the purchase was made: the sale that was
    /// asked, or the part of it.
    pub fn wait(self, seller: &Seller, slot: Rc<SaleSlot>) -> (Verdict, Rc<SaleSlot>) {
        let (mut verdict, place) = match self.0 {
            Waits::Outcome(put) => put.wait(seller, slot),
            Waits::View { ask, ticket, came_ms } => {
                let mut slot = slot;
                match after_view(seller, &mut slot, *ask, ticket, came_ms) {
                    Ok(put) => put.wait(seller, slot),
                    Err(verdict) => (verdict, slot),
                }
            }
        };
        if matches!(verdict, Verdict::Failed(Failure::Unavailable))
            && seller.selling.refused_sales.contains(place.id())
        {
            verdict = Verdict::Refused(Refused::Damaged);
        }
        record(seller, &verdict);
        (verdict, place)
    }
}

impl Put {
    fn wait(self, seller: &Seller, slot: Rc<SaleSlot>) -> (Verdict, Rc<SaleSlot>) {
        let Self { id, ticket, ask, place, until_ms } = self;
        match seller.batcher.wait(ticket) {
            Ok(outcome) if parts::leads_elsewhere(&outcome) => {
                parts::ask_elsewhere(seller, slot, ask, place, outcome, until_ms)
            }
            Ok(outcome) => (verdict(id, outcome), place),
            Err(failure) => (Verdict::Failed(failure), place),
        }
    }
}

/// Waits for the ledger's view of a sale, and puts the purchase to the ledger if that does not
/// refuse it. `slot` becomes what the core knows of the sale then: another one may have its name.
fn after_view(
    seller: &Seller,
    slot: &mut Rc<SaleSlot>,
    ask: Ask,
    mut ticket: Ticket,
    came_ms: u64,
) -> Result<Put, Verdict> {
    let failed = |failure| Verdict::Failed(not_sent(failure));
    loop {
        if seller.batcher.wait(ticket).map_err(failed)? == Outcome::UnknownSale {
            return Err(Verdict::Refused(Refused::UnknownSale));
        }
        *slot = seller.sales.slot(seller, slot.id().as_str())?;
        match slot.word_after_view(seller, came_ms) {
            Word::Refuse(refusal) => return Err(Verdict::Refused(refusal.into())),
            Word::Ask => break,
            // The question was asked before this request came, and its answer is too old.
            Word::Doubt => ticket = sales::ask(seller, slot).map_err(failed)?,
        }
        seller.batcher.kick();
    }
    let put = put(seller, slot, ask);
    seller.batcher.kick();
    put
}

fn verdict(id: ReservationId, outcome: Outcome) -> Verdict {
    Verdict::Refused(match outcome {
        Outcome::Granted { expires_at_ms } => return Verdict::Granted { id, expires_at_ms },
        Outcome::Replayed(reservation) => return Verdict::Replayed(reservation),
        Outcome::SoldOut { free } => Refused::SoldOut { free },
        Outcome::NotOpen { opens_at_ms } => Refused::NotOpen { opens_at_ms },
        Outcome::Closed => Refused::Closed,
        Outcome::LimitReached { limit_per_user } => Refused::LimitReached { limit_per_user },
        Outcome::UserRequired => Refused::UserRequired,
        Outcome::QuantityTooLarge { quantity_max } => Refused::QuantityTooLarge { quantity_max },
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

fn decided(seller: &Seller, verdict: Verdict) -> Begun {
    record(seller, &verdict);
    Begun::Decided(verdict)
}

fn record(seller: &Seller, verdict: &Verdict) {
    seller.record(matches!(verdict, Verdict::Granted { .. }));
}

impl Seller {
    /// What is done at regular times. `true`: there are answers left to tell.
    pub fn tick(&self) -> bool {
        // By the last tick's time: a link whose own wait was overdue then has had its turn since. If
        // the ledger is silent, what waits behind it is told so, and not that it is busy.
        self.batcher.fail_overdue(self.last_tick_ms.replace(self.clock.now_ms()));
        self.sales.refresh(self);
        self.flush_stat_log();
        self.batcher.kick();
        self.batcher.has_answered()
    }
}
