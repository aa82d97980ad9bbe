//! Buying from the parts of a split sale: at the part to which the buyer belongs, with units
//! fetched from other parts if it has too few.
//!
//! The sale is sold out only when every part has said so and no units are in transit between them.
//!
//! Architecture invariant: knows no HTTP and no kind of ledger.

use std::rc::Rc;

use super::seller::Seller;
use super::slot::{Parts, SaleSlot};
use crate::ledger::batch::{Answer, Ticket, TicketNumber, WaiterId};
use crate::ledger::{Failure, Group};
use crate::limits::REFUSAL_LOG_INTERVAL_MS;
use crate::sale::{Command, Outcome, ReservationId, SaleId, SaleView};
use crate::splits::{self, PartsCreation, Search};
use crate::stock::LatchReason;

/// A core's access to the ledger, for a coroutine that may suspend. A step is sent only if it
/// begins before the deadline.
struct SellerAccess<'a> {
    seller: &'a Seller,
    until_ms: u64,
    /// When the last step was sent: its answers were true no earlier.
    asked_ms: u64,
}

impl<'a> SellerAccess<'a> {
    /// With the deadline of a batch, counted from now.
    fn from_now(seller: &'a Seller) -> Self {
        let now_ms = seller.clock.now_ms();
        let until_ms = now_ms + seller.batcher.answer_deadline_ms();
        Self { seller, until_ms, asked_ms: now_ms }
    }
}

impl splits::LedgerAccess for SellerAccess<'_> {
    type Error = Failure;

    fn apply_groups(&mut self, groups: Vec<Group>) -> Result<Vec<Vec<Outcome>>, Failure> {
        let seller = self.seller;
        let now_ms = seller.clock.now_ms();
        if now_ms >= self.until_ms {
            return Err(Failure::Busy);
        }
        self.asked_ms = now_ms;
        let mut failure = None;
        let mut tickets = Vec::with_capacity(groups.len());
        for Group { sale, commands } in groups {
            let submit = |command| seller.batcher.submit_step(now_ms, &sale, command);
            let submitted: Vec<_> = commands.into_iter().map(submit).collect();
            tickets.push(submitted);
        }
        seller.batcher.wake_link();
        // Waits for all: every ticket must be waited for.
        let mut outcomes = Vec::with_capacity(tickets.len());
        for group in tickets {
            let mut group_outcomes = Vec::with_capacity(group.len());
            for ticket in group {
                match ticket.and_then(|ticket| seller.batcher.wait(ticket)) {
                    Ok(outcome) => group_outcomes.push(outcome),
                    Err(error) => failure = Some(error),
                }
            }
            outcomes.push(group_outcomes);
        }
        failure.map_or(Ok(outcomes), Err)
    }
}

/// Views all parts of a split sale that was just discovered or created. If `make` is set, creates
/// the parts that are missing. Call it in a coroutine that may suspend.
///
/// # Errors
/// The ledger did not answer, or the sale no longer exists.
pub fn view_or_create_parts(
    seller: &Seller,
    id: &SaleId,
    parts: u32,
    make: bool,
) -> Result<SaleView, Failure> {
    let access = &mut SellerAccess::from_now(seller);
    let made = if make { splits::create_parts(access, id, parts)? } else { PartsCreation::Gone };
    let places = match made {
        PartsCreation::Whole(places) => Some(*places),
        PartsCreation::Missing(numbers) => {
            tracing::error!(
                sale = %id,
                parts = ?numbers,
                "parts of the sale not found"
            );
            splits::view_places(access, id, parts)?
        }
        PartsCreation::Foreign(numbers) => {
            tracing::error!(
                sale = %id,
                parts = ?numbers,
                "parts belong to another sale of this name"
            );
            splits::view_places(access, id, parts)?
        }
        PartsCreation::Gone => splits::view_places(access, id, parts)?,
    };
    places.map(|places| places.view()).ok_or(Failure::Unavailable)
}

/// Whether an outcome of a purchase is not final if the sale is split.
pub(super) fn may_redirect(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::SoldOut { .. } | Outcome::Split { .. } | Outcome::UnknownSale)
}

/// One flow that fetches units for a part while all requests that need them wait. Dropping it
/// answers them, however it ended, also by a panic.
struct Fetching {
    seller: &'static Seller,
    slot: Rc<SaleSlot>,
    part: Rc<SaleSlot>,
    answer: Answer,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        let waiters = self.part.part_of.as_ref().and_then(|part_of| part_of.waiters.take());
        for waiter in waiters.into_iter().flatten() {
            self.seller.batcher.deliver(waiter, self.answer.clone());
        }
        self.seller.batcher.wake_link();
    }
}

impl Fetching {
    fn run(mut self, quantity: u32) {
        let (Some(parts), Some(part_of)) = (self.slot.parts.get(), &self.part.part_of) else {
            return;
        };
        let (count, units) = (parts.slots.len() as u32, u64::from(quantity));
        let mut access = SellerAccess::from_now(self.seller);
        let found = splits::search(&mut access, self.slot.id(), count, part_of.number, units);
        // A search that finds too few units ends with the views of all parts.
        let asked_ms = access.asked_ms;
        let judged = parts.judge(self.seller, &self.slot, found, asked_ms);
        self.answer = judged.map(|found| match found {
            Found::Ready(takes) => {
                for take in takes {
                    // If these commands fail, the units stay in transit, and the next search finds
                    // them.
                    let (batcher, now_ms) = (&self.seller.batcher, self.seller.clock.now_ms());
                    _ = batcher.submit_unattended(now_ms, self.part.id(), true, take);
                }
                Outcome::Received { units: 0 }
            }
            Found::TooFew { free } => {
                part_of.searched_ms.set(asked_ms);
                Outcome::SoldOut { free }
            }
        });
    }
}

/// Fetches at least `quantity` units for a part. All requests that need them meanwhile wait for the
/// result: either the part has enough once it has carried out the commands in its queue, or
/// [`Outcome::SoldOut`] for all parts together.
pub(super) fn fetch(
    seller: &'static Seller,
    slot: &Rc<SaleSlot>,
    part: &Rc<SaleSlot>,
    quantity: u32,
    waiter: WaiterId,
) -> Result<Ticket, Failure> {
    let Some(part_of) = &part.part_of else { return Err(Failure::Busy) };
    let ticket = seller.batcher.new_ticket(part.id(), true, Some(waiter))?;
    let number = seller.batcher.number(&ticket);
    let mut waiters = part_of.waiters.borrow_mut();
    if let Some(waiters) = waiters.as_mut() {
        waiters.push(number);
        return Ok(ticket);
    }
    *waiters = Some(vec![number]);
    drop(waiters);
    let (slot, part) = (slot.clone(), part.clone());
    let fetching = Fetching { seller, slot, part, answer: Err(Failure::Unavailable) };
    seller.flows.run(Box::new(move || fetching.run(quantity)));
    Ok(ticket)
}

/// The result of a search.
enum Found {
    /// The part has enough once it has carried out these commands.
    Ready(Vec<Command>),
    /// All parts together have only this many.
    TooFew { free: u64 },
}

impl Parts {
    /// Translates the result of a search for the requests that wait for it. It was true no earlier
    /// than `asked_ms`.
    fn judge(
        &self,
        seller: &Seller,
        slot: &Rc<SaleSlot>,
        found: Result<Search, Failure>,
        asked_ms: u64,
    ) -> Result<Found, Failure> {
        let now_ms = seller.clock.now_ms();
        match found {
            Ok(Search::Ready(takes)) => Ok(Found::Ready(takes)),
            Ok(Search::TooFew { free, view }) => {
                if free == 0 {
                    slot.latch.borrow_mut().close(LatchReason::SoldOut, asked_ms, view.now_ms);
                    slot.note_refusal(seller, now_ms);
                }
                Ok(Found::TooFew { free })
            }
            Ok(Search::Missing(parts)) => {
                if now_ms >= self.missing_logged_ms.get() + REFUSAL_LOG_INTERVAL_MS {
                    self.missing_logged_ms.set(now_ms);
                    tracing::warn!(sale = %slot.id(), ?parts, "parts of a split sale are missing");
                }
                Err(Failure::Unavailable)
            }
            // The sale is gone, or another one has its name: the next request finds out.
            Ok(Search::Gone) => {
                seller.forget(slot);
                Err(Failure::Unavailable)
            }
            Ok(Search::Contended) => Err(Failure::Busy),
            // The search itself took no units: units that are in transit are found again.
            Err(Failure::Busy) => Err(Failure::Busy),
            Err(_) => Err(Failure::Unavailable),
        }
    }
}

/// Confirms an expired reservation of a part, with units from other parts if its own are sold. The
/// answer goes to the ticket.
pub fn confirm_late(
    seller: &'static Seller,
    part: &SaleId,
    id: ReservationId,
    waiter: WaiterId,
) -> Result<Ticket, Failure> {
    let ticket = seller.batcher.new_ticket(part, true, Some(waiter))?;
    let number = seller.batcher.number(&ticket);
    let confirming = Confirming { seller, number, answer: Err(Failure::Unavailable) };
    let part = part.clone();
    seller.flows.run(Box::new(move || {
        let mut confirming = { confirming };
        let confirmed = splits::confirm_late(&mut SellerAccess::from_now(seller), &part, id);
        confirming.answer = confirmed.and_then(|outcome| outcome.ok_or(Failure::Unavailable));
    }));
    Ok(ticket)
}

/// Dropping it answers the request that waits for the confirmation, however the flow ended.
struct Confirming {
    seller: &'static Seller,
    number: TicketNumber,
    answer: Answer,
}

impl Drop for Confirming {
    fn drop(&mut self) {
        self.seller.batcher.deliver(self.number, self.answer.clone());
    }
}
