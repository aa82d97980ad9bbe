//! Allowance and queue.

use std::rc::Rc;

use super::seller::Seller;
use super::slot::SaleSlot;
use super::verdict::{Ask, Refused, Verdict};
use crate::ledger::batch::{Asker, Ticket};
use crate::sale::Command;

/// What has become of a request that was to be put to the ledger.
pub(super) enum Put {
    /// It is in the ledger's queue.
    Asked(Ticket),
    /// This instance may not ask for more, but the request may have its reservation already.
    Exhausted(Ask),
}

/// Asks the ledger at a sale, or at a part of it.
pub(super) fn put_at(
    seller: &Seller,
    slot: &Rc<SaleSlot>,
    place: &SaleSlot,
    ask: Ask,
    asker: Asker,
) -> Result<Put, Verdict> {
    let now_ms = seller.clock.now_ms();
    let units = ask.quantity;
    if !slot.shards.take(seller.index, u64::from(units)) {
        // Another sale may have its name by now, with an allowance of its own.
        seller.sales.want(slot);
        return match ask.key {
            None => Err(Verdict::Refused(Refused::AllowanceExhausted)),
            Some(_) => Ok(Put::Exhausted(ask)),
        };
    }
    let (known, reserve) = (slot.exists(), Command::Reserve(ask.into()));
    match seller.batcher.submit(now_ms, place.id(), known, reserve, units, Some(asker)) {
        Ok(ticket) => Ok(Put::Asked(ticket)),
        Err(failure) => {
            slot.shards.give_back(seller.index, u64::from(units));
            Err(Verdict::Failed(failure))
        }
    }
}
