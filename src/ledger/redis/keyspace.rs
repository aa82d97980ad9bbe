//! What an audit reads from Redis outside of a sale's own keys: which sales exist by the names of
//! all keys, whether or not the index lists them.

use std::collections::{BTreeSet, HashSet};

use redis::Value;

use super::client::RedisClient;
use super::decode_error::error_text;
use super::pipeline::Pipeline;
use crate::ledger::LedgerError;
use crate::ledger::client::Unlisted;
use crate::limits::AUDIT_KEYS_MAX;
use crate::sale::{SaleId, SaleView};

/// Keys per step of the scan.
const SCAN_COUNT: &[u8] = b"1000";
/// Keys after which the scan logs its progress.
const KEYS_PER_LINE: u64 = 5_000_000;

/// Notes in a head how many units its sale has in all: ARGV[1] is the field of the total, ARGV[2]
/// the number of parts, ARGV[3] the units of the head if nothing had been transferred, ARGV[4] the
/// units.
const NOTE_STOCK: &str = "\
local owned = tonumber(redis.call('HGET', KEYS[1], ARGV[1]))
for n = 0, tonumber(ARGV[2]) do
  local moved = redis.call('HMGET', KEYS[2], 'gave_' .. n, 'took_' .. n)
  owned = owned and owned + tonumber(moved[1] or '0') - tonumber(moved[2] or '0')
end
if owned ~= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[2], 'stock', ARGV[4])
return 1";

impl RedisClient {
    /// Scans the names of all keys for sales that the index does not list.
    pub(super) fn scan_for_sales(
        &mut self,
        listed: &HashSet<SaleId>,
    ) -> Result<Unlisted, LedgerError> {
        let pattern = self.codec().keys().pattern();
        let (mut found, mut keys) = (BTreeSet::new(), 0u64);
        for slot in self.slot_of_each_node()? {
            let mut cursor = "0".to_owned();
            loop {
                let mut scan = Pipeline::new();
                let (at, pattern) = (cursor.as_bytes(), pattern.as_bytes());
                let words: [&[u8]; 6] = [b"SCAN", at, b"MATCH", pattern, b"COUNT", SCAN_COUNT];
                let reply = self.pipeline(scan.add_for(slot, &words))?.remove(0);
                if let Value::ServerError(error) = &reply {
                    let text = error_text(error);
                    let denied = error.code() == "NOPERM";
                    let not_looked_at = denied.then(|| format!("{UNLISTED}: {text}"));
                    let sales = Vec::new();
                    return match not_looked_at {
                        Some(_) => Ok(Unlisted { sales, not_looked_at }),
                        None => Err(LedgerError::Refused(text)),
                    };
                }
                let (next, names): (String, Vec<Vec<u8>>) = redis::from_redis_value(reply)
                    .map_err(|error| LedgerError::Refused(error.to_string()))?;
                let templates = self.codec().keys();
                let sales = names.iter().filter_map(|name| templates.sale_of(name));
                found.extend(sales.filter(|sale| !listed.contains(sale)));
                keys += 1_000;
                if keys.is_multiple_of(KEYS_PER_LINE) {
                    tracing::info!(keys, "audit scans for unlisted sales");
                }
                if keys >= AUDIT_KEYS_MAX {
                    let why = format!("{UNLISTED}: there are more than {AUDIT_KEYS_MAX} keys");
                    let sales = found.into_iter().collect();
                    return Ok(Unlisted { sales, not_looked_at: Some(why) });
                }
                cursor = next;
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(Unlisted { sales: found.into_iter().collect(), not_looked_at: None })
    }

    /// Whether any key of a sale exists.
    pub(super) fn any_key_of(&mut self, sale: &SaleId) -> Result<bool, LedgerError> {
        let all = self.codec().keys().of(sale).all();
        let mut exists: Vec<&[u8]> = vec![b"EXISTS"];
        exists.extend(all.iter().map(|key| key.as_bytes()));
        let count: u64 = read(self.command(&exists)?)?;
        Ok(count > 0)
    }

    /// See [`Client::note_stock`](crate::ledger::client::Client::note_stock).
    pub(super) fn set_stock(
        &mut self,
        sale: &SaleId,
        head: &SaleView,
        units: u64,
    ) -> Result<bool, LedgerError> {
        let keys = self.codec().keys().of(sale);
        let all = keys.all();
        let numbers = [u64::from(head.spec.split.parts()), head.owned(), units];
        let [parts, owned, units] = numbers.map(|number| number.to_string());
        let words = ["EVAL", NOTE_STOCK, "2", &all[0], &all[1], keys.total_field()];
        let words = [&words[..], &[&parts, &owned, &units]].concat();
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let noted: u64 = read(self.command(&words)?)?;
        Ok(noted > 0)
    }
}

/// What the scan looks for, as text.
const UNLISTED: &str = "sales that the index does not list";

pub(super) fn read<T: redis::FromRedisValue>(reply: Value) -> Result<T, LedgerError> {
    redis::from_redis_value(reply).map_err(|error| LedgerError::Refused(error.to_string()))
}
