//! `/v1/…/reservations`: made, shown, paid for, given back.

use super::Question;
use super::refusal::{failure_code, limit_reached, not_found, public_id, verdict_problem};
use crate::core::Core;
use crate::http::{Code, Envelope, Head, Problem, write_created, write_json};
use crate::ledger::batch::{Answer, Failure};
use crate::purchase::{self, Ask, Begun, Refused, Verdict};
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

/// Makes a reservation; answers at once if that takes no ledger.
pub fn create(
    core: &'static Core,
    head: &Head<'_>,
    body: &[u8],
    sale: &str,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Question> {
    match begin(core, head, body, sale) {
        Ok(Ok(question)) => return Some(question),
        Ok(Err(Verdict::Refused(Refused::SoldOut { free: 0 }))) => {
            core.responses.sold_out.write(envelope, out);
        }
        Ok(Err(verdict)) => verdict_problem(&verdict).write(envelope, out),
        Err(problem) => problem.write(envelope, out),
    }
    None
}

/// The inner error: what the local step has decided, which never is a grant.
fn begin(
    core: &'static Core,
    head: &Head<'_>,
    body: &[u8],
    sale: &str,
) -> Result<Result<Question, Verdict>, Problem> {
    let request = parse_reservation_request(body, head.content_type, head.user)?;
    let key = idempotency_key(head)?;
    if !core.ensure_spare() {
        return Err(Problem::of(Code::Busy));
    }
    let slot = match core.sales.slot(core, sale) {
        Ok(slot) => slot,
        Err(verdict) => return Ok(Err(verdict)),
    };
    let (user, quantity) = (request.user, request.quantity);
    let ask = Ask { quantity, user: Some(user.clone()), key };
    Ok(match purchase::begin(core, &slot, ask) {
        Begun::Asked(asked) => Ok(Question::Reserve { asked, slot, user, quantity }),
        Begun::Decided(verdict) => Err(verdict),
    })
}

/// Says what became of a request to reserve.
pub fn write_verdict(
    sale: &SaleId,
    user: User,
    quantity: u32,
    verdict: Verdict,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
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
    id: &str,
    wish: Wish,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Question> {
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
        let is_known = core.sales.exists(&sale);
        core.batcher.submit(core.clock.now_ms(), &sale, is_known, command, 0)
    } else {
        Err(Failure::Busy)
    };
    match submitted {
        Ok(ticket) => Some(Question::Reservation { ticket, sale, id, wish }),
        Err(failure) => {
            failed(wish, failure).write(envelope, out);
            None
        }
    }
}

/// Says how a reservation stands now, or why it can't become what was wished.
pub fn write_answer(
    sale: &SaleId,
    wish: Wish,
    answer: Answer,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    let problem = match answer {
        Ok(Outcome::Reservation(reservation)) => {
            return write_json(&ReservationJson::of(sale, &reservation), envelope, out);
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
