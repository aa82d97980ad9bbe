//! The index of sales as a blocking client maintains and reads it, and the keys beside it.

use redis::Value;

use super::client::RedisClient;
use super::entry_id::EntryId;
use super::hash_slot::slot_of;
use super::index;
use super::pipeline::Pipeline;
use crate::ledger::LedgerError;
use crate::sale::SaleId;

impl RedisClient {
    /// Adds sales to the index.
    pub fn register(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError> {
        if sales.is_empty() {
            return Ok(());
        }
        let ledger = self.ledger().clone();
        self.index(|out| index::add(ledger.codec.keys(), sales, out))
    }

    /// Announces to all sweeps that sales were created. Only a hint: it may be lost.
    pub(super) fn announce(&mut self, sales: &[&SaleId]) {
        if !sales.is_empty() {
            let ledger = self.ledger().clone();
            let _ = self.index(|out| index::announce(ledger.codec.keys(), sales, out));
        }
    }

    /// Removes sales from the index that are gone, except a sale that exists after all.
    pub fn forget(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError> {
        if sales.is_empty() {
            return Ok(());
        }
        let ledger = self.ledger().clone();
        let keys = ledger.codec.keys();
        self.index(|out| index::remove(keys, sales, out))?;
        let mut ask = Pipeline::new();
        for sale in sales {
            ask.write(keys.of(sale).slot(), |out| index::exists(keys, sale, out));
        }
        let there = index::found(sales, &self.pipeline(&ask)?)?;
        self.register(&there)
    }

    /// Notes that a consumer group reads the sales' streams, and returns all groups that do.
    pub fn join_groups(&mut self, group: &str) -> Result<Vec<String>, LedgerError> {
        let key = self.codec().keys().groups();
        let mut join = Pipeline::new();
        join.add(&[b"SADD", key.as_bytes(), group.as_bytes()]);
        join.add(&[b"SMEMBERS", key.as_bytes()]);
        let mut replies = self.pipeline(&join)?;
        replies.iter().try_for_each(|reply| index::judge(self.codec().keys(), reply))?;
        let members = replies.remove(1);
        redis::from_redis_value(members).map_err(|error| LedgerError::Refused(error.to_string()))
    }

    /// The number of members of the index.
    pub fn sales_count(&mut self) -> Result<u64, LedgerError> {
        self.sales_news(None).map(|(count, _)| count)
    }

    /// The same, and the sales that were created after an entry of the stream beside it, with the
    /// last such entry, if there are any.
    pub fn sales_news(
        &mut self,
        after: Option<EntryId>,
    ) -> Result<(u64, Option<index::Announced>), LedgerError> {
        let keys = self.codec().keys().clone();
        let (key, slot) = (keys.index(), slot_of(keys.index().as_bytes()));
        let mut ask = Pipeline::new();
        ask.add(&[b"SCARD", key.as_bytes()]);
        if let Some(after) = after {
            ask.write(slot, |out| index::read_announced(&keys, after, out));
        }
        let mut replies = self.pipeline(&ask)?.into_iter();
        let count = replies.next().unwrap_or(Value::Nil);
        index::judge(&keys, &count)?;
        let count = redis::from_redis_value(count)
            .map_err(|error| LedgerError::Refused(error.to_string()))?;
        Ok((count, replies.next().and_then(index::announced)))
    }

    /// Runs one command about the index.
    fn index(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), LedgerError> {
        let slot = slot_of(self.codec().keys().index().as_bytes());
        let mut one = Pipeline::new();
        let reply = self.pipeline(one.write(slot, write))?.remove(0);
        Ok(index::judge(self.codec().keys(), &reply)?)
    }
}
