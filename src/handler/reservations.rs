//! `/v1/…/reservations`: creates, shows, confirms and cancels reservations.

use std::rc::Rc;
use std::sync::Arc;

use super::answer::write_created;
use super::entry_check::{EntryCheck, EntryRefused};
use super::refusal::{failure_code, limit_reached, not_found, verdict_problem};
use crate::admission::Pass;
use crate::api_json::ReservationJson;
use crate::code::ErrorCode;
use crate::engine::http::{
    Head, Media, Preencoded, Problem, ResponseContext, write_json, write_replayed,
};
use crate::ledger::Failure;
use crate::ledger::batch::{Answer, Ticket, WaiterId};
use crate::ledger::format::{FORMAT_DETAILS, needed_by};
use crate::log_throttle::LogThrottle;
use crate::purchase::{
    self, Completed, PendingPurchase, Progress, PurchaseOutcome, PurchaseRequest, RejectReason,
    Seller,
};
use crate::route::{
    ReservationRequest, UserSources, idempotency_key, parse_admitted_request, parse_remaining,
    parse_reservation_request, seats_problem, wrong_remaining,
};
use crate::sale::{Command, IdError, Outcome, Remaining, ReservationId, SaleId, User};
use crate::trace::Trace;

/// What to do with a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReservationAction {
    /// Show it.
    Show,
    /// Confirm it: it is paid.
    Confirm,
    /// Cancel it.
    Cancel,
    /// Cancel all units but these.
    CancelTo(Remaining),
}

impl ReservationAction {
    /// The action of a request to cancel.
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

/// An action that waits for the ledger.
pub struct PendingAction {
    ticket: Ticket,
    sale: SaleId,
    id: ReservationId,
    action: ReservationAction,
    /// It is being confirmed late, with units of other parts.
    late: bool,
    /// The user that it must belong to. The reservation is shown first, to compare its user; the action
    /// follows.
    owner: Option<Owner>,
}

/// The user to whom a reservation must belong; otherwise the answer is that it does not exist.
pub enum Owner {
    /// The user of a token.
    Admitted(Rc<Pass>),
    /// A user that a trusted source names.
    Named(User),
}

impl Owner {
    fn user(&self) -> &User {
        match self {
            Self::Admitted(pass) => &pass.user,
            Self::Named(user) => user,
        }
    }
}

/// An action with its result.
pub struct CompletedAction {
    answer: Answer,
    sale: SaleId,
    action: ReservationAction,
}

impl CompletedAction {
    /// The failure, if the ledger did not answer.
    pub fn failure(&self) -> Option<Failure> {
        self.answer.as_ref().err().copied()
    }

    /// What the ledger answered.
    #[cfg(feature = "simulation")]
    pub fn answer(&self) -> &Answer {
        &self.answer
    }
}

impl PendingAction {
    /// Begins an action of the shop, without a connection.
    #[cfg(feature = "simulation")]
    pub fn begin(
        seller: &Seller,
        asker: WaiterId,
        sale: SaleId,
        id: ReservationId,
        action: ReservationAction,
    ) -> Result<Self, Failure> {
        let ticket = submit(seller, asker, &sale, action.command(id))?;
        Ok(Self { ticket, sale, id, action, late: false, owner: None })
    }

    /// Continues with the ledger's answer, if it is there.
    pub fn poll(self, seller: &'static Seller, asker: WaiterId) -> Result<CompletedAction, Self> {
        let Self { ticket, sale, id, action, late, owner } = self;
        let answer = match seller.batcher.take(ticket) {
            Ok((answer, _)) => answer,
            Err(ticket) => return Err(Self { ticket, sale, id, action, late, owner }),
        };
        if let Some(owner) = owner {
            match &answer {
                Ok(Outcome::Reservation(found)) if found.user.as_ref() == Some(owner.user()) => {}
                // A reservation of another user looks like one that does not exist.
                Ok(Outcome::Reservation(_)) => {
                    return Ok(CompletedAction {
                        answer: Ok(Outcome::UnknownReservation),
                        sale,
                        action,
                    });
                }
                _ => return Ok(CompletedAction { answer, sale, action }),
            }
            if action != ReservationAction::Show {
                return match submit(seller, asker, &sale, action.command(id)) {
                    Ok(ticket) => Err(Self { ticket, sale, id, action, late, owner: None }),
                    Err(failure) => Ok(CompletedAction { answer: Err(failure), sale, action }),
                };
            }
        }
        if !late
            && sale.is_part()
            && action == ReservationAction::Confirm
            && answer == Ok(Outcome::Expired)
        {
            // Other parts may have units for it.
            return match purchase::confirm_late(seller, &sale, id, asker) {
                Ok(ticket) => Err(Self { ticket, sale, id, action, late: true, owner: None }),
                Err(failure) => Ok(CompletedAction { answer: Err(failure), sale, action }),
            };
        }
        Ok(CompletedAction { answer, sale, action })
    }

    /// Gives up the action: nobody waits for it any more.
    pub fn cancel(self, seller: &Seller) {
        seller.batcher.give_up(self.ticket);
    }
}

/// Why a request to reserve is answered without the ledger.
pub enum EarlyRejection {
    /// The local step has decided; it never grants.
    Decided(PurchaseOutcome),
    /// The request is wrong, or the server has no room for it.
    Wrong(Problem),
    /// The entry check has refused it.
    EntryRefused(EntryRefused),
}

impl EarlyRejection {
    /// Writes the answer. `sold_out`: the preencoded answer for a sale with nothing left.
    #[inline(always)] // Most of what a sold-out sale is asked ends here.
    pub fn write(&self, sold_out: &Preencoded, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Decided(verdict) => write_refused(sold_out, verdict, context, out),
            Self::Wrong(problem) => problem.write(context, out),
            Self::EntryRefused(refused) => refused.problem().write(context, out),
        }
    }
}

impl From<Problem> for EarlyRejection {
    fn from(problem: Problem) -> Self {
        Self::Wrong(problem)
    }
}

impl From<EntryRefused> for EarlyRejection {
    fn from(refused: EntryRefused) -> Self {
        Self::EntryRefused(refused)
    }
}

/// The local step of a new reservation.
pub fn begin(
    seller: &'static Seller,
    asker: WaiterId,
    head: &Head<'_>,
    body: &[u8],
    sale: &str,
    user_sources: UserSources,
    trace: Option<&Arc<Trace>>,
) -> Result<PendingPurchase, EarlyRejection> {
    let request = parse_reservation_request(body, Media::of(head), head.user, user_sources)?;
    start(seller, asker, head, request, sale, trace)
}

/// The same with rate limits or admission.
pub fn begin_checked(
    seller: &'static Seller,
    asker: WaiterId,
    (entry, head, body): (&EntryCheck<'_, '_>, &Head<'_>, &[u8]),
    sale: &str,
    trace: Option<&Arc<Trace>>,
) -> Result<PendingPurchase, EarlyRejection> {
    let known = || match head.idempotency_key {
        None => purchase::known_sold_out(seller, sale, trace)
            .map_or(Ok(()), |done| Err(EarlyRejection::Decided(done.outcome))),
        Some(_) => Ok(()),
    };
    entry.check_address()?;
    let pass = if entry.needs_token() {
        known()?;
        entry.admit(sale)?
    } else {
        None
    };
    let media = Media::of(head);
    let request = match &pass {
        Some(pass) => {
            entry.check_header(&pass.user)?;
            let request = parse_admitted_request(body, media, &pass.user)?;
            entry.check_quantity(pass, request.quantity)?;
            request
        }
        None => {
            let request = parse_reservation_request(body, media, head.user, entry.user_sources())?;
            known()?;
            request
        }
    };
    entry.check_user(Some(&request.user))?;
    start(seller, asker, head, request, sale, trace)
}

#[inline(always)] // Most of what a sold-out sale is asked goes this way.
fn start(
    seller: &'static Seller,
    asker: WaiterId,
    head: &Head<'_>,
    request: ReservationRequest,
    sale: &str,
    trace: Option<&Arc<Trace>>,
) -> Result<PendingPurchase, EarlyRejection> {
    let key = idempotency_key(head)?;
    let ReservationRequest { user, quantity, details } = request;
    if details.is_some() && !seller.selling.fleet.reads(FORMAT_DETAILS) {
        return Err(older_version().into());
    }
    let slot = seller.sale_to_buy(sale).map_err(EarlyRejection::Decided)?;
    let has_key = key.is_some();
    let ask =
        || PurchaseRequest { quantity, user: Some(user), key, trace: trace.cloned(), details };
    match purchase::begin(seller, &slot, (has_key, trace), ask, asker) {
        Progress::Waits(asked) => Ok(asked),
        Progress::Done(done) => Err(EarlyRejection::Decided(done.outcome)),
    }
}

/// The problem if another server could not read the record that the request would write, or the
/// others are not known yet.
fn older_version() -> Problem {
    Problem::new(
        ErrorCode::Unavailable,
        "A server of an older version that could not read this reservation shares the ledger, or may \
         share it; nothing was done.",
    )
}

/// Writes why nothing was reserved.
#[inline(always)]
fn write_refused(
    sold_out: &Preencoded,
    verdict: &PurchaseOutcome,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    match verdict {
        PurchaseOutcome::Rejected(RejectReason::SoldOut { free: 0 }) => {
            sold_out.write(context, out)
        }
        verdict => verdict_problem(verdict).write(context, out),
    }
}

/// Writes the outcome of a request to reserve. `sold_out`: the preencoded answer for a sale with
/// nothing left.
pub fn write_created_or_not(
    sold_out: &Preencoded,
    done: &Completed,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    let sale = done.target.id();
    match &done.outcome {
        PurchaseOutcome::Granted(granted) => write_created(sale, granted, context, out),
        PurchaseOutcome::Replayed(reservation) => {
            let start = out.len();
            write_json(&ReservationJson::of(sale, reservation), context, out);
            write_replayed(start, out);
        }
        verdict => write_refused(sold_out, verdict, context, out),
    }
}

fn submit(
    seller: &Seller,
    asker: WaiterId,
    sale: &SaleId,
    command: Command,
) -> Result<Ticket, Failure> {
    let (now_ms, is_known) = (seller.clock.now_ms(), seller.sales.exists(sale));
    seller.batcher.submit(now_ms, sale, is_known, command, 0, Some(asker))
}

/// Starts an action on a reservation; writes the answer at once if it can't be started. With an
/// entry check, only the user of the token may act. Errors in the request are shown only to a
/// caller who has passed it.
pub fn ask(
    seller: &Seller,
    asker: WaiterId,
    id: &str,
    (action, entry): (Result<ReservationAction, Problem>, Option<&EntryCheck<'_, '_>>),
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) -> Option<PendingAction> {
    let found = ReservationId::from_public(id);
    let sale = found.as_ref().map_or("", |(sale, _)| sale.whole_str());
    let owner = match entry.map_or(Ok(None), |entry| entry.admit(sale)) {
        Ok(pass) => pass.map(Owner::Admitted),
        Err(refused) => {
            refused.problem().write(context, out);
            return None;
        }
    };
    let action = match action {
        Ok(action) => action,
        Err(problem) => {
            problem.write(context, out);
            return None;
        }
    };
    ask_for(seller, asker, found, (action, owner), context, out)
}

/// The same for a reservation that must belong to this owner, if one is given.
pub fn ask_for(
    seller: &Seller,
    asker: WaiterId,
    found: Result<(SaleId, ReservationId), IdError>,
    (action, owner): (ReservationAction, Option<Owner>),
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) -> Option<PendingAction> {
    let Ok((sale, id)) = found else {
        not_found("reservation").write(context, out);
        return None;
    };
    if !seller.selling.fleet.reads(needed_by(&action.command(id))) {
        older_version().write(context, out);
        return None;
    }
    let first = if owner.is_some() { &ReservationAction::Show } else { &action };
    match submit(seller, asker, &sale, first.command(id)) {
        Ok(ticket) => Some(PendingAction { ticket, sale, id, action, late: false, owner }),
        Err(failure) => {
            seller.note_failure(failure);
            failed(&action, failure).write(context, out);
            None
        }
    }
}

/// Writes the state of a reservation after an action, or why the action failed.
pub fn write_action_result(
    completed: CompletedAction,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    let CompletedAction { answer, sale, action } = completed;
    let problem = match answer {
        Ok(Outcome::Reservation(reservation)) => {
            return write_json(&ReservationJson::of(&sale, &reservation), context, out);
        }
        Ok(Outcome::Expired) if action == ReservationAction::Confirm => Problem::new(
            ErrorCode::Expired,
            "The reservation's hold time is over, and too few units are left to confirm it late.",
        ),
        Ok(Outcome::Expired) => Problem::of(ErrorCode::Expired),
        Ok(Outcome::AlreadyConfirmed) => Problem::of(ErrorCode::AlreadyConfirmed),
        Ok(Outcome::AlreadyCancelled) => Problem::of(ErrorCode::AlreadyCancelled),
        Ok(Outcome::AlreadyRefunded) => Problem::of(ErrorCode::AlreadyRefunded),
        Ok(Outcome::RemainingTooLarge { quantity }) => {
            Problem::of(ErrorCode::RemainingTooLarge).with("quantity", quantity)
        }
        Ok(Outcome::LinesRequired) => wrong_remaining(true),
        Ok(Outcome::LinesUnexpected) => wrong_remaining(false),
        Ok(Outcome::NoSeats(refusal)) => seats_problem(&refusal),
        // A late confirmation of a reservation that is older than the sale's limit.
        Ok(Outcome::UserRequired) => Problem::of(ErrorCode::UserRequired),
        Ok(Outcome::LimitReached { limit_per_user }) => limit_reached(limit_per_user),
        Ok(Outcome::UnknownSale | Outcome::UnknownReservation) => not_found("reservation"),
        Ok(outcome) => {
            static ODD: LogThrottle = LogThrottle::new();
            if let Some(left_out) = ODD.now() {
                tracing::error!(
                    ?outcome,
                    ?action,
                    left_out,
                    "unexpected ledger outcome for a reservation"
                );
            }
            Problem::of(ErrorCode::Internal)
        }
        Err(failure) => failed(&action, failure),
    };
    problem.write(context, out);
}

/// The problem for an action that the ledger did not answer. The advice differs from that for a
/// purchase.
fn failed(action: &ReservationAction, failure: Failure) -> Problem {
    Problem::new(
        failure_code(failure),
        match (failure, action) {
            (Failure::Busy, _) => "Too many requests are waiting; nothing was changed.",
            (Failure::Unavailable, _) => "The ledger is unreachable; nothing was changed.",
            (Failure::Unknown, ReservationAction::Show) => {
                "The ledger did not answer in time; try again."
            }
            (Failure::Unknown, ReservationAction::Confirm) => {
                "The ledger did not answer in time; it is safe to confirm again to learn the outcome."
            }
            (Failure::Unknown, ReservationAction::Cancel | ReservationAction::CancelTo(_)) => {
                "The ledger did not answer in time; it is safe to cancel again to learn the outcome."
            }
        },
    )
}
