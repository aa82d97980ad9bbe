//! `/v1/…/reservations`: made, shown, paid for, given back.

use std::rc::Rc;

use super::refusal::{failure_code, limit_reached, not_found, public_id, verdict_problem};
use crate::code::Code;
use crate::engine::core::Core;
use crate::engine::http::{Envelope, Head, Media, Problem, write_created, write_json};
use crate::ledger::batch::{Answer, Failure, Ticket};
use crate::purchase::{self, Ask, Asked, Begun, Refused, SaleSlot, Seller, Verdict};
use crate::route::{idempotency_key, parse_reservation_request};
use crate::sale::{Command, Outcome, Reservation, ReservationId, SaleId, Status, User};
use crate::views::ReservationJson;

/// What is to be done with a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Only to be shown.
    Show,
    /// It is paid for.
    Confirm,
    /// It is given back.
    Cancel,
}

/// A request to reserve that waits for the ledger.
pub struct Creating {
    asked: Asked,
    slot: Rc<SaleSlot>,
    user: User,
    quantity: u32,
}

/// What became of one.
pub struct Created {
    verdict: Verdict,
    slot: Rc<SaleSlot>,
    user: User,
    quantity: u32,
}

impl Creating {
    /// Suspends until the ledger has answered.
    pub fn wait(self, seller: &Seller) -> Created {
        let (verdict, slot) = self.asked.wait(seller, self.slot);
        Created { verdict, slot, user: self.user, quantity: self.quantity }
    }
}

/// A question about a reservation that waits for the ledger.
pub struct Asking {
    ticket: Ticket,
    sale: SaleId,
    id: ReservationId,
    wish: Wish,
}

/// One that was answered.
pub struct Told {
    answer: Answer,
    sale: SaleId,
    wish: Wish,
}

impl Asking {
    /// Suspends until the ledger has answered.
    pub fn wait(self, seller: &Seller) -> Told {
        let Self { ticket, sale, id, wish } = self;
        let mut answer = seller.batcher.wait(ticket);
        if sale.is_part() && wish == Wish::Confirm && answer == Ok(Outcome::Expired) {
            answer = purchase::confirm_late(seller, &sale, id);
        }
        Told { answer, sale, wish }
    }
}

/// Why a request to reserve needs no ledger.
pub enum Declined {
    /// The local step has decided, and never for it.
    Decided(Verdict),
    /// The request is wrong, or the server has no room for it.
    Wrong(Problem),
}

impl Declined {
    /// Whether nothing is left, which everybody is told alike.
    pub fn is_sold_out(&self) -> bool {
        matches!(self, Self::Decided(Verdict::Refused(Refused::SoldOut { free: 0 })))
    }

    /// Says so.
    pub fn write(&self, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Decided(verdict) => verdict_problem(verdict).write(envelope, out),
            Self::Wrong(problem) => problem.write(envelope, out),
        }
    }
}

impl From<Problem> for Declined {
    fn from(problem: Problem) -> Self {
        Self::Wrong(problem)
    }
}

/// The local step of making a reservation.
pub fn begin(
    core: &'static Core,
    seller: &Seller,
    head: &Head<'_>,
    body: &[u8],
    sale: &str,
) -> Result<Creating, Declined> {
    let request = parse_reservation_request(body, Media::of(head), head.user)?;
    let key = idempotency_key(head)?;
    if !core.ensure_spare() {
        return Err(Problem::of(Code::Busy).into());
    }
    let slot = seller.sale(sale).map_err(Declined::Decided)?;
    let (user, quantity) = (request.user, request.quantity);
    let ask = Ask { quantity, user: Some(user.clone()), key };
    match purchase::begin(seller, &slot, ask) {
        Begun::Asked(asked) => Ok(Creating { asked, slot, user, quantity }),
        Begun::Decided(verdict) => Err(Declined::Decided(verdict)),
    }
}

/// Says what became of a request to reserve.
pub fn write_created_or_not(created: Created, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let Created { verdict, slot, user, quantity } = created;
    let sale = slot.id();
    match verdict {
        Verdict::Granted { id, expires_at_ms } => {
            let user = Some(user);
            let granted = Reservation { id, user, quantity, status: Status::Held, expires_at_ms };
            let location = format!("/v1/reservations/{}", public_id(sale, id));
            write_created(&ReservationJson::of(sale, &granted), &location, envelope, out);
        }
        Verdict::Replayed(reservation) => {
            write_json(&ReservationJson::of(sale, &reservation), envelope, out);
        }
        verdict => verdict_problem(&verdict).write(envelope, out),
    }
}

/// Asks the ledger about a reservation; answers at once if it can't be asked.
pub fn ask(
    core: &'static Core,
    seller: &Seller,
    id: &str,
    wish: Wish,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Asking> {
    let Ok((sale, id)) = ReservationId::from_public(id) else {
        not_found("reservation").write(envelope, out);
        return None;
    };
    let command = match wish {
        Wish::Show => Command::ShowReservation(id),
        Wish::Confirm => Command::Confirm(id),
        Wish::Cancel => Command::Cancel(id),
    };
    let submitted = if core.ensure_spare() {
        let is_known = seller.sales.exists(&sale);
        seller.batcher.submit(seller.clock.now_ms(), &sale, is_known, command, 0)
    } else {
        Err(Failure::Busy)
    };
    match submitted {
        Ok(ticket) => Some(Asking { ticket, sale, id, wish }),
        Err(failure) => {
            failed(wish, failure).write(envelope, out);
            None
        }
    }
}

/// Says how a reservation stands now, or why it can't become what was wished.
pub fn write_told(told: Told, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let Told { answer, sale, wish } = told;
    let problem = match answer {
        Ok(Outcome::Reservation(reservation)) => {
            return write_json(&ReservationJson::of(&sale, &reservation), envelope, out);
        }
        Ok(Outcome::Expired) if wish == Wish::Confirm => Problem::new(
            Code::Expired,
            "The reservation's hold time is over, and too few units are left to take it up again.",
        ),
        Ok(Outcome::Expired) => Problem::of(Code::Expired),
        Ok(Outcome::AlreadyConfirmed) => Problem::of(Code::AlreadyConfirmed),
        Ok(Outcome::AlreadyCancelled) => Problem::of(Code::AlreadyCancelled),
        Ok(Outcome::LimitReached { limit_per_user }) => limit_reached(limit_per_user),
        Ok(Outcome::UnknownSale | Outcome::UnknownReservation) => not_found("reservation"),
        Ok(outcome) => {
            tracing::error!(?outcome, ?wish, "the ledger answered with something else");
            Problem::of(Code::Internal)
        }
        Err(failure) => failed(wish, failure),
    };
    problem.write(envelope, out);
}

/// There is no answer of the ledger. What to do about it is not what one does about a purchase.
fn failed(wish: Wish, failure: Failure) -> Problem {
    Problem::new(
        failure_code(failure),
        match (failure, wish) {
            (Failure::Busy, _) => "Too many requests are waiting; nothing was changed.",
            (Failure::Unavailable, _) => "The ledger is out of reach; nothing was changed.",
            (Failure::Unknown, Wish::Show) => "The ledger did not answer in time; ask again.",
            (Failure::Unknown, Wish::Confirm) => {
                "The ledger did not answer in time; to confirm again is safe and finds out."
            }
            (Failure::Unknown, Wish::Cancel) => {
                "The ledger did not answer in time; to cancel again is safe and finds out."
            }
        },
    )
}
