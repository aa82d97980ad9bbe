//! Parses the replies of Redis for an audit, without judging them.

use redis::Value;

use crate::ledger::LedgerError;
use crate::ledger::format::FORMAT;
use crate::ledger::redis::entry_id::EntryId;
use crate::ledger::redis::keys::is_of_webhooks;
use crate::ledger::redis::line::number;
use crate::limits::{
    EXTEND_MAX_MS_DEFAULT, HOLD_MS_DEFAULT, HOLD_MS_MAX, QUANTITY_MAX, QUANTITY_MAX_DEFAULT,
    TIME_MS_MAX, TOTAL_MAX,
};
use crate::sale::{Creation, Rules, SaleSpec, SaleView, Split, Transfers, TypeUnits, Types};

/// A consumer group.
#[derive(Debug, Clone)]
pub(super) struct GroupPosition {
    pub(super) delivered: EntryId,
    /// The first entry that was delivered and not acknowledged.
    pub(super) pending: Option<EntryId>,
}

/// The snapshot that `lua/audit_snapshot.lua` takes.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) now_ms: u64,
    pub(super) exists: bool,
    pub(super) total: Option<String>,
    pub(super) sold: Option<String>,
    pub(super) held: Option<String>,
    /// `hold_ms`, `opens_at_ms`, `closes_at_ms`, `limit_per_user`, `quantity_max`.
    /// Then `extend_max_ms`, `quantity_min`, `reservations_max`, `reservations_per_user_max`.
    settings: [Option<String>; 9],
    /// The ticket types, and the counts of each.
    types: Option<String>,
    pub(super) by_type: Option<String>,
    pub(super) trimmed: u64,
    pub(super) repairs: u64,
    /// A repair has added lost changes to the stream again.
    restated: bool,
    pub(super) length: u64,
    pub(super) last: EntryId,
    pub(super) added: u64,
    /// Groups that write orders.
    pub(super) groups: Vec<GroupPosition>,
    /// Other groups read the stream too, for webhooks.
    has_webhooks: bool,
    pub(super) claims: Vec<Option<String>>,
    pub(super) users: Vec<Option<String>>,
    pub(super) scores: Vec<Option<String>>,
}

impl Snapshot {
    pub(super) fn parse(reply: Value) -> Result<Self, LedgerError> {
        let mut reply = list(reply)?.into_iter();
        let mut next = || reply.next().ok_or_else(|| odd("a look"));
        let now_ms = count(next()?)?;
        let exists = count(next()?)? == 1;
        let [total, sold] = fixed(texts(next()?)?)?;
        let [
            held,
            hold,
            opens,
            closes,
            limit,
            quantity,
            trimmed,
            repairs,
            retold,
            format,
            extend_max,
            quantity_min,
            reservations_max,
            reservations_per_user_max,
            types,
            by_type,
        ] = fixed(texts(next()?)?)?;
        check_format(format.as_deref())?;
        let [length, last, added] = fixed(texts(next()?)?)?;
        let (mut groups, mut has_webhooks) = (Vec::new(), false);
        for group in list(next()?)? {
            let [name, delivered, pending] = fixed(texts(group)?)?;
            if name.as_deref().is_some_and(is_of_webhooks) {
                has_webhooks = true;
                continue;
            }
            let pending = pending.filter(|pending| !pending.is_empty());
            groups.push(GroupPosition {
                delivered: entry(delivered)?,
                pending: pending.map(|p| entry(Some(p))).transpose()?,
            });
        }
        let or_zero = |text: Option<String>| text.as_deref().map_or(Some(0), number);
        Ok(Self {
            now_ms,
            exists,
            total,
            sold,
            held,
            settings: [
                hold,
                opens,
                closes,
                limit,
                quantity,
                extend_max,
                quantity_min,
                reservations_max,
                reservations_per_user_max,
            ],
            types,
            by_type,
            trimmed: or_zero(trimmed).ok_or_else(|| unreadable("stream_trimmed"))?,
            repairs: or_zero(repairs).ok_or_else(|| unreadable("repairs"))?,
            restated: retold.is_some(),
            length: or_zero(length).ok_or_else(|| odd("a length"))?,
            last: entry(last)?,
            added: or_zero(added).ok_or_else(|| odd("entries-added"))?,
            groups,
            has_webhooks,
            claims: texts(next()?)?,
            users: texts(next()?)?,
            scores: texts(next()?)?,
        })
    }

    /// The sale as its hashes define it, with the default for each field that can't be read, and
    /// the names of those fields.
    pub(super) fn spec(&self) -> (SaleSpec, Vec<&'static str>) {
        let mut bad = Vec::new();
        let mut read = |i: usize, name, default, max| match self.settings[i].as_deref() {
            None => default,
            Some(text) => number(text).filter(|&n| n <= max).unwrap_or_else(|| {
                bad.push(name);
                default
            }),
        };
        let u32_max = u64::from(u32::MAX);
        let types = self.types.as_deref().map_or(Some(Types::default()), Types::from_text);
        let spec = SaleSpec {
            total: self.total.as_deref().and_then(number).unwrap_or(0).min(TOTAL_MAX),
            hold_ms: read(0, "hold_ms", HOLD_MS_DEFAULT, TIME_MS_MAX),
            opens_at_ms: read(1, "opens_at_ms", 0, TIME_MS_MAX),
            closes_at_ms: read(2, "closes_at_ms", TIME_MS_MAX, TIME_MS_MAX),
            limit_per_user: read(3, "limit_per_user", 0, u32_max) as u32,
            quantity_max: read(4, "quantity_max", u64::from(QUANTITY_MAX_DEFAULT), u32_max) as u32,
            split: Split::Whole,
            rules: Rules {
                extend_max_ms: read(5, "extend_max_ms", EXTEND_MAX_MS_DEFAULT, HOLD_MS_MAX),
                quantity_min: read(6, "quantity_min", 1, QUANTITY_MAX.into()) as u32,
                reservations_max: self.settings[7]
                    .is_some()
                    .then(|| read(7, "reservations_max", 0, TOTAL_MAX)),
                reservations_per_user_max: read(8, "reservations_per_user_max", 0, u32_max) as u32,
            },
            types: types.clone().unwrap_or_default(),
            plan: None,
        };
        if types.is_none() {
            bad.push("types");
        }
        (spec, bad)
    }

    /// The sold units, if the field is a number. Missing: 0.
    pub(super) fn sold_units(&self) -> Option<u64> {
        self.sold.as_deref().map_or(Some(0), number).filter(|&n| n <= TOTAL_MAX)
    }

    /// The held units, if the field is a number. Missing: 0.
    pub(super) fn held_units(&self) -> Option<u64> {
        self.held.as_deref().map_or(Some(0), number).filter(|&n| n <= TOTAL_MAX)
    }

    /// The sold units by ticket type, if the field has counts of the sale's types. A sale with
    /// types has the field before it sells.
    pub(super) fn type_units(&self) -> Option<Vec<TypeUnits>> {
        let count = self.spec().0.types.len();
        match self.by_type.as_deref() {
            None => (count == 0).then(Vec::new),
            Some(text) => TypeUnits::list_from_text(text).filter(|list| list.len() == count),
        }
    }

    /// The sale with its counts.
    pub(super) fn view(&self) -> SaleView {
        let held = self.held_units().unwrap_or(0);
        let confirmed = self.sold_units().unwrap_or(0).saturating_sub(held);
        let moves = Transfers::default();
        let (spec, creation) = (self.spec().0, Creation::UNKNOWN);
        let by_type =
            self.type_units().unwrap_or_else(|| vec![TypeUnits::default(); spec.types.len()]);
        SaleView { spec, held, confirmed, by_type, now_ms: self.now_ms, transfers: moves, creation }
    }

    /// Entries that are gone and that we did not trim.
    pub(super) fn entries_gone(&self) -> i64 {
        self.added as i64 - self.length as i64 - self.trimmed as i64
    }

    /// Whether the stream has had every change since the sale began, and still has them.
    pub(super) fn is_complete(&self) -> bool {
        self.added > 0 && self.trimmed == 0 && self.entries_gone() == 0 && !self.restated
    }

    /// Whether a group makes orders of the stream, or has made some of its former entries.
    pub(super) fn has_readers(&self) -> bool {
        !self.groups.is_empty() || self.trimmed > 0 && !self.has_webhooks
    }

    /// The version from which on some group that writes orders has undelivered changes.
    pub(super) fn undelivered_from(&self) -> Option<u64> {
        if self.groups.is_empty() {
            return (self.length > 0).then_some(0);
        }
        let behind = self.groups.iter().filter(|group| group.delivered < self.last);
        let next = behind.map(|group| group.delivered.version() + 1);
        let pending = self.groups.iter().filter_map(|group| Some(group.pending?.version()));
        next.chain(pending).min()
    }
}

/// The error for a reply of another shape.
pub(super) fn odd(what: &str) -> LedgerError {
    LedgerError::Refused(format!("Redis' reply can't be read: {what}"))
}

/// Data of a newer version would be judged by the wrong rules.
fn check_format(format: Option<&str>) -> Result<(), LedgerError> {
    let Some(text) = format else { return Ok(()) };
    match number(text) {
        Some(format) if format <= FORMAT.into() => Ok(()),
        Some(format) => Err(LedgerError::Refused(format!(
            "the sale has format {format}, which a newer version of stampede has written; this one, {}, reads \
             up to {FORMAT}: audit it with that",
            env!("CARGO_PKG_VERSION")
        ))),
        None => Err(unreadable("format")),
    }
}

fn unreadable(field: &str) -> LedgerError {
    LedgerError::Refused(format!("the field {field} of the sale's hash is no whole number"))
}

fn fixed<const N: usize>(texts: Vec<Option<String>>) -> Result<[Option<String>; N], LedgerError> {
    texts.try_into().map_err(|_| odd("its length"))
}

fn entry(text: Option<String>) -> Result<EntryId, LedgerError> {
    let text = text.unwrap_or_default();
    EntryId::parse(&text).ok_or_else(|| odd(&format!("an entry's id: {text:?}")))
}

pub(super) fn list(value: Value) -> Result<Vec<Value>, LedgerError> {
    match value {
        Value::Array(list) => Ok(list),
        Value::ServerError(error) => Err(LedgerError::Refused(error.to_string())),
        other => Err(odd(&format!("{other:?} for a list"))),
    }
}

/// A text; invalid UTF-8 becomes a text that equals no other.
pub(super) fn text(value: Value) -> Result<Option<String>, LedgerError> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Int(n) => n.to_string(),
        Value::BulkString(bytes) => String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        Value::SimpleString(text) => text,
        Value::ServerError(error) => return Err(LedgerError::Refused(error.to_string())),
        other => return Err(odd(&format!("{other:?} for a text"))),
    }))
}

fn texts(value: Value) -> Result<Vec<Option<String>>, LedgerError> {
    list(value)?.into_iter().map(text).collect()
}

fn count(value: Value) -> Result<u64, LedgerError> {
    text(value)?.as_deref().and_then(number).ok_or_else(|| odd("a count"))
}

/// A page of a scan: where the next one begins (0: at the end), and fields with their values.
pub(super) fn page(reply: Value) -> Result<(String, Vec<String>), LedgerError> {
    let mut reply = list(reply)?.into_iter();
    let cursor = reply.next().map(text).transpose()?.flatten().ok_or_else(|| odd("a cursor"))?;
    let values = reply.next().map(texts).transpose()?.ok_or_else(|| odd("a page"))?;
    let values: Vec<String> = values.into_iter().flatten().collect();
    Ok((cursor, values))
}

/// An entry of the stream: its id, its time, its lines.
pub(super) struct StreamEntry {
    pub(super) id: EntryId,
    pub(super) at_ms: u64,
    /// `None`: the entry has none.
    pub(super) lines: Option<String>,
}

/// A page of the stream.
pub(super) fn entries(reply: Value) -> Result<Vec<StreamEntry>, LedgerError> {
    let entries = list(reply)?.into_iter().map(|value| {
        let mut parts = list(value)?.into_iter();
        let id = entry(parts.next().map(text).transpose()?.flatten())?;
        let fields = parts.next().map(texts).transpose()?.unwrap_or_default();
        let field = |name: &str| {
            let mut pairs = fields.chunks_exact(2);
            pairs.find(|pair| pair[0].as_deref() == Some(name)).and_then(|pair| pair[1].clone())
        };
        let at_ms = field("at_ms").as_deref().and_then(number).unwrap_or(id.ms);
        Ok(StreamEntry { id, at_ms, lines: field("reservations") })
    });
    entries.collect()
}
