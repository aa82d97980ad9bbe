//! The parts of a split sale as a core knows them, and buying from them: at the part that the buyer
//! belongs to, with units fetched from others when that has too few.
//!
//! Sold out is the sale only when every part has said so and nothing is under way between them.
//!
//! Architecture invariant: knows no HTTP and no kind of ledger.

use std::rc::Rc;

use super::seller::Seller;
use super::slot::{Parts, SaleSlot};
use crate::ledger::batch::{Answer, Asker, Ticket, TicketNumber};
use crate::ledger::{Failure, Group};
use crate::limits::REFUSAL_LOG_INTERVAL_MS;
use crate::sale::{Command, Outcome, ReservationId, SaleId, SaleView};
use crate::splits::{self, Made, Search};
use crate::stock::Refusal;

/// A core's way to the ledger, for a coroutine that may suspend. It takes as many steps as begin
/// before its deadline.
struct SellerAsk<'a> {
    seller: &'a Seller,
    until_ms: u64,
}

impl<'a> SellerAsk<'a> {
    /// For something that begins now and may take as long as a batch.
    fn from_now(seller: &'a Seller) -> Self {
        Self { seller, until_ms: seller.clock.now_ms() + seller.batcher.answer_deadline_ms() }
    }
}

impl splits::Ask for SellerAsk<'_> {
    type Error = Failure;

    fn ask(&mut self, groups: Vec<Group>) -> Result<Vec<Vec<Outcome>>, Failure> {
        let seller = self.seller;
        let now_ms = seller.clock.now_ms();
        if now_ms >= self.until_ms {
            return Err(Failure::Busy);
        }
        let mut failure = None;
        let mut tickets = Vec::with_capacity(groups.len());
        for Group { sale, commands } in groups {
            let submit = |command| seller.batcher.submit(now_ms, &sale, true, command, 0, None);
            let submitted: Vec<_> = commands.into_iter().map(submit).collect();
            tickets.push(submitted);
        }
        seller.batcher.kick();
        // All are waited for: a ticket must be.
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

/// Looks at all parts of a split sale that was just met or made; makes the parts that are missing if
/// `make` says so. In a coroutine that may suspend.
///
/// # Errors
/// The ledger did not answer, or there is no such sale any more.
pub fn gather(seller: &Seller, id: &SaleId, parts: u32, make: bool) -> Result<SaleView, Failure> {
    let ask = &mut SellerAsk::from_now(seller);
    let made = if make { splits::make(ask, id, parts)? } else { Made::Gone };
    let places = match made {
        Made::Whole(places) => Some(*places),
        Made::Missing(numbers) => {
            tracing::error!(
                sale = %id,
                parts = ?numbers,
                "parts of the sale are not there"
            );
            splits::look(ask, id, parts)?
        }
        Made::Foreign(numbers) => {
            tracing::error!(
                sale = %id,
                parts = ?numbers,
                "parts of the sale are not its own"
            );
            splits::look(ask, id, parts)?
        }
        Made::Gone => splits::look(ask, id, parts)?,
    };
    places.map(|places| places.view()).ok_or(Failure::Unavailable)
}

/// Whether an answer about a purchase is not the last word if the sale is split.
pub(super) fn leads_elsewhere(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::SoldOut { .. } | Outcome::Split { .. } | Outcome::UnknownSale)
}

/// One flow fetches units for a part while all who need them wait. However that ends, also by a
/// panic, they are answered.
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
        self.seller.batcher.kick();
    }
}

impl Fetching {
    fn run(mut self, quantity: u32) {
        let (Some(parts), Some(part_of)) = (self.slot.parts.get(), &self.part.part_of) else {
            return;
        };
        let (count, units) = (parts.slots.len() as u32, u64::from(quantity));
        let ask = &mut SellerAsk::from_now(self.seller);
        let found = splits::search(ask, self.slot.id(), count, part_of.number, units);
        self.answer = parts.judge(self.seller, &self.slot, found).map(|found| match found {
            Found::Ready(takes) => {
                for take in takes {
                    // If they do not get there, the units are under way, and found again.
                    let (batcher, now_ms) = (&self.seller.batcher, self.seller.clock.now_ms());
                    _ = batcher.submit_unattended(now_ms, self.part.id(), true, take);
                }
                Outcome::Took { units: 0 }
            }
            Found::TooFew { free } => Outcome::SoldOut { free },
        });
    }
}

/// Has units fetched for a part, at least so many. Whoever needs them meanwhile waits for what comes
/// of it: the part has what it needs, once it has carried out what is in its queue; or
/// [`Outcome::SoldOut`], of all parts together.
pub(super) fn fetch(
    seller: &'static Seller,
    slot: &Rc<SaleSlot>,
    part: &Rc<SaleSlot>,
    quantity: u32,
    asker: Asker,
) -> Result<Ticket, Failure> {
    let Some(part_of) = &part.part_of else { return Err(Failure::Busy) };
    let ticket = seller.batcher.new_ticket(part.id(), true, Some(asker))?;
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

/// What a search has brought.
enum Found {
    /// The part has enough once it has carried out these.
    Ready(Vec<Command>),
    /// There are no more than so many.
    TooFew { free: u64 },
}

impl Parts {
    /// What a search means for those who wait for it.
    fn judge(
        &self,
        seller: &Seller,
        slot: &Rc<SaleSlot>,
        found: Result<Search, Failure>,
    ) -> Result<Found, Failure> {
        let now_ms = seller.clock.now_ms();
        match found {
            Ok(Search::Ready(takes)) => Ok(Found::Ready(takes)),
            Ok(Search::TooFew { free, view }) => {
                if free == 0 {
                    slot.latch.borrow_mut().close(Refusal::SoldOut, now_ms, view.now_ms);
                    slot.note_refusal(seller, now_ms);
                }
                Ok(Found::TooFew { free })
            }
            Ok(Search::Missing(parts)) => {
                if now_ms >= self.missing_told_ms.get() + REFUSAL_LOG_INTERVAL_MS {
                    self.missing_told_ms.set(now_ms);
                    tracing::warn!(sale = %slot.id(), ?parts, "parts of a split sale are missing");
                }
                Err(Failure::Unavailable)
            }
            // It is another sale now, if it is one: the next who asks learns that.
            Ok(Search::Gone) => {
                seller.forget(slot);
                Err(Failure::Unavailable)
            }
            Ok(Search::Restless) => Err(Failure::Busy),
            // What the search asked for took nothing from anybody: units that are under way are found
            // again.
            Err(Failure::Busy) => Err(Failure::Busy),
            Err(_) => Err(Failure::Unavailable),
        }
    }
}

/// Confirms a reservation of a part that has expired, with units from other parts if its own are sold.
/// The answer comes to the ticket.
pub fn confirm_late(
    seller: &'static Seller,
    part: &SaleId,
    id: ReservationId,
    asker: Asker,
) -> Result<Ticket, Failure> {
    let ticket = seller.batcher.new_ticket(part, true, Some(asker))?;
    let number = seller.batcher.number(&ticket);
    let confirming = Confirming { seller, number, answer: Err(Failure::Unavailable) };
    let part = part.clone();
    seller.flows.run(Box::new(move || {
        let mut confirming = { confirming };
        let confirmed = splits::confirm_late(&mut SellerAsk::from_now(seller), &part, id);
        confirming.answer = confirmed.and_then(|outcome| outcome.ok_or(Failure::Unavailable));
    }));
    Ok(ticket)
}

/// One who waits for a flow is answered however that ends.
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
