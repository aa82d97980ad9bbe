//! Parsers of the embedded ledger that are otherwise private, for tests/fuzz. Each decodes some bytes
//! and encodes the result again. `None`: the bytes can't be decoded.

use super::codec::{JournalEntry, put_command, put_expired, put_jump, put_row, put_sale, put_time};
use super::manifest::Manifest;
use super::marker::Marker;
use super::reader::{Malformed, Reader};

/// The payload of a journal record.
pub fn journal_record_again(payload: &[u8]) -> Option<Vec<u8>> {
    let again = || -> Result<Vec<u8>, Malformed> {
        let (mut reader, mut out) = (Reader::new(payload), Vec::new());
        put_time(&mut out, reader.time()?);
        while !reader.is_empty() {
            match reader.entry()? {
                JournalEntry::Sale(sale) => put_sale(&mut out, &sale),
                JournalEntry::Command(command) => put_command(&mut out, &command),
                JournalEntry::Expired { units } => put_expired(&mut out, units),
                JournalEntry::Jump { to } => put_jump(&mut out, to),
            }
        }
        Ok(out)
    };
    again().ok()
}

/// The payload of a snapshot's record of reservations.
pub fn rows_again(payload: &[u8]) -> Option<Vec<u8>> {
    let (mut reader, mut out) = (Reader::new(payload), Vec::new());
    while !reader.is_empty() {
        put_row(&mut out, &reader.row().ok()?);
    }
    Some(out)
}

/// The text of a marker.
pub fn marker_again(bytes: &[u8]) -> Option<String> {
    Marker::decode(bytes).ok().map(|marker| marker.encode())
}

/// The text of a backup's manifest.
pub fn manifest_again(bytes: &[u8]) -> Option<String> {
    Manifest::decode(bytes).ok().map(|manifest| manifest.encode())
}
