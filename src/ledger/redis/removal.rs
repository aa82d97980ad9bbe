//! Removes sales: only after every group has read their streams, and with a note.
//!
//! The orders of a removed sale stay in the database. A note of the time, in a sorted set beside
//! the index, distinguishes them from the orders of a sale that was lost.

use redis::Value;

use super::client::RedisClient;
use super::decode_error::error_text;
use super::entry_id::EntryId;
use super::index;
use super::keyspace::read;
use super::pipeline::Pipeline;
use crate::ledger::{Batch, LedgerError};
use crate::limits::REMOVED_SALES_MAX;
use crate::sale::{Command, SaleId};

/// Notes that a sale was removed, and drops the oldest such notes beyond ARGV[2] of them.
const NOTE_REMOVED: &str = "\
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('ZADD', KEYS[1], now, ARGV[1])
if #redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[2]) > 0 then
  redis.call('ZREM', KEYS[1], unpack(redis.call('ZRANGE', KEYS[1], 0, 0)))
end
return 1";

impl RedisClient {
    /// Checks that every known group reads the stream of a sale that is to be removed, since the
    /// stream goes with the sale. The script checks the groups that exist in the stream; this
    /// checks for groups that have not begun.
    pub(super) fn check_removal(&mut self, batch: &Batch) -> Result<(), LedgerError> {
        let forgets = |command: &Command| {
            matches!(command, Command::Remove | Command::Reset { force: false, .. })
        };
        for group in batch.groups.iter().filter(|group| group.commands.iter().any(forgets)) {
            let keys = self.codec().keys();
            let (groups, stream) = (keys.groups(), keys.of(&group.sale).stream());
            let mut ask = Pipeline::new();
            ask.add(&[b"SMEMBERS", groups.as_bytes()]);
            ask.add(&[b"XINFO", b"GROUPS", stream.as_bytes()]);
            let mut replies = self.pipeline(&ask)?;
            let begun = match replies.remove(1) {
                Value::Array(begun) => begun,
                Value::ServerError(error) => match error_text(&error) {
                    // Without a stream there is nothing to read.
                    text if text.starts_with("ERR no such key") => continue,
                    text => return Err(LedgerError::Refused(text)),
                },
                other => return Err(LedgerError::Refused(format!("XINFO GROUPS: {other:?}"))),
            };
            let begun: Vec<String> = begun.into_iter().filter_map(group_name).collect();
            let groups: Vec<String> = redis::from_redis_value(replies.remove(0))
                .map_err(|error| LedgerError::Refused(error.to_string()))?;
            if let Some(name) = groups.iter().find(|name| !begun.contains(name)) {
                return Err(LedgerError::Refused(format!(
                    "the group {name} has yet to read the stream of {}: remove the sale when it \
                     has, or the group from {} if nobody needs it any more",
                    group.sale,
                    self.codec().keys().groups()
                )));
            }
        }
        Ok(())
    }

    /// Notes that sales were removed.
    pub(super) fn note_removed(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError> {
        if sales.is_empty() {
            return Ok(());
        }
        let (key, max) = (self.codec().keys().removed(), REMOVED_SALES_MAX.to_string());
        let mut notes = Pipeline::new();
        for sale in sales {
            let words = ["EVAL", NOTE_REMOVED, "1", &key, sale.as_str(), &max];
            notes.add(&words.map(str::as_bytes));
        }
        let replies = self.pipeline(&notes)?;
        Ok(replies.iter().try_for_each(|reply| index::judge(self.codec().keys(), reply))?)
    }

    /// The version up to which orders belong to a removed sale of this name.
    pub(super) fn removed_version(&mut self, sale: &SaleId) -> Result<Option<u64>, LedgerError> {
        let key = self.codec().keys().removed();
        let words = ["ZSCORE", &key, sale.as_str()];
        let score: Option<f64> = read(self.command(&words.map(str::as_bytes))?)?;
        Ok(score.map(|ms| EntryId::last_version_of_ms(ms as u64)))
    }
}

/// The name at the start of one group's answer to XINFO GROUPS.
fn group_name(group: Value) -> Option<String> {
    let Value::Array(parts) = group else { return None };
    redis::from_redis_value(parts.into_iter().nth(1)?).ok()
}
