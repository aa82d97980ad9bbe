//! What an audit needs of a connection to Redis.

use redis::Value;

use crate::ledger::LedgerError;

/// A blocking connection to Redis: one command, one reply. An error reply is an error.
pub trait Ask {
    /// Asks one command: its name and its arguments.
    fn ask(&mut self, arguments: &[&[u8]]) -> Result<Value, LedgerError>;
}
