//! The parts of a split sale as a core knows them, and buying from them: at the part that the buyer
//! belongs to, with units fetched from others when that has too few.
//!
//! Sold out is the sale only when every part has said so and nothing is under way between them.
//!
//! Architecture invariant: knows no HTTP and no kind of ledger.

use std::rc::Rc;

use super::put::put_at;
use super::seller::Seller;
use super::slot::{PartOf, Parts, SaleSlot};
use super::verdict::{Ask, Refused, Verdict};
use crate::ledger::Group;
use crate::ledger::batch::{Answer, Failure};
use crate::limits::{REFUSAL_LOG_INTERVAL_MS, SPLIT_ROUNDS_MAX};
use crate::sale::{Command, Outcome, ReservationId, SaleId, SaleView};
use crate::splits::{self, Made, Search};
use crate::stock::{Refusal, Word};

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
            let submit = |command| seller.batcher.submit(now_ms, &sale, true, command, 0);
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
        Made::Whole(places) => Some(places),
        Made::Missing(numbers) => {
            tracing::error!(
                sale = %id,
                parts = ?numbers,
                "parts of the sale are not there; their users can't buy until they are restored"
            );
            splits::look(ask, id, parts)?
        }
        Made::Foreign(numbers) => {
            tracing::error!(
                sale = %id,
                parts = ?numbers,
                "parts of the sale are not its own: their terms or their making are another's"
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

/// Goes on with a purchase that was answered so: asks again where it is to be asked, and has units
/// fetched there if they are lacking, until `until_ms`. Returns what became of it, and where.
pub(super) fn ask_elsewhere(
    seller: &Seller,
    mut slot: Rc<SaleSlot>,
    ask: Ask,
    asked_at: Rc<SaleSlot>,
    outcome: Outcome,
    until_ms: u64,
) -> (Verdict, Rc<SaleSlot>) {
    let (mut part, mut outcome) = (asked_at, outcome);
    for _ in 0..SPLIT_ROUNDS_MAX {
        if seller.clock.now_ms() >= until_ms {
            break;
        }
        match &outcome {
            Outcome::SoldOut { .. } if part.part_of.is_some() => {
                // The part has none under this key, and the whole is known to have nothing left.
                if let Word::Refuse(refusal @ Refusal::SoldOut) = slot.word(seller) {
                    return (Verdict::Refused(refusal.into()), slot);
                }
                match fetch(seller, &slot, &part, ask.quantity, until_ms) {
                    Ok(takes) => takes.into_iter().for_each(|take| {
                        // If they do not get there, the units are under way, and found again.
                        let now_ms = seller.clock.now_ms();
                        _ = seller.batcher.submit_unattended(now_ms, part.id(), true, take);
                    }),
                    Err(verdict) => return (verdict, slot),
                }
            }
            Outcome::UnknownSale | Outcome::SoldOut { .. } if part.part_of.is_none() => {
                return (Verdict::of(ReservationId(0), outcome), slot);
            }
            // Its parts are known now, or it is another sale of the same name.
            _ => match seller.sale(slot.id().as_str()) {
                Ok(found) => {
                    part = found.home(&ask).clone();
                    slot = found;
                }
                Err(verdict) => return (verdict, slot),
            },
        }
        let (id, ticket) = match put_at(seller, &slot, part.id(), ask.clone()) {
            Ok(asked) => asked,
            Err(verdict) => return (verdict, slot),
        };
        seller.batcher.kick();
        outcome = match seller.batcher.wait(ticket) {
            Ok(outcome) if leads_elsewhere(&outcome) => outcome,
            Ok(outcome) => return (Verdict::of(id, outcome), part),
            Err(failure) => return (Verdict::Failed(failure), part),
        };
    }
    // It has taken nothing. Others were quicker every time, or a part is not there.
    let failure = match outcome {
        Outcome::SoldOut { .. } => Failure::Busy,
        _ => Failure::Unavailable,
    };
    (Verdict::Failed(failure), slot)
}

/// One purchase fetches units for a part while others wait for them. However that ends, also by a
/// panic, they are answered.
struct Fetching<'a> {
    seller: &'a Seller,
    part_of: &'a PartOf,
    answer: Answer,
}

impl<'a> Fetching<'a> {
    fn begin(seller: &'a Seller, part_of: &'a PartOf) -> Self {
        *part_of.waiters.borrow_mut() = Some(Vec::new());
        Self { seller, part_of, answer: Err(Failure::Unavailable) }
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        for waiter in self.part_of.waiters.take().into_iter().flatten() {
            self.seller.batcher.deliver(waiter, self.answer.clone());
        }
    }
}

/// Has units fetched for a part, at least so many. One does so, and those who need it meanwhile wait
/// for what comes of it. What the part is to take then, before it is asked again; or what the
/// purchase comes to.
fn fetch(
    seller: &Seller,
    slot: &Rc<SaleSlot>,
    part: &Rc<SaleSlot>,
    quantity: u32,
    until_ms: u64,
) -> Result<Vec<Command>, Verdict> {
    let (Some(parts), Some(part_of)) = (slot.parts.get(), &part.part_of) else {
        return Err(Verdict::Failed(Failure::Busy));
    };
    if part_of.waiters.borrow().is_some() {
        let ticket = seller.batcher.new_ticket(part.id(), true).map_err(Verdict::Failed)?;
        part_of.waiters.borrow_mut().get_or_insert_default().push(seller.batcher.number(&ticket));
        return match seller.batcher.wait(ticket).map_err(Verdict::Failed)? {
            Outcome::SoldOut { free } if free < u64::from(quantity) => {
                Err(Verdict::Refused(Refused::SoldOut { free }))
            }
            _ => Ok(Vec::new()),
        };
    }
    let mut fetching = Fetching::begin(seller, part_of);
    let (count, units) = (parts.slots.len() as u32, u64::from(quantity));
    let ask = &mut SellerAsk { seller, until_ms };
    let found = splits::search(ask, slot.id(), count, part_of.number, units);
    let found = parts.judge(seller, slot, found);
    fetching.answer = match &found {
        Ok(_) => Ok(Outcome::Took { units: 0 }),
        Err(Verdict::Refused(Refused::SoldOut { free })) => Ok(Outcome::SoldOut { free: *free }),
        Err(Verdict::Failed(failure)) => Err(*failure),
        Err(_) => Err(Failure::Unavailable),
    };
    found
}

impl Parts {
    /// What a search means for who wants to buy.
    fn judge(
        &self,
        seller: &Seller,
        slot: &Rc<SaleSlot>,
        found: Result<Search, Failure>,
    ) -> Result<Vec<Command>, Verdict> {
        let now_ms = seller.clock.now_ms();
        Err(match found {
            Ok(Search::Ready(takes)) => return Ok(takes),
            Ok(Search::TooFew { free, view }) => {
                if free == 0 {
                    slot.latch.borrow_mut().close(Refusal::SoldOut, now_ms, view.now_ms);
                    slot.note_refusal(seller, now_ms);
                }
                Verdict::Refused(Refused::SoldOut { free })
            }
            Ok(Search::Missing(parts)) => {
                if now_ms >= self.missing_told_ms.get() + REFUSAL_LOG_INTERVAL_MS {
                    self.missing_told_ms.set(now_ms);
                    tracing::warn!(sale = %slot.id(), ?parts, "parts of a split sale are missing");
                }
                Verdict::Failed(Failure::Unavailable)
            }
            // It is another sale now, if it is one: the next who asks learns that.
            Ok(Search::Gone) => {
                seller.forget(slot);
                Verdict::Failed(Failure::Unavailable)
            }
            Ok(Search::Restless) => Verdict::Failed(Failure::Busy),
            // The purchase itself was answered before: it took nothing, and units that are under way
            // are found again.
            Err(Failure::Busy) => Verdict::Failed(Failure::Busy),
            Err(_) => Verdict::Failed(Failure::Unavailable),
        })
    }
}

/// Confirms a reservation of a part that has expired, with units from other parts if its own are sold.
pub fn confirm_late(seller: &Seller, part: &SaleId, id: ReservationId) -> Answer {
    splits::confirm_late(&mut SellerAsk::from_now(seller), part, id)?.ok_or(Failure::Unavailable)
}
