//! A purchase that waits, and how each answer continues it.
//!
//! Most purchases wait for one answer: their own outcome.
//!
//! A purchase with an idempotency key that meets a closed latch queries its claim, in one query
//! with all others that do so. The answer also says whether the sale still refuses. A purchase
//! without a key that meets a stale latch waits for the view that all such purchases share.
//!
//! In a split sale, the view of all parts and the claim in one part are two answers. The claim is
//! queried after the view has arrived: so the key had no reservation at the time of the view.

mod claim;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::counts::Counted;
use super::enqueue::{Enqueued, enqueue_at};
use super::outcome::{LinesReason, PurchaseOutcome, PurchaseRequest, RejectReason};
use super::parts;
use super::sales;
use super::seller::Seller;
use super::slot::SaleSlot;
use super::waits::{Completed, Received, WaitsFor};
use crate::ledger::Failure;
use crate::ledger::batch::{Answer, Ticket, WaiterId};
use crate::limits::{PURCHASE_STEPS_MAX, VIEW_AGE_MS_MAX};
use crate::planted::{self, Bug};
use crate::sale::{Command, Outcome, ReservationId};
use crate::stock::{LatchDecision, LatchReason, TypeDecision};
use crate::trace::Trace;

/// A purchase after the local step, or after an answer.
pub enum Progress {
    /// It has its outcome.
    Done(Completed),
    /// It waits for the ledger.
    Waits(PendingPurchase),
}

/// A purchase that waits for the ledger. Its owner resumes it when its answer is there, or gives it
/// up.
#[must_use]
pub struct PendingPurchase {
    ticket: Ticket,
    waits_for: WaitsFor,
    /// The sale that the client named.
    slot: Rc<SaleSlot>,
    received: Received,
    /// The trace of the client's request.
    trace: Option<Arc<Trace>>,
}

/// The next wait, or the final outcome.
type Next = Result<(Ticket, WaitsFor), Completed>;

fn end(target: Rc<SaleSlot>, outcome: PurchaseOutcome) -> Next {
    Err(Completed { outcome, target })
}

/// The local step of a purchase: latch, allowance, queue. `request` is built only if the core
/// cannot decide by itself. The core decides by the latch and by whether there is an idempotency
/// key; the trace goes into `stat.log`.
#[inline(always)] // Most of what a sold-out sale is asked ends here.
pub fn begin(
    seller: &'static Seller,
    slot: &Rc<SaleSlot>,
    (has_key, trace): (bool, Option<&Arc<Trace>>),
    request: impl FnOnce() -> PurchaseRequest,
    waiter: WaiterId,
) -> Progress {
    match slot.decide(seller) {
        LatchDecision::Refuse(reason) if !has_key || planted::is(Bug::ClaimNotLookedUp) => {
            seller.record_known(slot, &reason, trace.map(|trace| &**trace));
            Progress::Done(Completed { outcome: reason.into(), target: slot.clone() })
        }
        decision => begin_at_ledger(seller, slot.clone(), request(), decision, waiter),
    }
}

/// Returns the outcome of a purchase without an idempotency key if the core knows by itself that
/// the sale is sold out. Does not remember a sale that the core does not know.
pub fn known_sold_out(
    seller: &Seller,
    sale: &str,
    trace: Option<&Arc<Trace>>,
) -> Option<Completed> {
    let target = seller.sales.find(sale, seller.clock.now_ms())?;
    match target.decide(seller) {
        LatchDecision::Refuse(reason @ LatchReason::SoldOut) => {
            seller.record_known(&target, &reason, trace.map(|trace| &**trace));
            Some(Completed { outcome: reason.into(), target })
        }
        LatchDecision::Refuse(_) | LatchDecision::Stale | LatchDecision::AskLedger => None,
    }
}

fn begin_at_ledger(
    seller: &'static Seller,
    slot: Rc<SaleSlot>,
    request: PurchaseRequest,
    decision: LatchDecision,
    waiter: WaiterId,
) -> Progress {
    let (ms, at) = (seller.clock.now_ms(), Instant::now());
    let received = Received { ms, at, views: slot.views_asked.get(), steps: 0 };
    let trace = request.trace.clone();
    let mut step = PurchaseStep { seller, slot, received, trace, waiter };
    let next = match decision {
        LatchDecision::AskLedger => step.enqueue_unless_sold_out(request),
        // A repeated key must find its reservation whatever the core knows of the sale.
        LatchDecision::Refuse(_) | LatchDecision::Stale if request.key.is_some() => {
            step.look_for_claim(request)
        }
        LatchDecision::Refuse(_) | LatchDecision::Stale => step.wait_for_view(Box::new(request)),
    };
    step.end(next)
}

impl PendingPurchase {
    /// Continues after its answer has arrived. `waiter` is woken again if the purchase still waits.
    pub fn resume(self, seller: &'static Seller, waiter: WaiterId) -> Progress {
        let Self { ticket, waits_for, slot, mut received, trace } = self;
        let (answer, command) = match seller.batcher.take(ticket) {
            Ok(answered) => answered,
            Err(ticket) => {
                return Progress::Waits(Self { ticket, waits_for, slot, received, trace });
            }
        };
        received.steps += 1;
        let mut step = PurchaseStep { seller, slot, received, trace, waiter };
        let next = match (waits_for, command) {
            // The queue may have turned it into a claim query while it waited.
            (WaitsFor::Outcome(target), Some(Command::FindClaim(reserve, _))) => {
                step.after_claim(target, answer, None, reserve.into())
            }
            (WaitsFor::Claim(target, refused), Some(Command::FindClaim(reserve, _))) => {
                step.after_claim(target, answer, refused, reserve.into())
            }
            (WaitsFor::Outcome(target), Some(Command::Reserve(reserve))) => {
                let id = reserve.id;
                step.after_outcome(target, answer, id, reserve.into())
            }
            (WaitsFor::Outcome(target) | WaitsFor::Claim(target, _), _) => {
                end(target, PurchaseOutcome::without_request(answer))
            }
            (WaitsFor::Reservation(target, request, is_again), _) => {
                step.after_reservation(target, answer, *request, is_again)
            }
            (WaitsFor::View(request), _) => step.after_view(request, answer),
            (WaitsFor::Units(request, part), _) => step.after_units(*request, part, answer),
        };
        step.end(next)
    }

    /// Abandons the purchase. A command that was not sent is dropped, and its allowance is
    /// returned. A command that was sent is accounted for when its answer arrives.
    pub fn give_up(self, seller: &Seller) {
        let unsent = seller.batcher.give_up(self.ticket);
        self.slot.shards.give_back(seller.index, u64::from(unsent.unwrap_or(0)));
        // Otherwise it is recorded when its answer arrives.
        if unsent.is_some() || !matches!(self.waits_for, WaitsFor::Outcome(_)) {
            seller.record(Some(&self.slot), Counted::Abandoned, self.trace.as_deref());
        }
    }
}

/// One step of a purchase, between two waits.
struct PurchaseStep {
    seller: &'static Seller,
    slot: Rc<SaleSlot>,
    received: Received,
    trace: Option<Arc<Trace>>,
    waiter: WaiterId,
}

impl PurchaseStep {
    fn end(self, next: Next) -> Progress {
        let Self { seller, slot, received, trace, .. } = self;
        let Completed { mut outcome, target } = match next {
            Ok((ticket, waits_for)) => {
                if received.steps > 0 {
                    seller.batcher.wake_link();
                }
                return Progress::Waits(PendingPurchase {
                    ticket,
                    waits_for,
                    slot,
                    received,
                    trace,
                });
            }
            Err(done) => done,
        };
        if matches!(outcome, PurchaseOutcome::Failed(Failure::Unavailable))
            && seller.selling.refused_sales.contains(target.id())
        {
            outcome = PurchaseOutcome::Rejected(RejectReason::Damaged);
        }
        seller.record(Some(&slot), Counted::of(&outcome), trace.as_deref());
        seller.counts.purchases_us.record(received.at.elapsed().as_micros() as u64);
        Progress::Done(Completed { outcome, target })
    }

    fn done(&self, outcome: PurchaseOutcome) -> Next {
        end(self.slot.clone(), outcome)
    }

    fn rejected(&self, refused: impl Into<RejectReason>) -> Next {
        self.done(refused.into().into())
    }

    fn failed(&self, failure: Failure) -> Next {
        self.done(PurchaseOutcome::Failed(failure))
    }

    /// Queues the request at its target: the sale, or the part to which the buyer belongs.
    fn enqueue(&mut self, request: PurchaseRequest) -> Next {
        let target = self.slot.part_for(&request).clone();
        self.enqueue_at(target, request)
    }

    /// The same, unless the core knows that one of the named ticket types is sold out.
    fn enqueue_unless_sold_out(&mut self, request: PurchaseRequest) -> Next {
        match request.lines().map(|lines| self.slot.decide_types(self.seller, lines)) {
            None => self.enqueue(request),
            Some(decision) => self.act_on(decision, Box::new(request)),
        }
    }

    fn act_on(&mut self, decision: TypeDecision, request: Box<PurchaseRequest>) -> Next {
        match decision {
            TypeDecision::Refuse(name) => {
                let refused = PurchaseOutcome::Lines(LinesReason::SoldOut { name, free: 0 });
                match request.key {
                    None => self.done(refused),
                    // A repeated key must find its reservation.
                    Some(_) => self.find_claim_at(self.slot.clone(), *request, Some(refused)),
                }
            }
            TypeDecision::Stale if request.key.is_none() => self.wait_for_view(request),
            TypeDecision::Stale | TypeDecision::AskLedger => self.enqueue(*request),
        }
    }

    fn enqueue_at(&mut self, target: Rc<SaleSlot>, request: PurchaseRequest) -> Next {
        match enqueue_at(self.seller, &self.slot, &target, request, self.waiter) {
            Ok(Enqueued::Queued(ticket)) => Ok((ticket, WaitsFor::Outcome(target))),
            Ok(Enqueued::Exhausted(request)) => {
                self.find_claim_at(target, request, Some(RejectReason::AllowanceExhausted.into()))
            }
            Err(outcome) => self.done(outcome),
        }
    }

    fn submit(&self, target: &SaleSlot, command: Command) -> Result<Ticket, Failure> {
        let (seller, known) = (self.seller, self.slot.exists());
        let now_ms = seller.clock.now_ms();
        seller.batcher.submit(now_ms, target.id(), known, command, 0, Some(self.waiter))
    }

    /// All requests that arrive while the latch is stale share one view query: a slow ledger must
    /// not decide every rejection as well.
    fn wait_for_view(&mut self, request: Box<PurchaseRequest>) -> Next {
        if self.received.steps >= PURCHASE_STEPS_MAX {
            return self.failed(Failure::Unavailable);
        }
        if let Err(outcome) = self.refresh_slot() {
            return self.done(outcome);
        }
        match sales::fetch_view(self.seller, &self.slot, self.waiter) {
            Ok(ticket) => Ok((ticket, WaitsFor::View(request))),
            Err(failure) => self.failed(not_sent(failure)),
        }
    }

    fn after_outcome(
        &mut self,
        target: Rc<SaleSlot>,
        answer: Answer,
        id: ReservationId,
        request: PurchaseRequest,
    ) -> Next {
        match answer {
            Ok(outcome) if parts::may_redirect(&outcome) => {
                self.redirect(target, outcome, id, request)
            }
            answer => end(target, PurchaseOutcome::of(answer, id, request)),
        }
    }

    /// Handles a refusal that is not final because the sale may be split: queues the request at its
    /// right target, and fetches units for that part if it has too few.
    fn redirect(
        &mut self,
        target: Rc<SaleSlot>,
        outcome: Outcome,
        id: ReservationId,
        request: PurchaseRequest,
    ) -> Next {
        let is_part = target.part_of.is_some();
        if let Outcome::SoldOut { .. } = outcome
            && is_part
        {
            if self.is_late() {
                return self.failed(Failure::Busy);
            }
            return self.fetch_units(target, request);
        }
        if !is_part && matches!(outcome, Outcome::UnknownSale | Outcome::SoldOut { .. }) {
            return end(target, PurchaseOutcome::of(Ok(outcome), id, request));
        }
        if self.is_late() {
            return self.failed(Failure::Unavailable);
        }
        // The parts are known now, or another sale has this name.
        self.enqueue_again(request)
    }

    fn enqueue_again(&mut self, request: PurchaseRequest) -> Next {
        match self.refresh_slot() {
            Ok(()) => self.enqueue(request),
            Err(outcome) => self.done(outcome),
        }
    }

    /// Another sale may have this name by now, or the same sale may be split differently: then
    /// answers go to its new slot. The core learned of that slot after this request arrived, so all
    /// its views are recent enough.
    fn refresh_slot(&mut self) -> Result<(), PurchaseOutcome> {
        if self.slot.forgotten.get() {
            self.slot = self.seller.sale(self.slot.id().as_str())?;
            self.received.views = 0;
        }
        Ok(())
    }

    /// The part has too few units, and no reservation for the key.
    fn fetch_units(&mut self, part: Rc<SaleSlot>, request: PurchaseRequest) -> Next {
        if self.slot.forgotten.get() {
            return self.enqueue_again(request);
        }
        if let LatchDecision::Refuse(reason @ LatchReason::SoldOut) = self.slot.decide(self.seller)
            && (request.key.is_none() || self.has_seen_a_view())
        {
            return match request.key {
                None => self.rejected(reason),
                // The key may have got its reservation through another instance since.
                Some(_) => self.find_claim_at(part, request, Some(reason.into())),
            };
        }
        match parts::fetch(self.seller, &self.slot, &part, request.quantity, self.waiter) {
            Ok(ticket) => Ok((ticket, WaitsFor::Units(Box::new(request), part))),
            Err(failure) => self.failed(failure),
        }
    }

    fn after_units(
        &mut self,
        request: PurchaseRequest,
        part: Rc<SaleSlot>,
        answer: Answer,
    ) -> Next {
        match answer {
            // Another buyer's search may have begun before this request arrived. Without a key, its
            // result counts if it is recent.
            Ok(Outcome::SoldOut { free: 0 }) if request.key.is_some() => {
                self.wait_for_view(Box::new(request))
            }
            Ok(Outcome::SoldOut { free }) if free < u64::from(request.quantity) => {
                let searched_ms = part.part_of.as_ref().map_or(0, |part| part.searched_ms.get());
                if searched_ms + VIEW_AGE_MS_MAX >= self.received.ms {
                    return self.rejected(RejectReason::SoldOut { free });
                }
                if self.is_late() {
                    return self.failed(Failure::Busy);
                }
                self.fetch_units(part, request)
            }
            Ok(_) if self.slot.forgotten.get() => self.enqueue_again(request),
            Ok(_) => self.enqueue_at(part, request),
            // The request itself was answered before: it took nothing.
            Err(Failure::Busy) => self.failed(Failure::Busy),
            Err(failure) => self.failed(not_sent(failure)),
        }
    }

    /// Handles the ledger's view of the sale: queues the request unless the view refuses it.
    fn after_view(&mut self, request: Box<PurchaseRequest>, answer: Answer) -> Next {
        match answer {
            Ok(Outcome::UnknownSale) => return self.rejected(RejectReason::UnknownSale),
            Ok(_) => {}
            Err(failure) => return self.failed(not_sent(failure)),
        }
        if let Err(outcome) = self.refresh_slot() {
            return self.done(outcome);
        }
        if request.key.is_none() {
            return match self.slot.decide_after_view(self.seller, self.received.ms) {
                LatchDecision::Refuse(reason) => self.rejected(reason),
                LatchDecision::AskLedger => {
                    let decision = request.lines().map_or(TypeDecision::AskLedger, |lines| {
                        self.slot.decide_types_after_view(self.seller, lines, self.received.ms)
                    });
                    self.act_on(decision, request)
                }
                // The view was requested before this request arrived, and is too old.
                LatchDecision::Stale => self.wait_for_view(request),
            };
        }
        if !self.has_seen_a_view() {
            return self.wait_for_view(request);
        }
        match self.slot.last_reason(self.seller) {
            Some(reason) => {
                let home = self.slot.part_for(&request).clone();
                self.find_claim_at(home, *request, Some(reason.into()))
            }
            None => self.enqueue(*request),
        }
    }

    /// Whether a view has arrived that was requested after this request arrived.
    fn has_seen_a_view(&self) -> bool {
        self.slot.views_seen.get() > self.received.views
    }

    /// Whether the purchase has taken too many steps or too long: others were quicker every time,
    /// or a part is missing.
    fn is_late(&self) -> bool {
        let seller = self.seller;
        self.received.steps >= PURCHASE_STEPS_MAX
            || seller.clock.now_ms() >= self.received.ms + seller.batcher.answer_deadline_ms()
    }
}

/// Translates the failure of a query for a purchase that waited for it and was not sent itself.
fn not_sent(failure: Failure) -> Failure {
    match failure {
        Failure::Busy => Failure::Busy,
        Failure::Unavailable | Failure::Unknown => Failure::Unavailable,
    }
}
