//! A group with one worker, so that the changes of a reservation stay in order: nobody else may
//! read for it at the same time, and entries that an earlier worker did not finish come first.

use redis::Value;

use super::{ENTRIES_MAX, Pipeline, SourceError, StreamSource, text};
use crate::duration::format_duration;
use crate::limits::CONSUMER_ALIVE_MS;
use crate::orders::entry::{log_deleted, member, number};

/// Streams per round trip. A worker reads all streams of its group in turn, so these suffice to
/// find another one.
const STREAMS_PER_ROUND: usize = 256;

impl StreamSource {
    /// Checks that no other worker of the group is alive, if there may be only one.
    pub(super) fn check_alone(&mut self) -> Result<(), SourceError> {
        if !self.options.alone {
            return Ok(());
        }
        let there = self.streams.iter().filter(|stream| !stream.gone);
        let mut ask = Pipeline::new();
        let group = self.options.group.as_bytes();
        for stream in there.take(STREAMS_PER_ROUND) {
            ask.add(&[b"XINFO", b"CONSUMERS", stream.key.as_bytes(), group]);
        }
        // A stream that is missing, or has no group yet, has no reader.
        for reply in self.exchange(&ask)? {
            let Value::Array(workers) = reply else { continue };
            let other = workers.iter().find_map(|worker| self.other_alive(worker));
            if let Some((name, idle_ms)) = other {
                return Err(SourceError::Fatal(format!(
                    "the group {} has another worker, {name}, which was active {} ago. A group of \
                     webhooks has one worker, or a reservation's webhooks would arrive out of \
                     order: stop that worker and wait for {}, or use another --group",
                    self.options.group,
                    format_duration(idle_ms / 1_000 * 1_000),
                    format_duration(CONSUMER_ALIVE_MS)
                )));
            }
        }
        Ok(())
    }

    /// Another worker's name, and how long ago it was seen, if it is alive.
    fn other_alive(&self, worker: &Value) -> Option<(String, u64)> {
        let Value::Array(fields) = worker else { return None };
        let name = member(fields, "name").and_then(text)?;
        let idle_ms = member(fields, "idle").and_then(number)?;
        let is_alive = name != self.options.consumer && idle_ms < CONSUMER_ALIVE_MS;
        is_alive.then(|| (name.to_owned(), idle_ms))
    }

    /// Takes over all entries that dead workers of the group did not finish. They are read with our
    /// own pending entries, in the order of the stream, before anything new.
    pub(super) fn take_over(&mut self) -> Result<(), SourceError> {
        for from in (0..self.streams.len()).step_by(STREAMS_PER_ROUND) {
            let round = from..(from + STREAMS_PER_ROUND).min(self.streams.len());
            let mut ask = Pipeline::new();
            let group = self.options.group.as_bytes();
            for at in round.clone() {
                ask.add(&[b"XPENDING", self.streams[at].key.as_bytes(), group]);
            }
            let replies = self.exchange(&ask)?;
            for (at, reply) in round.zip(replies) {
                if self.others_have(&reply) {
                    self.take_over_stream(at)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the reply to an XPENDING of a whole group names another worker.
    fn others_have(&self, reply: &Value) -> bool {
        let Value::Array(parts) = reply else { return false };
        let Some(Value::Array(workers)) = parts.get(3) else { return false };
        workers.iter().any(|worker| match worker {
            Value::Array(pair) => {
                pair.first().and_then(text).is_some_and(|name| name != self.options.consumer)
            }
            _ => false,
        })
    }

    fn take_over_stream(&mut self, at: usize) -> Result<(), SourceError> {
        let count = ENTRIES_MAX.to_string();
        let mut cursor = "0-0".to_owned();
        let mut entries = 0;
        loop {
            let (key, group) = (self.streams[at].key.as_bytes(), self.options.group.as_bytes());
            let consumer = self.options.consumer.as_bytes();
            let mut claim = Pipeline::new();
            claim.add(&[
                b"XAUTOCLAIM",
                key,
                group,
                consumer,
                b"0",
                cursor.as_bytes(),
                b"COUNT",
                count.as_bytes(),
                b"JUSTID",
            ]);
            let Some(Value::Array(parts)) = self.exchange(&claim)?.pop() else { break };
            let mut parts = parts.into_iter();
            let next = parts.next().as_ref().and_then(text).unwrap_or("0-0").to_owned();
            if let Some(Value::Array(claimed)) = parts.next() {
                entries += claimed.len();
            }
            let sale = &self.streams[at].sale;
            if let Some(Value::Array(deleted)) = parts.next() {
                deleted.iter().filter_map(text).for_each(|id| log_deleted(sale, id));
            }
            cursor = next;
            if cursor == "0-0" {
                break;
            }
        }
        let sale = &self.streams[at].sale;
        tracing::info!(%sale, entries, "claimed entries of a dead worker");
        Ok(())
    }
}
