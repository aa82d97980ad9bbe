//! What a record holds, as bytes: changes for the journal, sales and rows for a snapshot.
//!
//! Little-endian, lengths before texts, no padding. A journal record is a time and a run of entries
//! up to its end; an entry that names a sale says which sale those after it change. Decoding takes
//! any bytes: it never panics and allocates no more than it was given.
//!
//! Changing anything here needs a new [`FORMAT_VERSION`](super::marker::FORMAT_VERSION), once a release
//! has written the present one: an older build then refuses the folder by its marker. 0.1.0 wrote format
//! 2; format 3 is that of 0.2.0, with refunds, stock that is taken back and changes of terms.

use std::sync::Arc;

use crate::limits::{
    HOLD_MS_MAX, KEY_BYTES_MAX, QUANTITY_MAX, REQUEST_ID_BYTES_MAX, SALE_ID_BYTES_MAX, TIME_MS_MAX,
    TOTAL_MAX, USER_BYTES_MAX,
};
use crate::sale::{
    Command, Key, ReservationId, Reserve, Row, SaleId, SaleSpec, Split, Status, Terms, User,
};
use crate::trace::{TRACEPARENT_BYTES, Trace};

/// Most bytes one command takes in a record, with the entry that names its sale.
pub(super) const COMMAND_BYTES_MAX: usize =
    2 + SALE_ID_BYTES_MAX + 1 + 16 + 4 + 2 + USER_BYTES_MAX + KEY_BYTES_MAX + TRACE_BYTES_MAX;
/// Most bytes of how a request is found again.
const TRACE_BYTES_MAX: usize = 2 + REQUEST_ID_BYTES_MAX + TRACEPARENT_BYTES;
/// Fewest bytes one row takes in a snapshot.
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
/// What [`RESERVE`] is, and how the request is found again. Format 3 has it; 0.1.0 wrote format 2.
const RESERVE_TRACED: u8 = 32;

/// Which of the terms a change of them names.
const CLOSING: u8 = 1;
const HOLD: u8 = 2;
const LIMIT: u8 = 4;
const QUANTITY: u8 = 8;

/// Bytes that don't say what they should. Names what was being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub &'static str);

/// One entry of a journal record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// The entries after it change this sale.
    Sale(SaleId),
    /// A command that changed the sale.
    Command(Command),
    /// What [`Command::Expire`] did. The command itself says how many reservations to look at,
    /// which after a restart are not the same ones (those already paid are gone from the queue), so
    /// the units that came back are what counts.
    Expired { units: u64 },
    /// The next record has this number, and none has those before it: see [`Gaps`].
    ///
    /// [`Gaps`]: crate::ledger::gaps::Gaps
    Jump { to: u64 },
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

/// Adds what an expiry did.
pub(super) fn put_expired(out: &mut Vec<u8>, units: u64) {
    out.push(EXPIRED);
    out.extend_from_slice(&units.to_le_bytes());
}

/// Adds that the next record has another number than it would.
pub(super) fn put_jump(out: &mut Vec<u8>, to: u64) {
    out.push(JUMP);
    out.extend_from_slice(&to.to_le_bytes());
}

/// Adds a command that changed its sale. Those that never do add nothing.
pub(super) fn put_command(out: &mut Vec<u8>, command: &Command) {
    match command {
        Command::Reserve(reserve) => {
            out.push(if reserve.trace.is_some() { RESERVE_TRACED } else { RESERVE });
            put_id(out, reserve.id);
            out.extend_from_slice(&reserve.quantity.to_le_bytes());
            put_text(out, reserve.user_text());
            put_text(out, reserve.key_text());
            if let Some(trace) = &reserve.trace {
                put_text(out, trace.request_id().unwrap_or_default());
                put_text(out, trace.parent().unwrap_or_default());
            }
        }
        Command::Confirm(id) => {
            out.push(CONFIRM);
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
            out.push(CREATE);
            put_spec(out, spec);
        }
        Command::Expire { .. }
        | Command::Show
        | Command::Glance { .. }
        | Command::ShowReservation(_)
        | Command::FindClaim(..)
        | Command::Give { .. }
        | Command::Take { .. }
        | Command::CreatePart { .. }
        | Command::Reset { .. } => {
            debug_assert!(false, "not a change: {command:?}");
        }
    }
}

/// Which terms are named, and these.
fn put_terms(out: &mut Vec<u8>, terms: &Terms) {
    let times = [(CLOSING, terms.closes_at_ms), (HOLD, terms.hold_ms)];
    let counts = [(LIMIT, terms.limit_per_user), (QUANTITY, terms.quantity_max)];
    let named = |bit: u8, is_named: bool| if is_named { bit } else { 0 };
    let times_named = times.iter().map(|(bit, ms)| named(*bit, ms.is_some()));
    let counts_named = counts.iter().map(|(bit, count)| named(*bit, count.is_some()));
    out.push(times_named.chain(counts_named).sum());
    times.iter().filter_map(|(_, ms)| *ms).for_each(|ms| out.extend_from_slice(&ms.to_le_bytes()));
    let counts = counts.iter().filter_map(|(_, count)| *count);
    counts.for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
}

/// Adds a sale's definition.
pub(super) fn put_spec(out: &mut Vec<u8>, spec: &SaleSpec) {
    debug_assert_eq!(spec.split, Split::Whole, "an embedded ledger splits no sale");
    for number in [spec.total, spec.opens_at_ms, spec.closes_at_ms, spec.hold_ms] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&spec.limit_per_user.to_le_bytes());
    out.extend_from_slice(&spec.quantity_max.to_le_bytes());
}

/// Adds one reservation of a snapshot.
pub(super) fn put_row(out: &mut Vec<u8>, row: &Row) {
    put_id(out, row.id);
    out.push(row.status as u8);
    out.extend_from_slice(&row.quantity.to_le_bytes());
    for number in [row.expires_at_ms, row.version, row.changed_at_ms] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let (user, key) = row.owner.split_at(usize::from(row.user_bytes));
    put_text(out, user);
    put_text(out, key);
}

/// Adds a text of at most 255 bytes, which every name is by its type.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u8::MAX));
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

fn put_id(out: &mut Vec<u8>, id: ReservationId) {
    out.extend_from_slice(&id.0.to_le_bytes());
}

/// Reads from the front of some bytes.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from these bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// One byte.
    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.take::<1>(what).map(|[byte]| byte)
    }

    /// Four bytes.
    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.take(what).map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.take(what).map(u64::from_le_bytes)
    }

    /// A time that a machine can add a hold time to.
    pub(super) fn time(&mut self) -> Result<u64, Malformed> {
        self.u64("time").and_then(|now_ms| check(now_ms <= TIME_MS_MAX, now_ms, "time"))
    }

    fn id(&mut self) -> Result<ReservationId, Malformed> {
        self.take("reservation id").map(u128::from_le_bytes).map(ReservationId)
    }

    /// A text.
    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        let length = usize::from(self.byte(what)?);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed(what))?;
        self.0 = rest;
        std::str::from_utf8(bytes).map_err(|_| Malformed(what))
    }

    /// A sale id.
    pub(super) fn sale(&mut self) -> Result<SaleId, Malformed> {
        SaleId::new(self.text("sale id")?).map_err(|_| Malformed("sale id"))
    }

    /// A sale's definition. Its times may be in any order: see [`Machine::restore`].
    ///
    /// [`Machine::restore`]: crate::sale::Machine::restore
    pub(super) fn spec(&mut self) -> Result<SaleSpec, Malformed> {
        let [total, opens_at_ms, closes_at_ms, hold_ms] = [
            self.u64("total")?,
            self.u64("opening")?,
            self.u64("closing")?,
            self.u64("hold time")?,
        ];
        let limit_per_user = self.u32("limit")?;
        let quantity_max = self.u32("maximum quantity")?;
        let legal = total <= TOTAL_MAX
            && opens_at_ms <= TIME_MS_MAX
            && closes_at_ms <= TIME_MS_MAX
            && (1..=HOLD_MS_MAX).contains(&hold_ms)
            && (1..=QUANTITY_MAX).contains(&quantity_max);
        let spec = SaleSpec {
            total,
            opens_at_ms,
            closes_at_ms,
            limit_per_user,
            hold_ms,
            quantity_max,
            split: Split::Whole,
        };
        check(legal, spec, "definition")
    }

    /// One reservation of a snapshot.
    pub(super) fn row(&mut self) -> Result<Row, Malformed> {
        let id = self.id()?;
        let status = match self.byte("status")? {
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
        let owner = if user.is_empty() && key.is_empty() {
            Box::default()
        } else {
            [user, key].concat().into_boxed_str()
        };
        let user_bytes = user.len() as u8;
        Ok(Row { id, owner, user_bytes, status, quantity, expires_at_ms, version, changed_at_ms })
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
        Ok(Reserve { id, quantity, user, key, trace: None })
    }

    /// What [`put_command`] wrote of a trace. What is none is damaged: it would not have been written.
    fn trace(&mut self) -> Result<Option<Arc<Trace>>, Malformed> {
        let (id, parent) = (self.text("request id")?, self.text("traceparent")?);
        let trace = Trace::from_texts(id, parent).ok_or(Malformed("trace"))?;
        let whole = trace.request_id().unwrap_or_default() == id
            && trace.parent().unwrap_or_default() == parent;
        check(whole, Some(Arc::new(trace)), "trace")
    }

    fn take_stock(&mut self) -> Result<Command, Malformed> {
        let units = self.u64("units")?;
        let at_most = self.byte("units")?;
        check(at_most <= 1, Command::TakeStock { units, at_most: at_most == 1 }, "units")
    }

    fn terms(&mut self) -> Result<Terms, Malformed> {
        let named = self.byte("terms")?;
        let mut terms = Terms::default();
        if named & CLOSING != 0 {
            terms.closes_at_ms = Some(self.u64("closing")?);
        }
        if named & HOLD != 0 {
            terms.hold_ms = Some(self.u64("hold time")?);
        }
        if named & LIMIT != 0 {
            terms.limit_per_user = Some(self.u32("limit")?);
        }
        if named & QUANTITY != 0 {
            terms.quantity_max = Some(self.u32("maximum quantity")?);
        }
        let known = named <= CLOSING | HOLD | LIMIT | QUANTITY;
        check(known && terms.check().is_ok(), terms, "terms")
    }

    /// The next entry of a journal record.
    pub(super) fn entry(&mut self) -> Result<Entry, Malformed> {
        let command = match self.byte("entry")? {
            SALE => return self.sale().map(Entry::Sale),
            EXPIRED => return Ok(Entry::Expired { units: self.u64("units")? }),
            JUMP => return Ok(Entry::Jump { to: self.u64("number")? }),
            RESERVE => Command::Reserve(self.reserve()?),
            RESERVE_TRACED => {
                let reserve = self.reserve()?;
                Command::Reserve(Reserve { trace: self.trace()?, ..reserve })
            }
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
            _ => return Err(Malformed("entry")),
        };
        Ok(Entry::Command(command))
    }
}

fn check<T>(legal: bool, value: T, what: &'static str) -> Result<T, Malformed> {
    if legal { Ok(value) } else { Err(Malformed(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn command() -> impl Strategy<Value = Command> {
        let id = any::<u128>().prop_map(ReservationId);
        let user = proptest::option::of("[a-z张]{1,40}".prop_map(|t| User::new(&t).unwrap()));
        let key = proptest::option::of("[a-z0-9]{1,255}".prop_map(|t| Key::new(&t).unwrap()));
        let parent = "00-[1-9a-f]{32}-[1-9a-f]{16}-0[01]";
        let trace = proptest::option::of(("[!-~]{0,128}", proptest::option::of(parent)));
        let reserve = (id.clone(), 1..=QUANTITY_MAX, user, key, trace).prop_map(
            |(id, quantity, user, key, trace)| {
                let trace = trace.and_then(|(id, parent)| {
                    Trace::from_texts(&id, &parent.unwrap_or_default()).map(Arc::new)
                });
                Command::Reserve(Reserve { id, quantity, user, key, trace })
            },
        );
        prop_oneof![
            reserve,
            id.clone().prop_map(Command::Confirm),
            id.clone().prop_map(Command::Cancel),
            id.prop_map(Command::Refund),
            any::<u64>().prop_map(Command::AddStock),
            (any::<u64>(), any::<bool>())
                .prop_map(|(units, at_most)| Command::TakeStock { units, at_most }),
            terms().prop_map(Command::ChangeTerms),
            Just(Command::Open),
            Just(Command::Close),
            Just(Command::Remove),
            (0..TOTAL_MAX).prop_map(|total| Command::Create(SaleSpec::with_total(total))),
        ]
    }

    fn terms() -> impl Strategy<Value = Terms> {
        let closes_at_ms = proptest::option::of(0..=TIME_MS_MAX);
        let hold_ms = proptest::option::of(1..=HOLD_MS_MAX);
        let limit_per_user = proptest::option::of(any::<u32>());
        let quantity_max = proptest::option::of(1..=QUANTITY_MAX);
        (closes_at_ms, hold_ms, limit_per_user, quantity_max).prop_map(
            |(closes_at_ms, hold_ms, limit_per_user, quantity_max)| Terms {
                closes_at_ms,
                hold_ms,
                limit_per_user,
                quantity_max,
            },
        )
    }

    proptest! {
        #[test]
        fn commands_round_trip(commands in proptest::collection::vec(command(), 0..20)) {
            let mut bytes = Vec::new();
            for command in &commands {
                let before = bytes.len();
                put_command(&mut bytes, command);
                prop_assert!(bytes.len() - before + 2 + SALE_ID_BYTES_MAX <= COMMAND_BYTES_MAX);
            }
            let mut reader = Reader::new(&bytes);
            for command in commands {
                prop_assert_eq!(reader.entry(), Ok(Entry::Command(command)));
            }
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() && reader.entry().is_ok() {}
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() && reader.row().is_ok() {}
            let _ = Reader::new(&bytes).spec();
        }
    }

    #[test]
    fn rows_round_trip() {
        for (owner, user_bytes) in [("", 0), ("annkey", 3), ("ann", 3), ("key", 0)] {
            for status in Status::ALL {
                let id = ReservationId(u128::MAX / 7);
                let owner = owner.into();
                let row = Row {
                    id,
                    owner,
                    user_bytes,
                    status,
                    quantity: 3,
                    expires_at_ms: 9,
                    version: 7,
                    changed_at_ms: 8,
                };
                let mut bytes = Vec::new();
                put_row(&mut bytes, &row);
                assert!(bytes.len() as u64 >= ROW_BYTES_MIN);
                assert_eq!(Reader::new(&bytes).row(), Ok(row));
                for end in 0..bytes.len() {
                    assert!(Reader::new(&bytes[..end]).row().is_err());
                }
            }
        }
    }
}
