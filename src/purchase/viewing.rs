//! A request that shows a sale: answered from memory, or by a query that all such requests share.
//!
//! Architecture invariant: knows no HTTP and no kind of ledger.

use std::rc::Rc;

use super::outcome::PurchaseOutcome;
use super::sales;
use super::seller::Seller;
use super::slot::{CachedView, SaleSlot};
use crate::ledger::Failure;
use crate::ledger::batch::{Ticket, WaiterId};
use crate::limits::VIEW_AGE_MS_MAX;
use crate::sale::Outcome;

/// Queries that one request waits for. The second is sent after the request arrived, so only a sale
/// that is replaced meanwhile needs a third.
const QUERIES_MAX: u32 = 3;

/// A sale as it was at most 100 ms before the request arrived. `None`: there is no such sale.
pub type ViewAnswer = Result<Option<Rc<CachedView>>, Failure>;

/// A request after one step.
pub enum ViewProgress {
    /// The answer, and the sale that it is about.
    Done(Rc<SaleSlot>, ViewAnswer),
    /// It waits for the ledger.
    Waits(PendingView),
}

/// A request that waits for the ledger's view of a sale.
pub struct PendingView {
    ticket: Ticket,
    slot: Rc<SaleSlot>,
    came_ms: u64,
    /// When the query was made that it waits for.
    asked_ms: u64,
    queries: u32,
}

/// Shows a sale. Queries the ledger only if there is no recent view.
pub fn view(seller: &Seller, slot: Rc<SaleSlot>, waiter: WaiterId) -> ViewProgress {
    match sales::cached_view(seller, &slot) {
        Some(seen) => ViewProgress::Done(slot, Ok(Some(seen))),
        None => query(seller, slot, waiter, seller.clock.now_ms(), 1),
    }
}

fn query(
    seller: &Seller,
    slot: Rc<SaleSlot>,
    waiter: WaiterId,
    came_ms: u64,
    queries: u32,
) -> ViewProgress {
    match sales::fetch_view(seller, &slot, waiter) {
        Ok(ticket) => {
            let asked_ms = slot.view_asked_ms.get().unwrap_or(came_ms);
            ViewProgress::Waits(PendingView { ticket, slot, came_ms, asked_ms, queries })
        }
        Err(failure) => ViewProgress::Done(slot, Err(failure)),
    }
}

impl PendingView {
    /// Continues after an answer has arrived. `waiter` is woken again if the request still waits.
    pub fn resume(self, seller: &Seller, waiter: WaiterId) -> ViewProgress {
        let Self { ticket, mut slot, came_ms, asked_ms, queries } = self;
        let answer = match seller.batcher.take(ticket) {
            Ok((answer, _)) => answer,
            Err(ticket) => {
                return ViewProgress::Waits(Self { ticket, slot, came_ms, asked_ms, queries });
            }
        };
        match answer {
            Ok(Outcome::Sale(_)) => {}
            // There was no sale, but that was long before this request arrived.
            Ok(_) if asked_ms + VIEW_AGE_MS_MAX < came_ms && queries < QUERIES_MAX => {}
            Ok(_) => return ViewProgress::Done(slot, Ok(None)),
            Err(failure) => return ViewProgress::Done(slot, Err(failure)),
        }
        if slot.forgotten.get() {
            // Another sale has this name now.
            slot = match seller.sale(slot.id().as_str()) {
                Ok(fresh) => fresh,
                Err(PurchaseOutcome::Failed(failure)) => {
                    return ViewProgress::Done(slot, Err(failure));
                }
                Err(_) => return ViewProgress::Done(slot, Ok(None)),
            };
        }
        // The query may have been sent long before this request arrived.
        match slot.last_view().filter(|seen| seen.is_recent(came_ms)) {
            Some(seen) => ViewProgress::Done(slot, Ok(Some(seen))),
            None if queries < QUERIES_MAX => {
                let progress = query(seller, slot, waiter, came_ms, queries + 1);
                seller.batcher.wake_link();
                progress
            }
            None => ViewProgress::Done(slot, Err(Failure::Unavailable)),
        }
    }

    /// Gives up the request: nobody waits for it any more.
    pub fn give_up(self, seller: &Seller) {
        seller.batcher.give_up(self.ticket);
    }
}
