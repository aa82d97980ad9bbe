//! `/buy/ticket`: the article's way to buy, in which the `code` in the body is the outcome.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use super::answer::{
    preencoded_buy_refused, preencoded_buy_refused_with, write_buy_granted, write_buy_invalid,
    write_buy_refused, write_buy_refused_until, write_buy_refused_with,
};
use super::entry_check::{EntryCheck, EntryRefused};
use super::refusal::{DAMAGED, verdict_code};
use crate::clock::rfc3339;
use crate::code::ErrorCode;
use crate::engine::http::{Head, Preencoded, ResponseContext, write_replayed};
use crate::ledger::batch::WaiterId;
use crate::purchase::{
    self, Completed, PendingPurchase, Progress, PurchaseOutcome, PurchaseRequest, RejectReason,
    Seller,
};
use crate::route::{USER_FIELD, USER_HEADER, UserFieldError, buyer, idempotency_key};
use crate::sale::{PublicId, Reservation, ReservationId, SaleId, Status, User};
use crate::trace::Trace;

/// The sale that `/buy/ticket` sells.
pub const BUY_SALE: &str = "ticket";

/// The answers to all buyers while the sale does not sell, encoded once per core.
pub struct PreencodedRejections {
    sold_out: Preencoded,
    closed: Preencoded,
    /// With the time that it names.
    not_open: RefCell<Option<(u64, Preencoded)>>,
}

impl Default for PreencodedRejections {
    fn default() -> Self {
        Self {
            sold_out: preencoded_buy_refused(ErrorCode::SoldOut),
            closed: preencoded_buy_refused(ErrorCode::Closed),
            not_open: RefCell::default(),
        }
    }
}

impl PreencodedRejections {
    /// Writes an answer that the core knows by itself. `false`: there is none for this outcome.
    #[inline(always)]
    fn write(
        &self,
        refused: RejectReason,
        context: &ResponseContext<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        if context.status_override.is_some() {
            return false;
        }
        match refused {
            RejectReason::SoldOut { .. } => self.sold_out.write(context, out),
            RejectReason::Closed => self.closed.write(context, out),
            RejectReason::NotOpen { opens_at_ms } => self.write_not_open(opens_at_ms, context, out),
            _ => return false,
        }
        true
    }

    #[cold]
    fn write_not_open(&self, opens_at_ms: u64, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
        let mut not_open = self.not_open.borrow_mut();
        let kept = not_open.take().filter(|(at_ms, _)| *at_ms == opens_at_ms);
        let make = || {
            let member = ("opens_at", &*rfc3339(opens_at_ms));
            (opens_at_ms, preencoded_buy_refused_with(ErrorCode::NotOpen, member))
        };
        not_open.insert(kept.unwrap_or_else(make)).1.write(context, out);
    }
}

/// The parsed parts of a request.
pub struct BuyRequest<'a, 'b> {
    /// The head.
    pub head: &'a Head<'b>,
    /// The user, or why the user is unknown.
    pub user: Result<Option<Cow<'a, str>>, UserFieldError<'a>>,
    /// The request id and trace.
    pub trace: Option<&'a Arc<Trace>>,
}

/// The local step of a purchase. Writes the answer if that is all it takes.
#[inline(always)] // Most of what a sold-out sale is asked goes this way.
pub fn begin(
    seller: &'static Seller,
    asker: WaiterId,
    preencoded: &PreencodedRejections,
    request: BuyRequest<'_, '_>,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) -> Option<PendingPurchase> {
    let BuyRequest { head, user, trace } = request;
    let user = match named_user(head, user) {
        Ok(user) => user,
        Err(error) => {
            write_user_field_error(error, context, out);
            return None;
        }
    };
    let Ok(key) = idempotency_key(head) else {
        write_buy_invalid("Idempotency-Key".into(), context, out);
        return None;
    };
    let has_key = key.is_some();
    let ask = || PurchaseRequest { quantity: 1, user, key, details: None, trace: trace.cloned() };
    start(seller, asker, preencoded, (has_key, trace), ask, context, out)
}

/// The same with rate limits or admission.
pub fn begin_checked(
    seller: &'static Seller,
    asker: WaiterId,
    preencoded: &PreencodedRejections,
    (entry, head, trace): (&EntryCheck<'_, '_>, &Head<'_>, Option<&Arc<Trace>>),
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) -> Option<PendingPurchase> {
    let ask = match checked_request(seller, entry, head, trace) {
        Ok(ask) => ask,
        Err(EarlyRejection::EntryRefused(refused)) => {
            match refused.retry_after_s() {
                Some(s) => write_buy_refused_until(refused.code(), s, context, out),
                None => write_buy_refused(refused.code(), context, out),
            }
            return None;
        }
        Err(EarlyRejection::UserFieldError(error)) => {
            write_user_field_error(error, context, out);
            return None;
        }
        Err(EarlyRejection::Key) => {
            write_buy_invalid("Idempotency-Key".into(), context, out);
            return None;
        }
        Err(EarlyRejection::Known(done)) => {
            write(preencoded, &done, context, out);
            return None;
        }
    };
    let has_key = ask.key.is_some();
    start(seller, asker, preencoded, (has_key, trace), || ask, context, out)
}

/// Why a request is rejected before the local step.
enum EarlyRejection<'a> {
    EntryRefused(EntryRefused),
    UserFieldError(UserFieldError<'a>),
    /// The idempotency key is invalid.
    Key,
    /// The core knows the outcome.
    Known(Completed),
}

impl From<EntryRefused> for EarlyRejection<'_> {
    fn from(refused: EntryRefused) -> Self {
        Self::EntryRefused(refused)
    }
}

impl<'a> From<UserFieldError<'a>> for EarlyRejection<'a> {
    fn from(error: UserFieldError<'a>) -> Self {
        Self::UserFieldError(error)
    }
}

fn checked_request<'a>(
    seller: &Seller,
    entry: &EntryCheck<'_, 'a>,
    head: &Head<'a>,
    trace: Option<&Arc<Trace>>,
) -> Result<PurchaseRequest, EarlyRejection<'a>> {
    let known = || match head.idempotency_key {
        None => purchase::known_sold_out(seller, BUY_SALE, trace).map_or(Ok(()), Err),
        Some(_) => Ok(()),
    };
    entry.check_address()?;
    let user = if entry.needs_token() {
        known().map_err(EarlyRejection::Known)?;
        let pass = entry.admit(BUY_SALE)?;
        if let Some(pass) = &pass {
            entry.check_named(&pass.user)?;
            entry.check_quantity(pass, 1)?;
        }
        pass.map(|pass| pass.user.clone())
    } else {
        let user = named_user(head, buyer(head, entry.user_sources()))?;
        known().map_err(EarlyRejection::Known)?;
        user
    };
    let key = idempotency_key(head).map_err(|_| EarlyRejection::Key)?;
    entry.check_user(user.as_ref())?;
    Ok(PurchaseRequest { quantity: 1, user, key, details: None, trace: trace.cloned() })
}

/// The user of a request, validated.
#[inline]
fn named_user<'a>(
    head: &Head<'_>,
    user: Result<Option<Cow<'a, str>>, UserFieldError<'a>>,
) -> Result<Option<User>, UserFieldError<'a>> {
    let named_by = || Cow::Borrowed(if head.user.is_some() { USER_HEADER } else { USER_FIELD });
    let named =
        |user: Cow<'_, str>| User::new(&user).map_err(|_| UserFieldError::Wrong(named_by()));
    user.and_then(|user| user.map(named).transpose())
}

#[cold]
fn write_user_field_error(
    error: UserFieldError<'_>,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    match error {
        UserFieldError::Wrong(field) => write_buy_invalid(field, context, out),
        UserFieldError::NotTrusted(field) => {
            write_buy_refused_with(ErrorCode::UserNotTrusted, ("field", field), context, out);
        }
    }
}

/// Starts the purchase.
#[inline(always)]
fn start(
    seller: &'static Seller,
    asker: WaiterId,
    preencoded: &PreencodedRejections,
    (has_key, trace): (bool, Option<&Arc<Trace>>),
    ask: impl FnOnce() -> PurchaseRequest,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) -> Option<PendingPurchase> {
    let slot = match seller.sale_to_buy(BUY_SALE) {
        Ok(slot) => slot,
        Err(verdict) => {
            write_refusal(&verdict, context, out);
            return None;
        }
    };
    match purchase::begin(seller, &slot, (has_key, trace), ask, asker) {
        Progress::Waits(asked) => Some(asked),
        Progress::Done(done) => {
            write(preencoded, &done, context, out);
            None
        }
    }
}

/// Writes the outcome of a purchase.
#[inline(always)]
pub fn write(
    preencoded: &PreencodedRejections,
    done: &Completed,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    let (verdict, sale) = (&done.outcome, done.target.id());
    match verdict {
        PurchaseOutcome::Rejected(refused) if preencoded.write(*refused, context, out) => {}
        PurchaseOutcome::Granted(reservation) => write_granted(sale, reservation.id, context, out),
        PurchaseOutcome::Replayed(reservation) => {
            let start = out.len();
            write_existing(sale, reservation, context, out);
            write_replayed(start, out);
        }
        _ => write_refusal(verdict, context, out),
    }
}

/// Writes the state of the reservation that an earlier request with the same key has made.
fn write_existing(
    sale: &SaleId,
    reservation: &Reservation,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    let code = match reservation.status {
        Status::Held | Status::Confirmed => {
            return write_granted(sale, reservation.id, context, out);
        }
        Status::Cancelled => ErrorCode::AlreadyCancelled,
        Status::Expired => ErrorCode::Expired,
        Status::Refunded => ErrorCode::AlreadyRefunded,
    };
    let id = PublicId::new(sale, reservation.id);
    write_buy_refused_with(code, ("reservation", id.as_str()), context, out);
}

fn write_granted(
    sale: &SaleId,
    id: ReservationId,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    write_buy_granted(sale.as_str(), &id.to_text(), context, out);
}

fn write_refusal(verdict: &PurchaseOutcome, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    let code = verdict_code(verdict);
    match verdict {
        PurchaseOutcome::Rejected(RejectReason::NotOpen { opens_at_ms }) => {
            let opens_at = rfc3339(*opens_at_ms);
            write_buy_refused_with(code, ("opens_at", &opens_at), context, out);
        }
        PurchaseOutcome::Rejected(RejectReason::Damaged) => {
            write_buy_refused_with(code, ("reason", DAMAGED), context, out);
        }
        PurchaseOutcome::Rejected(RejectReason::UserRequired) => {
            write_buy_refused_with(code, ("field", USER_FIELD), context, out);
        }
        _ => write_buy_refused(code, context, out),
    }
}
