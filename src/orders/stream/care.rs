//! Maintains a group: claims entries of workers that died, removes their names, and trims what
//! every group has processed.

use std::time::{Duration, Instant};

use redis::Value;

use super::{ENTRIES_MAX, EntryId, Pipeline, SourceError, StreamSource, entries, text};
use crate::ledger::redis::trim_command;
use crate::limits::STREAM_TRIM_MAX;
use crate::orders::entry::log_deleted;
use crate::sale::Change;

/// Streams maintained per round trip.
const CARE_PER_ROUND: usize = 256;
/// The time between two maintenances of a stream without acknowledged entries.
const IDLE_INTERVAL: Duration = Duration::from_secs(600);
/// The time between two trimmings of a stream that has more to trim.
const TRIM_ON_INTERVAL: Duration = Duration::from_millis(100);
/// Removes workers without entries from the group, since removing a worker drops its entries.
/// Removes either the one that is named (ARGV[2]), or all others that were not seen for ARGV[3] ms.
/// In one step, since a worker may come back between two.
const REMOVE_CONSUMERS: &str = "\
local removed = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local at = {}
  for i = 1, #consumer, 2 do at[consumer[i]] = consumer[i + 1] end
  local goes
  if ARGV[3] then
    goes = at.name ~= ARGV[2] and at.idle > tonumber(ARGV[3])
  else
    goes = at.name == ARGV[2]
  end
  if at.pending == 0 and goes then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], at.name)
    removed = removed + 1
  end
end
return removed";

impl StreamSource {
    /// Claims entries and maintains streams that are due.
    pub(super) fn care(&mut self, out: &mut Vec<Change>) -> Result<(), SourceError> {
        let now = Instant::now();
        let all = 0..self.streams.len();
        let claims: Vec<usize> = all
            .clone()
            .filter(|&at| self.streams[at].claim_at <= now && !self.options.alone)
            .take(CARE_PER_ROUND)
            .collect();
        if !claims.is_empty() {
            self.claim(&claims, out)?;
        }
        let due: Vec<usize> = all
            .filter(|&at| self.streams[at].care_at <= now && self.streams[at].grouped)
            .take(CARE_PER_ROUND)
            .collect();
        if !due.is_empty() {
            self.tidy(&due)?;
        }
        Ok(())
    }

    /// Claims entries that workers have had for too long.
    fn claim(&mut self, due: &[usize], out: &mut Vec<Change>) -> Result<(), SourceError> {
        let idle_ms = self.options.claim_after.as_millis().to_string();
        let (group, consumer) = (self.options.group.clone(), self.options.consumer.clone());
        let count = ENTRIES_MAX.to_string();
        let mut claims = Pipeline::new();
        for &at in due {
            claims.add(&[
                b"XAUTOCLAIM",
                self.streams[at].key.as_bytes(),
                group.as_bytes(),
                consumer.as_bytes(),
                idle_ms.as_bytes(),
                b"0",
                b"COUNT",
                count.as_bytes(),
            ]);
        }
        let replies = self.exchange(&claims)?;
        for (&at, reply) in due.iter().zip(replies) {
            self.streams[at].claim_at = Instant::now() + self.options.claim_after / 2;
            // Without a group there is nothing to claim. Reading reports any other error.
            let Value::Array(parts) = reply else { continue };
            let mut parts = parts.into_iter();
            let more = parts.next().is_some_and(|cursor| text(&cursor) != Some("0-0"));
            let found = parts.next().and_then(entries).unwrap_or_default();
            let known = |id: EntryId| (self.streams[at].sale.clone(), id);
            let fresh: Vec<_> =
                found.into_iter().filter(|e| !self.unreadable.contains(&known(e.id))).collect();
            let sale = &self.streams[at].sale;
            if let Some(Value::Array(deleted)) = parts.next() {
                for id in deleted.iter().filter_map(text) {
                    log_deleted(sale, id);
                }
            }
            if !fresh.is_empty() {
                tracing::info!(%sale, entries = fresh.len(), "claimed entries of a dead worker");
                // There may be more of them.
                if more {
                    self.streams[at].claim_at = Instant::now();
                }
            }
            for entry in fresh {
                self.take_entry(at, entry, out);
            }
        }
        Ok(())
    }

    /// Removes dead workers, and trims.
    fn tidy(&mut self, due: &[usize]) -> Result<(), SourceError> {
        let gone_after = self.options.gone_after.max(self.options.claim_after * 2);
        let gone_ms = gone_after.as_millis().to_string();
        let mut tidy = Pipeline::new();
        let keys = self.client.codec().keys();
        for &at in due {
            let stream = &mut self.streams[at];
            stream.dirty = false;
            stream.care_at = Instant::now() + IDLE_INTERVAL;
            let (group, consumer) = (&self.options.group, &self.options.consumer);
            // A stream without our group replies with an error, which does not matter.
            tidy.add(&[
                b"EVAL",
                REMOVE_CONSUMERS.as_bytes(),
                b"1",
                stream.key.as_bytes(),
                group.as_bytes(),
                consumer.as_bytes(),
                gone_ms.as_bytes(),
            ]);
            let trim = trim_command(&keys.of(&stream.sale), &self.groups);
            tidy.add(&trim.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        let replies = self.exchange(&tidy)?;
        self.note_refusals(&replies);
        for (&at, trimmed) in due.iter().zip(replies.iter().skip(1).step_by(2)) {
            // There is more to trim than one script may.
            if matches!(trimmed, Value::Int(count) if *count as usize >= STREAM_TRIM_MAX / 2) {
                self.streams[at].care_at = Instant::now() + TRIM_ON_INTERVAL;
            }
        }
        Ok(())
    }

    /// Logs once that Redis refuses a script: without it the streams grow without bound.
    fn note_refusals(&mut self, replies: &[Value]) {
        // A stream or group that does not exist yet does not matter.
        let is_new = |told: &str| told.contains("NOGROUP") || told.contains("no such key");
        let refused = replies.iter().find_map(|reply| match reply {
            Value::ServerError(error) => {
                let told = format!("{} {}", error.code(), error.details().unwrap_or_default());
                (!is_new(&told)).then_some(told)
            }
            _ => None,
        });
        let Some(reason) = refused else { return };
        if !std::mem::replace(&mut self.care_refused, true) {
            let needs = "EVAL, XINFO CONSUMERS, XGROUP DELCONSUMER, XTRIM, HINCRBY";
            tracing::warn!(%reason, needs, "streams can't be trimmed or dead workers removed");
        }
    }

    /// Removes this worker's name from the group, where it has no entry. Otherwise others claim its
    /// entries first, and remove the name later.
    pub(super) fn remove_itself(&mut self) {
        let (group, consumer) = (&self.options.group, &self.options.consumer);
        let grouped = self.streams.iter().filter(|stream| stream.grouped).collect::<Vec<_>>();
        let mut rounds = Vec::new();
        for streams in grouped.chunks(CARE_PER_ROUND) {
            let mut remove = Pipeline::new();
            for stream in streams {
                remove.add(&[
                    b"EVAL",
                    REMOVE_CONSUMERS.as_bytes(),
                    b"1",
                    stream.key.as_bytes(),
                    group.as_bytes(),
                    consumer.as_bytes(),
                ]);
            }
            rounds.push(remove);
        }
        for remove in rounds {
            if self.exchange(&remove).is_err() {
                // Redis is away: another worker removes the name when it is old.
                return;
            }
        }
    }
}
