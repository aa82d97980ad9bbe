//! Keeps what a core knows of its sales up to date, from every answer of the ledger.
//!
//! The batcher calls this observer before it answers the tickets, so a request that resumes sees what
//! its own answer has changed.
//!
//! Architecture invariant: knows no HTTP and no kind of ledger.

use super::counts::Counted;
use super::seller::Seller;
use super::slot::PartOf;
use super::vanished;
use crate::ledger::batch::{OutcomeObserver, SentCommand};
use crate::ledger::{Failure, GroupReply};
use crate::sale::{Outcome, SaleId};
use crate::stock::{LatchDecision, LatchReason};

/// The observer of one core's batcher.
pub struct SaleCacheUpdater(pub &'static Seller);

impl OutcomeObserver for SaleCacheUpdater {
    fn give_back(&self, sale: &SaleId, units: u64) {
        if let Some((slot, _)) = self.0.sales.known(sale).and_then(PartOf::resolve) {
            slot.shards.give_back(self.0.index, units);
        }
    }

    fn known_rejection(&self, sale: &SaleId) -> Option<Outcome> {
        let (slot, number) = self.0.sales.known(sale).and_then(PartOf::resolve)?;
        let decision = slot.latch.borrow().check(self.0.clock.now_ms(), None);
        match decision {
            // A part's latch says nothing about the other parts.
            _ if number > 0 => None,
            LatchDecision::Refuse(LatchReason::SoldOut) => Some(Outcome::SoldOut { free: 0 }),
            LatchDecision::Refuse(LatchReason::NotOpen { opens_at_ms }) => {
                Some(Outcome::NotOpen { opens_at_ms })
            }
            LatchDecision::Refuse(LatchReason::Closed) => Some(Outcome::Closed),
            LatchDecision::Stale | LatchDecision::AskLedger => None,
        }
    }

    fn on_abandoned(&self, sale: &SaleId, outcome: &Outcome) {
        let slot = self.0.sales.known(sale).and_then(PartOf::resolve).map(|(slot, _)| slot);
        let granted = matches!(outcome, Outcome::Granted { .. } | Outcome::Seated(_));
        self.0.record(
            slot.as_deref(),
            if granted { Counted::Granted } else { Counted::Abandoned },
            None,
        );
    }

    fn on_overdue(&self, sale: &SaleId) {
        if let Some((slot, _)) = self.0.sales.known(sale).and_then(PartOf::resolve) {
            slot.answer_view(self.0, &Err(Failure::Unknown));
        }
    }

    fn on_group(
        &self,
        sale: &SaleId,
        entries: &[SentCommand],
        result: Result<&GroupReply, Failure>,
        asked_ms: u64,
    ) {
        let seller = self.0;
        let Some((slot, number)) = seller.sales.known(sale).and_then(PartOf::resolve) else {
            return;
        };
        match result {
            Ok(reply) => {
                for (entry, outcome) in entries.iter().zip(&reply.outcomes) {
                    slot.on_outcome(seller, number, entry, outcome, reply, asked_ms);
                }
                match reply.free {
                    Some(_) if slot.forgotten.get() => {
                        // Another sale has this name now, and exists.
                        if let Some((fresh, _)) = seller.sales.known(sale).and_then(PartOf::resolve)
                            && fresh.note_exists(seller.index, &seller.selling.sales)
                        {
                            seller.sales.want(&fresh);
                        }
                    }
                    Some(free) => {
                        if slot.note_exists(seller.index, &seller.selling.sales) {
                            // A view will show which sale of that name it is.
                            seller.sales.want(&slot);
                        }
                        slot.shards.note_free(free);
                        if free > 0 {
                            slot.latch.borrow_mut().stock_is_back();
                        }
                    }
                    None => {
                        if slot.exists() {
                            vanished::log(&slot);
                        }
                        seller.forget(&slot);
                    }
                }
            }
            Err(failure) => {
                if failure != Failure::Unknown {
                    let units = entries.iter().map(|entry| u64::from(entry.allowance)).sum();
                    slot.shards.give_back(seller.index, units);
                }
                slot.view_asked_ms.set(None);
                slot.answer_view(seller, &Err(failure));
                if !slot.exists() {
                    seller.forget(&slot);
                }
            }
        }
    }
}
