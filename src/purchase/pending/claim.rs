//! Purchases with a key: whether the key has a reservation already, and which.

use std::rc::Rc;

use super::{Next, PurchaseStep, end, not_sent};
use crate::ledger::Failure;
use crate::ledger::batch::Answer;
use crate::purchase::outcome::{PurchaseOutcome, PurchaseRequest, RejectReason};
use crate::purchase::slot::SaleSlot;
use crate::purchase::waits::WaitsFor;
use crate::sale::{Command, Creation, Outcome};

impl PurchaseStep {
    /// Queries whether the key has a reservation already. In a split sale all parts must have
    /// refused first.
    pub(super) fn look_for_claim(&mut self, request: PurchaseRequest) -> Next {
        if self.slot.parts.get().is_some() {
            return self.wait_for_view(Box::new(request));
        }
        self.find_claim_at(self.slot.clone(), request, None)
    }

    pub(super) fn find_claim_at(
        &mut self,
        target: Rc<SaleSlot>,
        request: PurchaseRequest,
        refused: Option<PurchaseOutcome>,
    ) -> Next {
        // With a known outcome the creation does not matter. Without one, the answer must come from
        // the sale that the core knows, not from another sale of that name.
        let made = match refused {
            None => target.creation_on_sale(self.seller),
            Some(_) => Creation::UNKNOWN,
        };
        let command = Command::FindClaim(request.into(), made);
        self.seller.counts.queries.claims.add(1);
        match self.submit(&target, command) {
            Ok(ticket) => Ok((ticket, WaitsFor::Claim(target, refused.map(Box::new)))),
            Err(failure) => self.failed(failure),
        }
    }

    /// Handles the answer to a claim query. `refused`: see [`WaitsFor::Claim`].
    pub(super) fn after_claim(
        &mut self,
        target: Rc<SaleSlot>,
        answer: Answer,
        refused: Option<Box<PurchaseOutcome>>,
        request: PurchaseRequest,
    ) -> Next {
        let outcome = match answer {
            Ok(outcome) => outcome,
            // The query changes nothing, so its failure leaves nothing unknown.
            Err(failure) => {
                return end(target, PurchaseOutcome::Failed(not_sent(failure)));
            }
        };
        let is_part = target.part_of.is_some();
        match (outcome, refused) {
            (Outcome::Claimed(id), refused) => {
                // Only a second look has this answer in hand.
                let is_again = matches!(refused.as_deref(), Some(PurchaseOutcome::Failed(_)));
                let waits_for = WaitsFor::Reservation(target.clone(), Box::new(request), is_again);
                match self.submit(&target, Command::ShowReservation(id)) {
                    Ok(ticket) => Ok((ticket, waits_for)),
                    Err(failure) => self.failed(failure),
                }
            }
            (Outcome::UnknownSale, _) if !is_part => self.rejected(RejectReason::UnknownSale),
            (Outcome::Closed, _) => self.rejected(RejectReason::Closed),
            (Outcome::NotOpen { opens_at_ms }, _) => {
                self.rejected(RejectReason::NotOpen { opens_at_ms })
            }
            (Outcome::SoldOut { free }, _) if !is_part => {
                self.rejected(RejectReason::SoldOut { free })
            }
            (Outcome::SoldOut { .. } | Outcome::NotClaimed, Some(refused)) => self.done(*refused),
            _ if self.is_late() => self.failed(Failure::Unavailable),
            (Outcome::SoldOut { .. } | Outcome::NotClaimed, None) => self.enqueue(request),
            // The parts are known now, or another sale has this name.
            _ => match self.refresh_slot() {
                Ok(()) => self.look_for_claim(request),
                Err(outcome) => self.done(outcome),
            },
        }
    }

    /// Handles the answer to the query for the reservation that has the key. If there is no such
    /// reservation, another sale has the name since the claim was found, or the data is damaged: a
    /// second look at the claim tells.
    pub(super) fn after_reservation(
        &mut self,
        target: Rc<SaleSlot>,
        answer: Answer,
        request: PurchaseRequest,
        is_again: bool,
    ) -> Next {
        if answer == Ok(Outcome::UnknownReservation) && !is_again {
            let replaced = PurchaseOutcome::Failed(Failure::Unavailable);
            return self.find_claim_at(target, request, Some(replaced));
        }
        end(target, PurchaseOutcome::of_reservation(answer, &request))
    }
}
