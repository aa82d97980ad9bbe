//! What a sweep needs of the ledger, beyond what every [`Client`] can do.

use crate::ledger::client::Client;
use crate::ledger::redis::{EntryId, RedisClient};
use crate::ledger::{Batch, GroupReply, LedgerError};
use crate::sale::SaleId;

/// Sales that were announced, and the last entry that announced one.
pub type News = (Vec<SaleId>, EntryId);

/// A blocking connection to a Redis, or to a simulated one.
pub trait SweepLedger: Client {
    /// The number of connections made so far: after a new one, earlier knowledge may no longer
    /// hold.
    fn connections(&self) -> u64;

    /// The sales that the cores asked to probe since the last call. `None`: all sales.
    fn take_notified(&mut self) -> Option<Vec<SaleId>>;

    /// The number of sales in the index, and those that were announced after an entry, if any
    /// were.
    fn news(&mut self, after: EntryId) -> Result<(u64, Option<News>), LedgerError>;

    /// Carries out a batch, with one result per group.
    fn apply_each(
        &mut self,
        batch: &Batch,
    ) -> Result<Vec<Result<GroupReply, LedgerError>>, LedgerError>;

    /// Notes from a reply whether a sale is refused because of its stored data. Returns whether it
    /// is.
    fn note_reply(&mut self, sale: &SaleId, reply: Result<&GroupReply, &str>) -> bool;

    /// Notes that a sale is not refused: it is gone.
    fn clear_refused(&mut self, sale: &SaleId);

    /// Removes sales from the index that are gone, except a sale that exists after all.
    fn forget(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError>;

    /// Adds sales to the index.
    fn register(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError>;
}

impl SweepLedger for RedisClient {
    fn connections(&self) -> u64 {
        RedisClient::connections(self)
    }

    fn take_notified(&mut self) -> Option<Vec<SaleId>> {
        self.ledger().take_notified().map(Vec::from_iter)
    }

    fn news(&mut self, after: EntryId) -> Result<(u64, Option<News>), LedgerError> {
        self.sales_news(Some(after))
    }

    fn apply_each(
        &mut self,
        batch: &Batch,
    ) -> Result<Vec<Result<GroupReply, LedgerError>>, LedgerError> {
        RedisClient::apply_each(self, batch)
    }

    fn note_reply(&mut self, sale: &SaleId, reply: Result<&GroupReply, &str>) -> bool {
        self.ledger().note_reply(sale, reply)
    }

    fn clear_refused(&mut self, sale: &SaleId) {
        self.ledger().refused_sales().clear(sale);
    }

    fn forget(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError> {
        RedisClient::forget(self, sales)
    }

    fn register(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError> {
        RedisClient::register(self, sales)
    }
}
