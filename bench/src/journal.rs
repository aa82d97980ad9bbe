//! What the embedded ledger has written: the lengths of its journal's records, each of which is one
//! write and one fdatasync. So that a bare writer can be given the same bytes in the same batches.
//!
//! Knows of the format no more than where a record ends; `bench/tests/sellers.rs` holds it to a real
//! server's journal.

use std::fs;
use std::path::Path;

use crate::error::{Because, Result, fail};

const MAGIC: &[u8] = b"stampede records";
const FILE_HEADER_BYTES: usize = 52;
const SALT_AT: usize = 40;
const RECORD_HEADER_BYTES: usize = 24;
const RECORD_LENGTH_AT: usize = 16;

/// Bytes of each record, its header included, in the order in which they were written. Of the
/// journals that are still there: one that has been folded into a snapshot is gone.
pub fn record_bytes(ledger: &Path) -> Result<Vec<usize>> {
    let mut journals = Vec::new();
    let entries = fs::read_dir(ledger).because(|| format!("reading {}", ledger.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("journal-");
        if number.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit())) {
            journals.push(entry.path());
        }
    }
    // Numbers of one length: the oldest comes first.
    journals.sort();
    let mut all = Vec::new();
    for path in &journals {
        let bytes = fs::read(path).because(|| format!("reading {}", path.display()))?;
        let records = records_in(&bytes);
        all.extend(records.because(|| format!("reading {}", path.display()))?);
    }
    if all.is_empty() {
        return fail(format!("{} has no journal with records", ledger.display()));
    }
    Ok(all)
}

/// Up to the room that is set aside behind the last record.
fn records_in(journal: &[u8]) -> Result<Vec<usize>> {
    if !journal.starts_with(MAGIC) || journal.len() < FILE_HEADER_BYTES {
        return fail("this is no journal of stampede");
    }
    let salt = &journal[SALT_AT..SALT_AT + 8];
    let (mut records, mut rest) = (Vec::new(), &journal[FILE_HEADER_BYTES..]);
    while rest.starts_with(salt) {
        let length = rest.get(RECORD_LENGTH_AT..).and_then(|at| at.first_chunk::<4>());
        let length = length.map(|bytes| u32::from_le_bytes(*bytes) as usize + RECORD_HEADER_BYTES);
        match length.filter(|&length| length <= rest.len()) {
            // The last one was being written.
            None => break,
            Some(length) => {
                records.push(length);
                rest = &rest[length..];
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_where_the_room_begins() {
        let salt = [7; 8];
        let header = [MAGIC, &[0; SALT_AT - 16], &salt, &[0; 4]].concat();
        let record = |payload: usize| {
            let length = (payload as u32).to_le_bytes();
            [&salt[..], &[1; 8], &length, &[2; 4], &vec![3; payload]].concat()
        };
        let whole = [&header[..], &record(5), &record(300), &[0; 100]].concat();
        assert_eq!(records_in(&whole).expect("a journal"), [29, 324]);
        let torn = &whole[..whole.len() - 101];
        assert_eq!(records_in(torn).expect("a torn journal"), [29]);
        assert!(records_in(b"something else").is_err());
    }
}
