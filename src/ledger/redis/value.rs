//! What replies of Redis are made of.

use redis::Value;

/// A reply that is a text.
pub fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// What every reply begins with.
pub(super) struct Header {
    pub(super) now_ms: u64,
    /// `None`: there is no such sale.
    pub(super) free: Option<u64>,
}
