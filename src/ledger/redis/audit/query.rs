//! The connection to Redis that an audit needs.

use redis::Value;

use crate::ledger::LedgerError;

/// A blocking connection to Redis: one command, one reply. An error reply is an error.
pub trait RedisQuery {
    /// Runs one command: its name and its arguments.
    fn query(&mut self, arguments: &[&[u8]]) -> Result<Value, LedgerError>;
}
