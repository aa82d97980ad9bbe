//! `/v1/…/reservations`: made, shown, paid for, given back.

use std::rc::Rc;
use std::sync::Arc;

use super::answer::write_created;
use super::passing::{Passing, Stopped};
use super::refusal::{failure_code, limit_reached, not_found, verdict_problem};
use crate::admission::Pass;
use crate::code::Code;
use crate::engine::http::{Canned, Envelope, Head, Media, Problem, write_json, write_replayed};
use crate::ledger::Failure;
use crate::ledger::batch::{Answer, Asker, Ticket};
use crate::ledger::format::{FORMAT_DETAILS, needed_by};
use crate::purchase::{self, Ask, Asked, Done, Progress, Refused, Seller, Verdict};
use crate::route::{
    Namer, ReservationRequest, idempotency_key, parse_admitted_request, parse_remaining,
    parse_reservation_request, wrong_remaining,
};
use crate::sale::{Command, Outcome, Remaining, ReservationId, SaleId};
use crate::seldom::Seldom;
use crate::trace::Trace;
use crate::views::ReservationJson;

/// What is to be done with a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Only to be shown.
    Show,
    /// It is paid for.
    Confirm,
    /// It is given back.
    Cancel,
    /// It is given back but for what is to remain.
    CancelTo(Remaining),
}

impl Wish {
    /// What is wished of a reservation by who asks to cancel it.
    pub fn to_cancel(head: &Head<'_>, body: &[u8]) -> Result<Self, Problem> {
        let remaining = parse_remaining(body, Media::of(head))?;
        Ok(remaining.map_or(Self::Cancel, Self::CancelTo))
    }

    fn command(&self, id: ReservationId) -> Command {
        match self {
            Self::Show => Command::ShowReservation(id),
            Self::Confirm => Command::Confirm(id),
            Self::Cancel => Command::Cancel(id),
            Self::CancelTo(remaining) => Command::CancelTo(id, remaining.clone()),
        }
    }
}

/// A question about a reservation that waits for the ledger.
pub struct Asking {
    ticket: Ticket,
    sale: SaleId,
    id: ReservationId,
    wish: Wish,
    /// It is being confirmed with units of other parts.
    late: bool,
    /// Whose it must be: it is looked at first, and what is wished comes after.
    owner: Option<Rc<Pass>>,
}

/// One that was answered.
pub struct Told {
    answer: Answer,
    sale: SaleId,
    wish: Wish,
}

impl Told {
    /// Why there is no answer of the ledger, if there is none.
    pub fn failure(&self) -> Option<Failure> {
        self.answer.as_ref().err().copied()
    }
}

impl Asking {
    /// What the ledger has answered, if it has.
    pub fn go_on(self, seller: &'static Seller, asker: Asker) -> Result<Told, Self> {
        let Self { ticket, sale, id, wish, late, owner } = self;
        let answer = match seller.batcher.take(ticket) {
            Ok((answer, _)) => answer,
            Err(ticket) => return Err(Self { ticket, sale, id, wish, late, owner }),
        };
        if let Some(owner) = owner {
            match &answer {
                Ok(Outcome::Reservation(found)) if found.user.as_ref() == Some(&owner.user) => {}
                // Another's is like none.
                Ok(Outcome::Reservation(_)) => {
                    return Ok(Told { answer: Ok(Outcome::UnknownReservation), sale, wish });
                }
                _ => return Ok(Told { answer, sale, wish }),
            }
            if wish != Wish::Show {
                return match submit(seller, asker, &sale, wish.command(id)) {
                    Ok(ticket) => Err(Self { ticket, sale, id, wish, late, owner: None }),
                    Err(failure) => Ok(Told { answer: Err(failure), sale, wish }),
                };
            }
        }
        if !late && sale.is_part() && wish == Wish::Confirm && answer == Ok(Outcome::Expired) {
            // Other parts may have units for it.
            return match purchase::confirm_late(seller, &sale, id, asker) {
                Ok(ticket) => Err(Self { ticket, sale, id, wish, late: true, owner: None }),
                Err(failure) => Ok(Told { answer: Err(failure), sale, wish }),
            };
        }
        Ok(Told { answer, sale, wish })
    }

    /// Nobody waits for it any more.
    pub fn give_up(self, seller: &Seller) {
        seller.batcher.give_up(self.ticket);
    }
}

/// Why a request to reserve needs no ledger.
pub enum Declined {
    /// The local step has decided, and never for it.
    Decided(Verdict),
    /// The request is wrong, or the server has no room for it.
    Wrong(Problem),
    /// It does not pass.
    Stopped(Stopped),
}

impl Declined {
    /// Says so. `sold_out`: what everybody is told when nothing is left.
    #[inline(always)] // Most of what a sold-out sale is asked ends here.
    pub fn write(&self, sold_out: &Canned, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Decided(verdict) => write_refused(sold_out, verdict, envelope, out),
            Self::Wrong(problem) => problem.write(envelope, out),
            Self::Stopped(stopped) => stopped.problem().write(envelope, out),
        }
    }
}

impl From<Problem> for Declined {
    fn from(problem: Problem) -> Self {
        Self::Wrong(problem)
    }
}

impl From<Stopped> for Declined {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

/// The local step of making a reservation.
pub fn begin(
    seller: &'static Seller,
    asker: Asker,
    head: &Head<'_>,
    body: &[u8],
    sale: &str,
    namer: Namer,
    trace: Option<&Arc<Trace>>,
) -> Result<Asked, Declined> {
    let request = parse_reservation_request(body, Media::of(head), head.user, namer)?;
    put(seller, asker, head, request, sale, trace)
}

/// The same, where limits or admission stand before it.
pub fn begin_passing(
    seller: &'static Seller,
    asker: Asker,
    (passing, head, body): (&Passing<'_, '_>, &Head<'_>, &[u8]),
    sale: &str,
    trace: Option<&Arc<Trace>>,
) -> Result<Asked, Declined> {
    let known = || match head.idempotency_key {
        None => purchase::known_sold_out(seller, sale, trace)
            .map_or(Ok(()), |done| Err(Declined::Decided(done.verdict))),
        Some(_) => Ok(()),
    };
    passing.pass_address()?;
    let pass = if passing.needs_token() {
        known()?;
        passing.admit(sale)?
    } else {
        None
    };
    let media = Media::of(head);
    let request = match &pass {
        Some(pass) => {
            passing.check_header(&pass.user)?;
            let request = parse_admitted_request(body, media, &pass.user)?;
            passing.check_quantity(pass, request.quantity)?;
            request
        }
        None => {
            let request = parse_reservation_request(body, media, head.user, passing.namer())?;
            known()?;
            request
        }
    };
    passing.pass_user(Some(&request.user))?;
    put(seller, asker, head, request, sale, trace)
}

#[inline(always)] // Most of what a sold-out sale is asked goes this way.
fn put(
    seller: &'static Seller,
    asker: Asker,
    head: &Head<'_>,
    request: ReservationRequest,
    sale: &str,
    trace: Option<&Arc<Trace>>,
) -> Result<Asked, Declined> {
    let key = idempotency_key(head)?;
    let ReservationRequest { user, quantity, details } = request;
    if details.is_some() && !seller.selling.fleet.reads(FORMAT_DETAILS) {
        return Err(older_version().into());
    }
    let slot = seller.sale_to_buy(sale).map_err(Declined::Decided)?;
    let has_key = key.is_some();
    let ask = || Ask { quantity, user: Some(user), key, trace: trace.cloned(), details };
    match purchase::begin(seller, &slot, (has_key, trace), ask, asker) {
        Progress::Waits(asked) => Ok(asked),
        Progress::Done(done) => Err(Declined::Decided(done.verdict)),
    }
}

/// What is asked would be written in a way that another server does not read.
fn older_version() -> Problem {
    Problem::new(
        Code::Unavailable,
        "A server of an older version shares the ledger and does not read what this would write; \
         nothing was done.",
    )
}

/// Says why nothing was reserved.
#[inline(always)]
fn write_refused(sold_out: &Canned, verdict: &Verdict, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    match verdict {
        Verdict::Refused(Refused::SoldOut { free: 0 }) => sold_out.write(envelope, out),
        verdict => verdict_problem(verdict).write(envelope, out),
    }
}

/// Says what became of a request to reserve. `sold_out`: what everybody is told when nothing is left.
pub fn write_created_or_not(
    sold_out: &Canned,
    done: &Done,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    let sale = done.place.id();
    match &done.verdict {
        Verdict::Granted(granted) => write_created(sale, granted, envelope, out),
        Verdict::Replayed(reservation) => {
            let start = out.len();
            write_json(&ReservationJson::of(sale, reservation), envelope, out);
            write_replayed(start, out);
        }
        verdict => write_refused(sold_out, verdict, envelope, out),
    }
}

fn submit(
    seller: &Seller,
    asker: Asker,
    sale: &SaleId,
    command: Command,
) -> Result<Ticket, Failure> {
    let (now_ms, is_known) = (seller.clock.now_ms(), seller.sales.exists(sale));
    seller.batcher.submit(now_ms, sale, is_known, command, 0, Some(asker))
}

/// Asks the ledger about a reservation; answers at once if it can't be asked. With a request that must
/// pass, it is one of the user of its token. Only who passes learns what is wrong with the request.
pub fn ask(
    seller: &Seller,
    asker: Asker,
    id: &str,
    (wish, passing): (Result<Wish, Problem>, Option<&Passing<'_, '_>>),
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Asking> {
    let found = ReservationId::from_public(id);
    let sale = found.as_ref().map_or("", |(sale, _)| sale.whole_str());
    let owner = match passing.map_or(Ok(None), |passing| passing.admit(sale)) {
        Ok(owner) => owner,
        Err(stopped) => {
            stopped.problem().write(envelope, out);
            return None;
        }
    };
    let wish = match wish {
        Ok(wish) => wish,
        Err(problem) => {
            problem.write(envelope, out);
            return None;
        }
    };
    let Ok((sale, id)) = found else {
        not_found("reservation").write(envelope, out);
        return None;
    };
    if !seller.selling.fleet.reads(needed_by(&wish.command(id))) {
        older_version().write(envelope, out);
        return None;
    }
    let first = if owner.is_some() { &Wish::Show } else { &wish };
    match submit(seller, asker, &sale, first.command(id)) {
        Ok(ticket) => Some(Asking { ticket, sale, id, wish, late: false, owner }),
        Err(failure) => {
            seller.note_failure(failure);
            failed(&wish, failure).write(envelope, out);
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
        Ok(Outcome::AlreadyRefunded) => Problem::of(Code::AlreadyRefunded),
        Ok(Outcome::RemainingTooLarge { quantity }) => {
            Problem::of(Code::RemainingTooLarge).with("quantity", quantity)
        }
        Ok(Outcome::LinesRequired) => wrong_remaining(true),
        Ok(Outcome::LinesUnexpected) => wrong_remaining(false),
        // A late confirmation of what was sold before the sale had its limit.
        Ok(Outcome::UserRequired) => Problem::of(Code::UserRequired),
        Ok(Outcome::LimitReached { limit_per_user }) => limit_reached(limit_per_user),
        Ok(Outcome::UnknownSale | Outcome::UnknownReservation) => not_found("reservation"),
        Ok(outcome) => {
            static ODD: Seldom = Seldom::new();
            if let Some(left_out) = ODD.now() {
                tracing::error!(?outcome, ?wish, left_out, "ledger answered with something else");
            }
            Problem::of(Code::Internal)
        }
        Err(failure) => failed(&wish, failure),
    };
    problem.write(envelope, out);
}

/// There is no answer of the ledger. What to do about it is not what one does about a purchase.
fn failed(wish: &Wish, failure: Failure) -> Problem {
    Problem::new(
        failure_code(failure),
        match (failure, wish) {
            (Failure::Busy, _) => "Too many requests are waiting; nothing was changed.",
            (Failure::Unavailable, _) => "The ledger is out of reach; nothing was changed.",
            (Failure::Unknown, Wish::Show) => "The ledger did not answer in time; ask again.",
            (Failure::Unknown, Wish::Confirm) => {
                "The ledger did not answer in time; to confirm again is safe and finds out."
            }
            (Failure::Unknown, Wish::Cancel | Wish::CancelTo(_)) => {
                "The ledger did not answer in time; to cancel again is safe and finds out."
            }
        },
    )
}
