//! Takes allowance for a request and queues it for the ledger.

use std::rc::Rc;

use super::outcome::{PurchaseOutcome, PurchaseRequest, RejectReason};
use super::seller::Seller;
use super::slot::SaleSlot;
use crate::ledger::batch::{Ticket, WaiterId};
use crate::sale::Command;

/// What became of a request.
pub(super) enum Enqueued {
    /// It is in the ledger's queue.
    Queued(Ticket),
    /// The allowance is used up, but the request's key may have a reservation already.
    Exhausted(PurchaseRequest),
}

/// Queues the request at `target`: the sale of `slot`, or a part of it.
pub(super) fn enqueue_at(
    seller: &Seller,
    slot: &Rc<SaleSlot>,
    target: &SaleSlot,
    request: PurchaseRequest,
    waiter: WaiterId,
) -> Result<Enqueued, PurchaseOutcome> {
    let now_ms = seller.clock.now_ms();
    let units = request.quantity;
    if !slot.shards.take(seller.index, u64::from(units)) {
        // Another sale may have this name by now, with its own allowance.
        seller.sales.want(slot);
        return match request.key {
            None => Err(RejectReason::AllowanceExhausted.into()),
            Some(_) => Ok(Enqueued::Exhausted(request)),
        };
    }
    let (known, reserve) = (slot.exists(), Command::Reserve(request.into()));
    match seller.batcher.submit(now_ms, target.id(), known, reserve, units, Some(waiter)) {
        Ok(ticket) => Ok(Enqueued::Queued(ticket)),
        Err(failure) => {
            slot.shards.give_back(seller.index, u64::from(units));
            Err(PurchaseOutcome::Failed(failure))
        }
    }
}
