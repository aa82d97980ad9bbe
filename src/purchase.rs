//! A purchase: the core's own knowledge first (latch, allowance), then the ledger, then what became
//! of it.
//!
//! Architecture invariant: this layer knows no HTTP and no kind of ledger. It never says `sold_out`
//! unless the ledger did.

mod ids;
mod parts;
mod put;
mod sales;
mod seller;
mod slot;
mod table;
mod vanished;
mod verdict;

pub use ids::IdSource;
pub use parts::{confirm_late, gather};
pub use sales::{Settler, ask, look};
pub use seller::{Seller, Selling};
pub use slot::{SaleSlot, SeenView};
pub use verdict::{Ask, Refused, Verdict};

use std::rc::Rc;

use put::put_at;

use crate::ledger::batch::{Failure, Ticket};
use crate::sale::{Outcome, ReservationId};
use crate::stock::Word;

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
            Ok(outcome) => (Verdict::of(id, outcome), place),
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
        *slot = seller.sale(slot.id().as_str())?;
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
        self.refresh_sales();
        self.flush_stat_log();
        self.batcher.kick();
        self.batcher.has_answered()
    }
}

#[cfg(test)]
#[path = "purchase/purchase_tests.rs"]
mod tests;
