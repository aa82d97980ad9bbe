//! One entry of a sale's stream: the changes of one batch, as the scripts write them.
//!
//! Fields: `at_ms`, the ledger's time, and `reservations`, one [line](parse_line) per changed
//! reservation. The entry's id is the version of all of them. There may be `traces`: one line per
//! reservation whose request has a trace, with the reservation's id, the request's id and its
//! `traceparent`, separated by spaces. 0.1.0 ignores it, as every field that it does not know.

use std::fmt::Display;
use std::sync::Arc;

use hashbrown::HashMap;
use redis::Value;

use crate::ledger::redis::{EntryId, parse_line, text};
use crate::limits::TIME_MS_MAX;
use crate::log_throttle::LogThrottle;
use crate::sale::{Change, Key, Reservation, ReservationId, SaleId};
use crate::trace::Trace;

/// An entry in a reply of Redis: its id, and its fields unless it was deleted.
pub(super) struct StreamEntry {
    pub id: EntryId,
    /// Name, value, name, value, ...; `None`: it is pending but was deleted.
    pub fields: Option<Vec<Value>>,
}

/// Parses a list of entries. `None`: it is no such list.
pub(super) fn entries(value: Value) -> Option<Vec<StreamEntry>> {
    match value {
        Value::Nil => Some(Vec::new()),
        Value::Array(list) => list.into_iter().map(entry).collect(),
        _ => None,
    }
}

fn entry(value: Value) -> Option<StreamEntry> {
    let Value::Array(pair) = value else { return None };
    let mut pair = pair.into_iter();
    let id = EntryId::parse(text(&pair.next()?)?)?;
    match pair.next()? {
        Value::Nil => Some(StreamEntry { id, fields: None }),
        Value::Array(fields) => Some(StreamEntry { id, fields: Some(fields) }),
        _ => None,
    }
}

/// A member of a map that Redis returns as name, value, name, value, ...
pub(super) fn member<'a>(map: &'a [Value], name: &str) -> Option<&'a Value> {
    map.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name)).map(|pair| &pair[1])
}

/// A number, if it is not negative.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// Appends the changes in an entry's fields to `out`. Readable changes are appended even if others
/// can't be read; the error says what is wrong.
pub(super) fn changes(
    sale: &SaleId,
    id: EntryId,
    fields: &[Value],
    out: &mut Vec<Change>,
) -> Result<(), String> {
    let field = |name: &str| {
        let value = member(fields, name);
        value.map(|value| text(value).ok_or_else(|| format!("its field {name} is not UTF-8")))
    };
    let lines = field("reservations").ok_or("it has no field reservations")??;
    let at_ms = match field("at_ms") {
        Some(text) => text?.parse().ok().filter(|ms| *ms <= TIME_MS_MAX),
        None => Some(id.ms),
    };
    let at_ms = at_ms.ok_or("its field at_ms is no time")?;
    let traces = traces(member(fields, "traces").and_then(text).unwrap_or_default());
    let mut wrong = None;
    for text in lines.lines() {
        match line(text) {
            Ok((reservation, key)) => out.push(Change {
                sale: sale.clone(),
                trace: traces.get(&reservation.id).cloned(),
                reservation,
                key,
                at_ms,
                version: id.version(),
            }),
            Err(why) => wrong = wrong.or(Some(format!("{why} in the line {text:?}"))),
        }
    }
    wrong.map_or(Ok(()), Err)
}

/// Logs that an entry is lost: at most once in a while, since there may be many.
pub(super) fn log_deleted(sale: &SaleId, entry: impl Display) {
    static DELETED: LogThrottle = LogThrottle::new();
    if let Some(left_out) = DELETED.now() {
        tracing::error!(%sale, %entry, left_out, "stream entry deleted before it was written");
    }
}

/// Skips lines that can't be read: the order matters more.
fn traces(lines: &str) -> HashMap<ReservationId, Arc<Trace>> {
    let read = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let id = ReservationId::from_text(words.next()?.as_bytes()).ok()?;
        let trace = Trace::from_texts(words.next()?, words.next()?)?;
        Some((id, Arc::new(trace)))
    };
    lines.lines().filter_map(read).collect()
}

fn line(text: &str) -> Result<(Reservation, Option<Key>), &'static str> {
    let (reservation, key) = parse_line(text).ok_or("nothing that makes a reservation")?;
    if reservation.quantity == 0 {
        return Err("a quantity of 0");
    }
    if reservation.expires_at_ms > TIME_MS_MAX {
        return Err("a deadline beyond all time");
    }
    Ok((reservation, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::User;

    const ID: &str = "01234567890123456789abcdef";

    fn read(pairs: &[(&str, &str)]) -> (Vec<Change>, Result<(), String>) {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields: Vec<_> = pairs.iter().flat_map(|(n, v)| [bulk(n), bulk(v)]).collect();
        let mut out = Vec::new();
        let sale = SaleId::new("ticket").unwrap();
        let done = changes(&sale, EntryId { ms: 5, sequence: 3 }, &fields, &mut out);
        (out, done)
    }

    #[test]
    fn owners_are_a_user_a_key_or_both() {
        let lines = ["", " ann smith", " ann smith\ta key", " \ta key"]
            .map(|owner| format!("{ID} held 2 99{owner}\n"))
            .concat();
        let (changes, done) = read(&[("at_ms", "7"), ("reservations", &lines)]);
        assert_eq!(done, Ok(()));
        let owners: Vec<_> = changes
            .iter()
            .map(|c| {
                let user = c.reservation.user.as_ref().map(User::as_str);
                (user, c.key.as_ref().map(Key::as_str))
            })
            .collect();
        let (ann, key) = (Some("ann smith"), Some("a key"));
        assert_eq!(owners, [(None, None), (ann, None), (ann, key), (None, key)]);
        let one = &changes[0];
        assert_eq!((one.at_ms, one.version, one.reservation.quantity), (7, 5 << 20 | 3, 2));
        assert_eq!(one.reservation.id.to_string(), ID);
    }

    #[test]
    fn readable_lines_are_kept_beside_unreadable_ones() {
        let lines = format!("{ID} held 2 99\n{ID} lost 2 99\nx\n{ID} expired 1 99\n");
        let (changes, done) = read(&[("reservations", &lines)]);
        assert_eq!(changes.len(), 2);
        assert!(done.unwrap_err().contains("lost 2 99"));
        for (fields, told) in [
            (&[("other", "")][..], "no field reservations"),
            (&[("reservations", ""), ("at_ms", "x")], "no time"),
            (&[("reservations", "x")], "nothing that makes"),
            (&[("reservations", &format!("{ID} held 0 99"))], "a quantity of 0"),
            (&[("reservations", &format!("{ID} held 1"))], "nothing that makes"),
            (&[("reservations", &format!("{ID} held 1 999999999999999"))], "beyond all time"),
        ] {
            let (changes, done) = read(fields);
            assert!(changes.is_empty() && done.as_ref().unwrap_err().contains(told), "{done:?}");
        }
    }
}
