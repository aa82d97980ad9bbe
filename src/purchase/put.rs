//! Allowance and queue.

use std::rc::Rc;

use super::seller::Seller;
use super::slot::SaleSlot;
use super::verdict::{Ask, Refused, Verdict};
use crate::ledger::batch::Ticket;
use crate::sale::{Command, ReservationId, Reserve, SaleId};

/// Asks the ledger at a sale, or at a part of it.
pub(super) fn put_at(
    seller: &Seller,
    slot: &Rc<SaleSlot>,
    place: &SaleId,
    ask: Ask,
) -> Result<(ReservationId, Ticket), Verdict> {
    let now_ms = seller.clock.now_ms();
    let units = u64::from(ask.quantity);
    let allowed = slot.shards.take(seller.index, units);
    if !allowed && ask.key.is_none() {
        // Another sale may have its name by now, with an allowance of its own.
        seller.sales.want(slot);
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
