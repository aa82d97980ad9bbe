//! Measures the lag of a group: entries that were delivered to no worker, and entries that were
//! delivered and not acknowledged.

use redis::Value;

use super::{EntryId, Lag, Pipeline, SourceError, StreamSource, entries, text};
use crate::orders::entry::{member, number};

/// Entries counted one by one where Redis has lost count (somebody deleted one).
const COUNTED_MAX: usize = 1_000;
/// Streams per round trip.
const STREAMS_PER_ROUND: usize = 1_000;

/// The state of our group at one stream.
struct Behind {
    stream: usize,
    delivered: String,
    pending: u64,
    /// `None`: Redis does not know.
    undelivered: Option<u64>,
}

impl StreamSource {
    /// Exact, over every stream: two round trips per thousand of them.
    pub(super) fn measure_lag(&mut self) -> Result<Lag, SourceError> {
        let mut lag = Lag::default();
        let now_ms = self.redis_now_ms()?;
        for from in (0..self.streams.len()).step_by(STREAMS_PER_ROUND) {
            let to = (from + STREAMS_PER_ROUND).min(self.streams.len());
            let behind = self.groups(from..to)?;
            if behind.is_empty() {
                continue;
            }
            let mut oldest = Pipeline::new();
            for one in &behind {
                let key = self.streams[one.stream].key.as_bytes();
                let after = format!("({}", one.delivered);
                let count = if one.undelivered.is_none() { COUNTED_MAX } else { 1 }.to_string();
                let group = self.options.group.as_bytes();
                let sale = &self.streams[one.stream].sale;
                let has_unreadable = self.unreadable.iter().any(|(of, _)| of == sale);
                let looked_at = if has_unreadable { COUNTED_MAX } else { 1 }.to_string();
                oldest.add(&[b"XPENDING", key, group, b"-", b"+", looked_at.as_bytes()]);
                oldest.add(&[b"XRANGE", key, after.as_bytes(), b"+", b"COUNT", count.as_bytes()]);
            }
            let replies = self.exchange(&oldest)?;
            for (one, pair) in behind.iter().zip(replies.chunks_exact(2)) {
                let waiting = entries(pair[1].clone()).unwrap_or_default();
                let sale = &self.streams[one.stream].sale;
                let known = |id: &EntryId| self.unreadable.contains(&(sale.clone(), *id));
                let (unreadable, pending): (Vec<_>, Vec<_>) =
                    pending_ids(&pair[0]).into_iter().partition(known);
                lag.entries += one.pending.saturating_sub(unreadable.len() as u64);
                lag.entries += one.undelivered.unwrap_or(waiting.len() as u64);
                let ids = pending.into_iter().chain(waiting.first().map(|entry| entry.id));
                let oldest_ms = ids.map(|id| now_ms.saturating_sub(id.ms)).max();
                lag.oldest_ms = lag.oldest_ms.max(oldest_ms.unwrap_or(0));
            }
        }
        Ok(lag)
    }

    fn redis_now_ms(&mut self) -> Result<u64, SourceError> {
        let reply = self.exchange(Pipeline::new().add(&[b"TIME"]))?;
        let Some(Value::Array(parts)) = reply.first() else { return Ok(0) };
        let number = |at: usize| parts.get(at).and_then(text).and_then(|n| n.parse::<u64>().ok());
        Ok(number(0).unwrap_or(0) * 1_000 + number(1).unwrap_or(0) / 1_000)
    }

    /// Streams with which our group is not done.
    fn groups(&mut self, streams: std::ops::Range<usize>) -> Result<Vec<Behind>, SourceError> {
        let mut ask = Pipeline::new();
        for at in streams.clone() {
            ask.add(&[b"XINFO", b"GROUPS", self.streams[at].key.as_bytes()]);
            ask.add(&[b"XLEN", self.streams[at].key.as_bytes()]);
        }
        let replies = self.exchange(&ask)?;
        let mut behind = Vec::new();
        for (stream, pair) in streams.zip(replies.chunks_exact(2)) {
            let Value::Array(groups) = &pair[0] else { continue };
            let ours = groups.iter().find_map(|group| {
                let Value::Array(fields) = group else { return None };
                let field = |name: &str| member(fields, name);
                (field("name").and_then(text) == Some(self.options.group.as_str())).then(|| {
                    Behind {
                        stream,
                        delivered: field("last-delivered-id")
                            .and_then(text)
                            .unwrap_or("0")
                            .to_owned(),
                        pending: field("pending").and_then(number).unwrap_or(0),
                        undelivered: field("lag").and_then(number),
                    }
                })
            });
            match ours {
                Some(ours) if ours.pending == 0 && ours.undelivered == Some(0) => {}
                Some(ours) => behind.push(ours),
                // No group yet: every entry is undelivered.
                None => match number(&pair[1]) {
                    Some(0) | None => {}
                    undelivered => behind.push(Behind {
                        stream,
                        delivered: "0".into(),
                        pending: 0,
                        undelivered,
                    }),
                },
            }
        }
        Ok(behind)
    }
}

/// The ids in the reply to an XPENDING with a range.
fn pending_ids(value: &Value) -> Vec<EntryId> {
    let Value::Array(list) = value else { return Vec::new() };
    let id = |one: &Value| match one {
        Value::Array(parts) => parts.first().and_then(text).and_then(EntryId::parse),
        _ => None,
    };
    list.iter().filter_map(id).collect()
}
