//! `/buy/ticket`: the article's way to buy, in which the body's `code` says what became of it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use super::answer::{
    canned_buy_refused, canned_buy_refused_with, write_buy_granted, write_buy_invalid,
    write_buy_refused, write_buy_refused_until, write_buy_refused_with,
};
use super::passing::{Passing, Stopped};
use super::refusal::{DAMAGED, verdict_code};
use crate::clock::rfc3339;
use crate::code::Code;
use crate::engine::http::{Canned, Envelope, Head, write_replayed};
use crate::ledger::batch::Asker;
use crate::purchase::{self, Ask, Asked, Done, Progress, Refused, Seller, Verdict};
use crate::route::{Misnamed, USER_FIELD, USER_HEADER, buyer, idempotency_key};
use crate::sale::{PublicId, Reservation, ReservationId, SaleId, Status, User};
use crate::trace::Trace;

/// The sale that `/buy/ticket` sells.
pub const BUY_SALE: &str = "ticket";

/// What everybody is told while the sale doesn't sell, encoded once a core.
pub struct Refusals {
    sold_out: Canned,
    closed: Canned,
    /// With the time it tells.
    not_open: RefCell<Option<(u64, Canned)>>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            sold_out: canned_buy_refused(Code::SoldOut),
            closed: canned_buy_refused(Code::Closed),
            not_open: RefCell::default(),
        }
    }
}

impl Refusals {
    /// Writes what the core knows by itself. `false`: this is nothing of the kind.
    #[inline(always)]
    fn write(&self, refused: Refused, envelope: &Envelope<'_>, out: &mut Vec<u8>) -> bool {
        if envelope.instead.is_some() {
            return false;
        }
        match refused {
            Refused::SoldOut { .. } => self.sold_out.write(envelope, out),
            Refused::Closed => self.closed.write(envelope, out),
            Refused::NotOpen { opens_at_ms } => self.write_not_open(opens_at_ms, envelope, out),
            _ => return false,
        }
        true
    }

    #[cold]
    fn write_not_open(&self, opens_at_ms: u64, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        let mut not_open = self.not_open.borrow_mut();
        let kept = not_open.take().filter(|(at_ms, _)| *at_ms == opens_at_ms);
        let make = || {
            let member = ("opens_at", &*rfc3339(opens_at_ms));
            (opens_at_ms, canned_buy_refused_with(Code::NotOpen, member))
        };
        not_open.insert(kept.unwrap_or_else(make)).1.write(envelope, out);
    }
}

/// What a request asks, as far as it was read.
pub struct Bid<'a, 'b> {
    /// Its head.
    pub head: &'a Head<'b>,
    /// Who asks; or why that is not known.
    pub user: Result<Option<Cow<'a, str>>, Misnamed<'a>>,
    /// How it is found again.
    pub trace: Option<&'a Arc<Trace>>,
}

/// The local step of a purchase; answers it if that is all it takes.
#[inline(always)] // Most of what a sold-out sale is asked goes this way.
pub fn begin(
    seller: &'static Seller,
    asker: Asker,
    refusals: &Refusals,
    bid: Bid<'_, '_>,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Asked> {
    let Bid { head, user, trace } = bid;
    let user = match named_user(head, user) {
        Ok(user) => user,
        Err(misnamed) => {
            write_misnamed(misnamed, envelope, out);
            return None;
        }
    };
    let Ok(key) = idempotency_key(head) else {
        write_buy_invalid("Idempotency-Key".into(), envelope, out);
        return None;
    };
    let has_key = key.is_some();
    let ask = || Ask { quantity: 1, user, key, details: None, trace: trace.cloned() };
    put(seller, asker, refusals, (has_key, trace), ask, envelope, out)
}

/// The same, where limits or admission stand before it.
pub fn begin_passing(
    seller: &'static Seller,
    asker: Asker,
    refusals: &Refusals,
    (passing, head, trace): (&Passing<'_, '_>, &Head<'_>, Option<&Arc<Trace>>),
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Asked> {
    let ask = match ask_passing(seller, passing, head, trace) {
        Ok(ask) => ask,
        Err(Refusal::Stopped(stopped)) => {
            match stopped.retry_after_s() {
                Some(s) => write_buy_refused_until(stopped.code(), s, envelope, out),
                None => write_buy_refused(stopped.code(), envelope, out),
            }
            return None;
        }
        Err(Refusal::Misnamed(misnamed)) => {
            write_misnamed(misnamed, envelope, out);
            return None;
        }
        Err(Refusal::Key) => {
            write_buy_invalid("Idempotency-Key".into(), envelope, out);
            return None;
        }
        Err(Refusal::Known(done)) => {
            write(refusals, &done, envelope, out);
            return None;
        }
    };
    let has_key = ask.key.is_some();
    put(seller, asker, refusals, (has_key, trace), || ask, envelope, out)
}

/// Why a request that wants to pass comes to no question.
enum Refusal<'a> {
    Stopped(Stopped),
    Misnamed(Misnamed<'a>),
    /// Its idempotency key is none.
    Key,
    /// The core knows what it comes to.
    Known(Done),
}

impl From<Stopped> for Refusal<'_> {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl<'a> From<Misnamed<'a>> for Refusal<'a> {
    fn from(misnamed: Misnamed<'a>) -> Self {
        Self::Misnamed(misnamed)
    }
}

fn ask_passing<'a>(
    seller: &Seller,
    passing: &Passing<'_, 'a>,
    head: &Head<'a>,
    trace: Option<&Arc<Trace>>,
) -> Result<Ask, Refusal<'a>> {
    let known = || match head.idempotency_key {
        None => purchase::known_sold_out(seller, BUY_SALE, trace).map_or(Ok(()), Err),
        Some(_) => Ok(()),
    };
    passing.pass_address()?;
    let user = if passing.needs_token() {
        known().map_err(Refusal::Known)?;
        let pass = passing.admit(BUY_SALE)?;
        if let Some(pass) = &pass {
            passing.check_named(&pass.user)?;
            passing.check_quantity(pass, 1)?;
        }
        pass.map(|pass| pass.user.clone())
    } else {
        let user = named_user(head, buyer(head, passing.namer()))?;
        known().map_err(Refusal::Known)?;
        user
    };
    let key = idempotency_key(head).map_err(|_| Refusal::Key)?;
    passing.pass_user(user.as_ref())?;
    Ok(Ask { quantity: 1, user, key, details: None, trace: trace.cloned() })
}

/// The user of a request, by what names him.
#[inline]
fn named_user<'a>(
    head: &Head<'_>,
    user: Result<Option<Cow<'a, str>>, Misnamed<'a>>,
) -> Result<Option<User>, Misnamed<'a>> {
    let named_by = || Cow::Borrowed(if head.user.is_some() { USER_HEADER } else { USER_FIELD });
    let named = |user: Cow<'_, str>| User::new(&user).map_err(|_| Misnamed::Wrong(named_by()));
    user.and_then(|user| user.map(named).transpose())
}

#[cold]
fn write_misnamed(misnamed: Misnamed<'_>, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    match misnamed {
        Misnamed::Wrong(field) => write_buy_invalid(field, envelope, out),
        Misnamed::NotTrusted(field) => {
            write_buy_refused_with(Code::UserNotTrusted, ("field", field), envelope, out);
        }
    }
}

/// Puts it to the sale.
#[inline(always)]
fn put(
    seller: &'static Seller,
    asker: Asker,
    refusals: &Refusals,
    (has_key, trace): (bool, Option<&Arc<Trace>>),
    ask: impl FnOnce() -> Ask,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Asked> {
    let slot = match seller.sale_to_buy(BUY_SALE) {
        Ok(slot) => slot,
        Err(verdict) => {
            write_refusal(&verdict, envelope, out);
            return None;
        }
    };
    match purchase::begin(seller, &slot, (has_key, trace), ask, asker) {
        Progress::Waits(asked) => Some(asked),
        Progress::Done(done) => {
            write(refusals, &done, envelope, out);
            None
        }
    }
}

/// Says what became of a purchase.
#[inline(always)]
pub fn write(refusals: &Refusals, done: &Done, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let (verdict, sale) = (&done.verdict, done.place.id());
    match verdict {
        Verdict::Refused(refused) if refusals.write(*refused, envelope, out) => {}
        Verdict::Granted(reservation) => write_granted(sale, reservation.id, envelope, out),
        Verdict::Replayed(reservation) => {
            let start = out.len();
            write_standing(sale, reservation, envelope, out);
            write_replayed(start, out);
        }
        _ => write_refusal(verdict, envelope, out),
    }
}

/// Says how the reservation stands that a request has already.
fn write_standing(
    sale: &SaleId,
    reservation: &Reservation,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    let code = match reservation.status {
        Status::Held | Status::Confirmed => {
            return write_granted(sale, reservation.id, envelope, out);
        }
        Status::Cancelled => Code::AlreadyCancelled,
        Status::Expired => Code::Expired,
        Status::Refunded => Code::AlreadyRefunded,
    };
    let id = PublicId::new(sale, reservation.id);
    write_buy_refused_with(code, ("reservation", id.as_str()), envelope, out);
}

fn write_granted(sale: &SaleId, id: ReservationId, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    write_buy_granted(sale.as_str(), &id.to_text(), envelope, out);
}

fn write_refusal(verdict: &Verdict, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let code = verdict_code(verdict);
    match verdict {
        Verdict::Refused(Refused::NotOpen { opens_at_ms }) => {
            let opens_at = rfc3339(*opens_at_ms);
            write_buy_refused_with(code, ("opens_at", &opens_at), envelope, out);
        }
        Verdict::Refused(Refused::Damaged) => {
            write_buy_refused_with(code, ("reason", DAMAGED), envelope, out);
        }
        Verdict::Refused(Refused::UserRequired) => {
            write_buy_refused_with(code, ("field", USER_FIELD), envelope, out);
        }
        _ => write_buy_refused(code, envelope, out),
    }
}
