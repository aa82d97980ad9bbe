//! What keeps a group healthy beside reading: entries of workers that died are claimed, their names
//! removed, and what every group has processed is trimmed.

use std::time::{Duration, Instant};

use redis::Value;

use super::{ENTRIES_MAX, EntryId, Pipeline, SourceError, StreamSource, entries, text};
use crate::ledger::redis::trim_command;
use crate::limits::STREAM_TRIM_MAX;
use crate::sale::Change;

/// Streams looked after in one round trip.
const CARE_PER_ROUND: usize = 256;
/// Time until a stream is cared for of which something was acknowledged.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// Time between two cares for any other.
const IDLE_INTERVAL: Duration = Duration::from_secs(600);
/// Time between two trimmings of a stream that has more to trim.
const TRIM_ON_INTERVAL: Duration = Duration::from_millis(100);
/// A worker without entries that has not been heard of for this long is gone. Living ones ask every
/// second.
const CONSUMER_GONE: Duration = Duration::from_secs(3600);

/// Removes workers that are gone, but none that has an entry: those would go with it. In one step,
/// since a worker may come back between two.
const REMOVE_CONSUMERS: &str = "\
local removed = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local at = {}
  for i = 1, #consumer, 2 do at[consumer[i]] = consumer[i + 1] end
  if at.pending == 0 and at.idle > tonumber(ARGV[2]) and at.name ~= ARGV[3] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], at.name)
    removed = removed + 1
  end
end
return removed";

impl StreamSource {
    /// Claims and cares where it is time to.
    pub(super) fn care(&mut self, out: &mut Vec<Change>) -> Result<(), SourceError> {
        let now = Instant::now();
        let all = 0..self.streams.len();
        let claims: Vec<usize> = all
            .clone()
            .filter(|&at| self.streams[at].claim_at <= now)
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

    /// Takes over what workers have had for too long.
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
            // No group: there is nothing to claim. What else goes wrong, reading meets and tells.
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
                    tracing::error!(%sale, entry = id, "an entry of the stream was deleted before it \
                        was written to the orders; `stampede audit` shows what they lack");
                }
            }
            if !fresh.is_empty() {
                tracing::info!(%sale, entries = fresh.len(), "took over from a worker that is gone");
                // There may be more of it.
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

    /// Removes workers that are gone, and trims.
    fn tidy(&mut self, due: &[usize]) -> Result<(), SourceError> {
        let gone_ms = CONSUMER_GONE.max(self.options.claim_after * 2).as_millis().to_string();
        let mut tidy = Pipeline::new();
        let keys = self.client.codec().keys();
        for &at in due {
            let stream = &mut self.streams[at];
            stream.dirty = false;
            stream.care_at = Instant::now() + IDLE_INTERVAL;
            let (group, consumer) = (&self.options.group, &self.options.consumer);
            // A stream without our group answers with an error, which is no matter.
            tidy.add(&[
                b"EVAL",
                REMOVE_CONSUMERS.as_bytes(),
                b"1",
                stream.key.as_bytes(),
                group.as_bytes(),
                gone_ms.as_bytes(),
                consumer.as_bytes(),
            ]);
            let trim = trim_command(&keys.of(&stream.sale), &self.groups);
            tidy.add(&trim.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
        let replies = self.exchange(&tidy)?;
        for (&at, trimmed) in due.iter().zip(replies.iter().skip(1).step_by(2)) {
            // There is more to trim than one script may.
            if matches!(trimmed, Value::Int(count) if *count as usize >= STREAM_TRIM_MAX / 2) {
                self.streams[at].care_at = Instant::now() + TRIM_ON_INTERVAL;
            }
        }
        Ok(())
    }
}
