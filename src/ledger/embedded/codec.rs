//! The contents of a record as bytes: changes for the journal, sales and rows for a snapshot.
//!
//! Little-endian, lengths before texts, no padding. A journal record is a time and a run of entries
//! up to its end; an entry that names a sale applies to the entries after it. Decoding accepts any
//! bytes: it never panics and allocates no more than it was given.
//!
//! Any change here needs a new [`FORMAT_VERSION`](super::marker::FORMAT_VERSION), once a release
//! has written the present one: an older build then refuses the folder by its marker. 0.1.0 wrote
//! format 2; format 3 has refunds, stock that is taken back and changes of terms; format 4, that of
//! 0.2.0, also has the details of reservations, extended holds and parts that are taken back. An
//! entry or a row without any of these is written as before.

use std::sync::Arc;

use super::definition::{put_long_text, put_rules, put_spec, put_terms};
use super::reader::{Malformed, Reader, check};
use crate::limits::{
    ASKED_DETAILS_BYTES_MAX, HOLD_MS_MAX, KEY_BYTES_MAX, PLAN_BYTES_MAX, QUANTITY_MAX,
    REQUEST_ID_BYTES_MAX, SALE_ID_BYTES_MAX, USER_BYTES_MAX,
};
use crate::sale::seats::Seats;
use crate::sale::{
    Command, Details, Key, Lines, Remaining, ReservationId, Reserve, Row, SaleId, SaleSpec, Status,
    User,
};
use crate::trace::{TRACEPARENT_BYTES, Trace};

/// The maximum size of a command in a record, with the entry that names its sale.
pub(super) const COMMAND_BYTES_MAX: usize = PLAIN_COMMAND_BYTES_MAX + 2 + ASKED_DETAILS_BYTES_MAX;
/// The same for a command without details and types.
const PLAIN_COMMAND_BYTES_MAX: usize =
    2 + SALE_ID_BYTES_MAX + 1 + 16 + 4 + 2 + USER_BYTES_MAX + KEY_BYTES_MAX + TRACE_BYTES_MAX;
/// The maximum size of a trace.
const TRACE_BYTES_MAX: usize = 2 + REQUEST_ID_BYTES_MAX + TRACEPARENT_BYTES;
/// The minimum size of a row in a snapshot.
pub(super) const ROW_BYTES_MIN: u64 = 16 + 1 + 4 + 8 + 8 + 8 + 2;

const SALE: u8 = 1;
const RESERVE: u8 = 2;
const CONFIRM: u8 = 3;
const CANCEL: u8 = 4;
const EXPIRED: u8 = 5;
const ADD_STOCK: u8 = 6;
const OPEN: u8 = 7;
const CLOSE: u8 = 8;
const CREATE: u8 = 9;
const REMOVE: u8 = 10;
const REFUND: u8 = 11;
const TAKE_STOCK: u8 = 12;
const CHANGE_TERMS: u8 = 13;
const JUMP: u8 = 14;
const EXTEND: u8 = 15;
const CANCEL_TO: u8 = 16;
const REFUND_TO: u8 = 17;
/// [`CREATE`] with the sale's rules.
const CREATE_RULED: u8 = 18;
/// The same, with its ticket types.
const CREATE_TYPED: u8 = 19;
/// [`CANCEL_TO`] with lines.
const CANCEL_TO_LINES: u8 = 20;
/// [`REFUND_TO`] with lines.
const REFUND_TO_LINES: u8 = 21;
/// [`CANCEL_TO`] with seats.
const CANCEL_TO_SEATS: u8 = 22;
/// [`REFUND_TO`] with seats.
const REFUND_TO_SEATS: u8 = 23;
/// [`CONFIRM`] that may take other seats.
const CONFIRM_ELSEWHERE: u8 = 24;
/// [`CREATE_TYPED`] with the plan of its seats.
const CREATE_SEATED: u8 = 25;
/// [`RESERVE`] with the trace of the request. Since format 3; 0.1.0 wrote format 2.
const RESERVE_TRACED: u8 = 32;
/// The same, with the reservation's details.
const RESERVE_DETAILED: u8 = 33;
/// In the status of a row: details follow its key.
const HAS_DETAILS: u8 = 128;

/// The time of an extension by the sale's hold time.
const NO_HOLD_MS: u64 = u64::MAX;

/// One entry of a journal record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JournalEntry {
    /// The entries after it change this sale.
    Sale(SaleId),
    /// A command that changed the sale.
    Command(Command),
    /// The effect of [`Command::Expire`]. The command itself has the number of reservations to
    /// read, which after a restart are not the same ones (those already paid are gone from the
    /// queue), so the record has the units that were returned.
    Expired { units: u64 },
    /// The next record has this number, and no record has the numbers before it: see [`Gaps`].
    ///
    /// [`Gaps`]: crate::ledger::gaps::Gaps
    Jump { to: u64 },
}

/// The maximum size of this command in a record, with the entry that names its sale.
pub(super) fn bytes_max(command: &Command) -> usize {
    match command {
        Command::Reserve(reserve) if reserve.details.is_some() => COMMAND_BYTES_MAX,
        Command::Create(spec) if spec.plan.is_some() => COMMAND_BYTES_MAX + 2 + PLAN_BYTES_MAX,
        Command::Create(spec) if !spec.types.is_empty() => COMMAND_BYTES_MAX,
        Command::CancelTo(..) | Command::RefundTo(..) => COMMAND_BYTES_MAX,
        _ => PLAIN_COMMAND_BYTES_MAX,
    }
}

/// Begins a journal record.
pub(super) fn put_time(out: &mut Vec<u8>, now_ms: u64) {
    out.extend_from_slice(&now_ms.to_le_bytes());
}

/// Names the sale of the commands that follow.
pub(super) fn put_sale(out: &mut Vec<u8>, sale: &SaleId) {
    out.push(SALE);
    put_text(out, sale.as_str());
}

/// Adds the effect of an expiry.
pub(super) fn put_expired(out: &mut Vec<u8>, units: u64) {
    out.push(EXPIRED);
    out.extend_from_slice(&units.to_le_bytes());
}

/// Adds that the next record skips some numbers.
pub(super) fn put_jump(out: &mut Vec<u8>, to: u64) {
    out.push(JUMP);
    out.extend_from_slice(&to.to_le_bytes());
}

/// Adds a command that changed its sale. Commands that never change anything add nothing.
pub(super) fn put_command(out: &mut Vec<u8>, command: &Command) {
    match command {
        Command::Reserve(reserve) => {
            let entry = match (&reserve.details, &reserve.trace) {
                (Some(_), _) => RESERVE_DETAILED,
                (None, Some(_)) => RESERVE_TRACED,
                (None, None) => RESERVE,
            };
            out.push(entry);
            put_id(out, reserve.id);
            out.extend_from_slice(&reserve.quantity.to_le_bytes());
            put_text(out, reserve.user_text());
            put_text(out, reserve.key_text());
            if entry != RESERVE {
                let trace = reserve.trace.as_deref();
                put_text(out, trace.and_then(Trace::request_id).unwrap_or_default());
                put_text(out, trace.and_then(Trace::parent).unwrap_or_default());
            }
            if let Some(details) = &reserve.details {
                put_long_text(out, &details.to_text());
            }
        }
        Command::Confirm(id) => {
            out.push(CONFIRM);
            put_id(out, *id);
        }
        Command::ConfirmElsewhere(id) => {
            out.push(CONFIRM_ELSEWHERE);
            put_id(out, *id);
        }
        Command::Cancel(id) => {
            out.push(CANCEL);
            put_id(out, *id);
        }
        Command::Refund(id) => {
            out.push(REFUND);
            put_id(out, *id);
        }
        Command::Extend(id, hold_ms) => {
            out.push(EXTEND);
            put_id(out, *id);
            out.extend_from_slice(&hold_ms.unwrap_or(NO_HOLD_MS).to_le_bytes());
        }
        Command::CancelTo(id, remaining) | Command::RefundTo(id, remaining) => {
            let cancels = matches!(command, Command::CancelTo(..));
            match remaining {
                Remaining::Lines(lines) if !lines.is_empty() => {
                    out.push(if cancels { CANCEL_TO_LINES } else { REFUND_TO_LINES });
                    put_id(out, *id);
                    put_long_text(out, &lines.to_text());
                }
                Remaining::Seats(seats) => {
                    out.push(if cancels { CANCEL_TO_SEATS } else { REFUND_TO_SEATS });
                    put_id(out, *id);
                    put_long_text(out, &seats.to_text());
                }
                remaining => {
                    out.push(if cancels { CANCEL_TO } else { REFUND_TO });
                    put_id(out, *id);
                    out.extend_from_slice(&remaining.units().to_le_bytes());
                }
            }
        }
        Command::AddStock(units) => {
            out.push(ADD_STOCK);
            out.extend_from_slice(&units.to_le_bytes());
        }
        Command::TakeStock { units, at_most } => {
            out.push(TAKE_STOCK);
            out.extend_from_slice(&units.to_le_bytes());
            out.push((*at_most).into());
        }
        Command::ChangeTerms(terms) => {
            out.push(CHANGE_TERMS);
            put_terms(out, terms);
        }
        Command::Open => out.push(OPEN),
        Command::Close => out.push(CLOSE),
        Command::Remove => out.push(REMOVE),
        Command::Create(spec) => {
            out.push(match (spec.is_plain(), spec.types.is_empty()) {
                _ if spec.plan.is_some() => CREATE_SEATED,
                (true, _) => CREATE,
                (false, true) => CREATE_RULED,
                (false, false) => CREATE_TYPED,
            });
            put_spec(out, spec);
            put_rules(out, spec);
        }
        Command::Expire { .. }
        | Command::Show
        | Command::Peek { .. }
        | Command::ShowReservation(_)
        | Command::FindClaim(..)
        | Command::TransferOut { .. }
        | Command::TransferIn { .. }
        | Command::CreatePart { .. }
        | Command::Reset { .. } => {
            debug_assert!(false, "not a change: {command:?}");
        }
    }
}

/// Adds one reservation of a snapshot.
pub(super) fn put_row(out: &mut Vec<u8>, row: &Row) {
    put_id(out, row.id);
    let details = row.details_text();
    out.push(row.status as u8 | if details.is_empty() { 0 } else { HAS_DETAILS });
    out.extend_from_slice(&row.quantity.to_le_bytes());
    for number in [row.expires_at_ms, row.version, row.changed_at_ms] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    put_text(out, row.user());
    put_text(out, row.key());
    if !details.is_empty() {
        put_long_text(out, details);
    }
}

/// Adds a text of at most 255 bytes, which the type of every name guarantees.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u8::MAX));
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn put_id(out: &mut Vec<u8>, id: ReservationId) {
    out.extend_from_slice(&id.0.to_le_bytes());
}

impl<'a> Reader<'a> {
    fn id(&mut self) -> Result<ReservationId, Malformed> {
        self.take("reservation id").map(u128::from_le_bytes).map(ReservationId)
    }

    /// A sale id.
    pub(super) fn sale(&mut self) -> Result<SaleId, Malformed> {
        SaleId::new(self.text("sale id")?).map_err(|_| Malformed("sale id"))
    }

    /// One reservation of a snapshot.
    pub(super) fn row(&mut self) -> Result<Row, Malformed> {
        let id = self.id()?;
        let status = self.byte("status")?;
        let has_details = status & HAS_DETAILS != 0;
        let status = match status & !HAS_DETAILS {
            0 => Status::Held,
            1 => Status::Confirmed,
            2 => Status::Cancelled,
            3 => Status::Expired,
            4 => Status::Refunded,
            _ => return Err(Malformed("status")),
        };
        let quantity = self.quantity()?;
        let expires_at_ms = self.u64("deadline")?;
        let (version, changed_at_ms) = (self.u64("version")?, self.u64("time of change")?);
        let (user, key) = (self.text("user")?, self.text("key")?);
        let details = if has_details { Some(self.details(quantity)?) } else { None };
        let text = details.as_ref().map(Details::to_text).unwrap_or_default();
        let owner = if user.is_empty() && key.is_empty() && text.is_empty() {
            Box::default()
        } else {
            [user, key, &text].concat().into_boxed_str()
        };
        Ok(Row {
            id,
            owner,
            user_bytes: user.len() as u8,
            key_bytes: key.len() as u8,
            is_extended: details.is_some_and(|details| details.first_expires_at_ms.is_some()),
            status,
            quantity,
            expires_at_ms,
            version,
            changed_at_ms,
        })
    }

    /// The details of a reservation of this quantity.
    fn details(&mut self, quantity: u32) -> Result<Details, Malformed> {
        let details = Details::from_text(self.long_text("details")?).ok_or(Malformed("details"))?;
        let agrees = details.lines.as_ref().is_none_or(|lines| lines.units() == quantity);
        check(agrees, details, "lines of another quantity")
    }

    fn seats(&mut self) -> Result<Seats, Malformed> {
        Seats::from_text(self.long_text("seats")?).ok_or(Malformed("seats"))
    }

    fn lines(&mut self) -> Result<Lines, Malformed> {
        Lines::from_text(self.long_text("lines")?).ok_or(Malformed("lines"))
    }

    fn quantity(&mut self) -> Result<u32, Malformed> {
        self.u32("quantity").and_then(|q| check((1..=QUANTITY_MAX).contains(&q), q, "quantity"))
    }

    fn reserve(&mut self) -> Result<Reserve, Malformed> {
        let (id, quantity) = (self.id()?, self.quantity()?);
        let (user, key) = (self.text("user")?, self.text("key")?);
        let user = (!user.is_empty()).then(|| User::new(user).map_err(|_| Malformed("user")));
        let key = (!key.is_empty()).then(|| Key::new(key).map_err(|_| Malformed("key")));
        let (user, key) = (user.transpose()?, key.transpose()?);
        Ok(Reserve { id, quantity, user, key, trace: None, details: None })
    }

    /// A trace from [`put_command`]. An invalid one means damage: it would not have been written.
    fn trace(&mut self) -> Result<Arc<Trace>, Malformed> {
        let (id, parent) = (self.text("request id")?, self.text("traceparent")?);
        let trace = Trace::from_texts(id, parent).ok_or(Malformed("trace"))?;
        let whole = trace.request_id().unwrap_or_default() == id
            && trace.parent().unwrap_or_default() == parent;
        check(whole, Arc::new(trace), "trace")
    }

    fn take_stock(&mut self) -> Result<Command, Malformed> {
        let units = self.u64("units")?;
        let at_most = self.byte("units")?;
        check(at_most <= 1, Command::TakeStock { units, at_most: at_most == 1 }, "units")
    }

    /// The next entry of a journal record.
    pub(super) fn entry(&mut self) -> Result<JournalEntry, Malformed> {
        let command = match self.byte("entry")? {
            SALE => return self.sale().map(JournalEntry::Sale),
            EXPIRED => return Ok(JournalEntry::Expired { units: self.u64("units")? }),
            JUMP => return Ok(JournalEntry::Jump { to: self.u64("number")? }),
            RESERVE => Command::Reserve(self.reserve()?),
            RESERVE_TRACED => {
                let reserve = self.reserve()?;
                Command::Reserve(Reserve { trace: Some(self.trace()?), ..reserve })
            }
            RESERVE_DETAILED => {
                let reserve = self.reserve()?;
                let trace = if self.0.starts_with(&[0, 0]) {
                    self.0 = &self.0[2..];
                    None
                } else {
                    Some(self.trace()?)
                };
                let details = Some(Box::new(self.details(reserve.quantity)?));
                Command::Reserve(Reserve { trace, details, ..reserve })
            }
            EXTEND => {
                let (id, hold_ms) = (self.id()?, self.u64("hold time")?);
                let hold_ms = (hold_ms != NO_HOLD_MS).then_some(hold_ms);
                let legal = hold_ms.is_none_or(|ms| (1..=HOLD_MS_MAX).contains(&ms));
                check(legal, Command::Extend(id, hold_ms), "hold time")?
            }
            CANCEL_TO => Command::CancelTo(self.id()?, Remaining::Units(self.u32("units")?)),
            REFUND_TO => Command::RefundTo(self.id()?, Remaining::Units(self.u32("units")?)),
            CANCEL_TO_LINES => Command::CancelTo(self.id()?, Remaining::Lines(self.lines()?)),
            REFUND_TO_LINES => Command::RefundTo(self.id()?, Remaining::Lines(self.lines()?)),
            CANCEL_TO_SEATS => Command::CancelTo(self.id()?, Remaining::Seats(self.seats()?)),
            REFUND_TO_SEATS => Command::RefundTo(self.id()?, Remaining::Seats(self.seats()?)),
            CONFIRM_ELSEWHERE => Command::ConfirmElsewhere(self.id()?),
            CONFIRM => Command::Confirm(self.id()?),
            CANCEL => Command::Cancel(self.id()?),
            REFUND => Command::Refund(self.id()?),
            ADD_STOCK => Command::AddStock(self.u64("units")?),
            TAKE_STOCK => self.take_stock()?,
            CHANGE_TERMS => Command::ChangeTerms(self.terms()?),
            OPEN => Command::Open,
            CLOSE => Command::Close,
            REMOVE => Command::Remove,
            CREATE => {
                let spec = self.spec()?;
                Command::Create(check(spec.check().is_ok(), spec, "definition")?)
            }
            CREATE_RULED => {
                let spec = self.spec()?;
                let spec = SaleSpec { rules: self.rules()?, ..spec };
                Command::Create(check(spec.check().is_ok(), spec, "definition")?)
            }
            CREATE_TYPED => {
                let spec = self.spec()?;
                let (rules, types) = (self.rules()?, self.types()?);
                let spec = SaleSpec { rules, types, ..spec };
                Command::Create(check(spec.check().is_ok(), spec, "definition")?)
            }
            CREATE_SEATED => {
                let spec = self.spec()?;
                let (rules, types) = (self.rules()?, self.types()?);
                let spec = SaleSpec { rules, types, plan: Some(self.plan()?), ..spec };
                Command::Create(check(spec.check().is_ok(), spec, "definition")?)
            }
            _ => return Err(Malformed("entry")),
        };
        Ok(JournalEntry::Command(command))
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
