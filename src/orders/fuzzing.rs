//! Parsers of the orders that are otherwise private, for tests/fuzz.

use redis::Value;

use super::entry;
use crate::ledger::redis::EntryId;
use crate::sale::{Change, SaleId};

/// An entry of a stream, and its changes, as far as they can be read.
#[derive(Debug)]
pub struct EntryOfStream {
    /// Its id.
    pub id: EntryId,
    /// The changes that can be read.
    pub changes: Vec<Change>,
    /// What can't be read, if anything.
    pub problem: Option<String>,
}

/// Reads a reply with entries of a sale's stream. `None`: it is no such reply.
pub fn entries_of_stream(sale: &SaleId, reply: Value) -> Option<Vec<EntryOfStream>> {
    let read = |found: entry::StreamEntry| {
        let (id, mut changes) = (found.id, Vec::new());
        let fields = found.fields.unwrap_or_default();
        let problem = entry::changes(sale, id, &fields, &mut changes).err();
        EntryOfStream { id, changes, problem }
    };
    Some(entry::entries(reply)?.into_iter().map(read).collect())
}
