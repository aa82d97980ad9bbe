//! The lengths of the records in the embedded ledger's journal. Each record is one write and one
//! fdatasync. A bare writer can then write the same bytes in the same batches.
//!
//! Knows only where a record ends. `bench/tests/sellers.rs` checks this against a real server's
//! journal.

use std::fs;
use std::path::Path;

use stampede::ledger::embedded::{Options, Store};
use stampede::ledger::ids::IdSource;
use stampede::ledger::{Batch, Group};
use stampede::sale::{Command, Reserve, SaleId, SaleSpec};

use crate::error::{Because, Result, fail};

const MAGIC: &[u8] = b"stampede records";
const FILE_HEADER_BYTES: usize = 52;
const SALT_AT: usize = 40;
const RECORD_HEADER_BYTES: usize = 24;
const RECORD_LENGTH_AT: usize = 16;

/// Bytes of each record with its header, in the order of the writes. Reads the existing journals: a
/// journal folded into a snapshot is gone.
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
    // The numbers have one length, so the oldest journal comes first.
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

/// Reads up to the preallocated space after the last record.
fn records_in(journal: &[u8]) -> Result<Vec<usize>> {
    if !journal.starts_with(MAGIC) || journal.len() < FILE_HEADER_BYTES {
        return fail("not a journal of stampede");
    }
    let salt = &journal[SALT_AT..SALT_AT + 8];
    let (mut records, mut rest) = (Vec::new(), &journal[FILE_HEADER_BYTES..]);
    while rest.starts_with(salt) {
        let length = rest.get(RECORD_LENGTH_AT..).and_then(|at| at.first_chunk::<4>());
        let length = length.map(|bytes| u32::from_le_bytes(*bytes) as usize + RECORD_HEADER_BYTES);
        match length.filter(|&length| length <= rest.len()) {
            // The last record is incomplete.
            None => break,
            Some(length) => {
                records.push(length);
                rest = &rest[length..];
            }
        }
    }
    Ok(records)
}

/// Lengths of the records of anonymous purchases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes per record, without its purchases.
    pub record: usize,
    /// Bytes per purchase.
    pub purchase: usize,
}

impl Lengths {
    /// Measures the lengths with a new ledger in this folder, which must not exist.
    pub fn measure(folder: &Path) -> Result<Self> {
        write(folder, &[1, 2])?;
        let records = record_bytes(folder)?;
        // The sale, the two commits, and the last record of a closed ledger.
        let [_, one, two, _] = records[..] else {
            return fail(format!("a ledger wrote records of {records:?} bytes"));
        };
        match (two.checked_sub(one), (2 * one).checked_sub(two)) {
            (Some(purchase), Some(record)) => Ok(Self { record, purchase }),
            _ => fail(format!("a ledger wrote records of {one} and of {two} bytes")),
        }
    }

    /// Bytes of a record with this number of purchases.
    pub fn of(self, purchases: usize) -> usize {
        self.record + purchases * self.purchase
    }
}

/// Creates an embedded ledger, and commits these numbers of anonymous purchases of `ticket`.
pub fn write(folder: &Path, commits: &[usize]) -> Result<()> {
    let doing = || format!("a ledger in {}", folder.display());
    let mut store = Store::open(folder, Options::default()).because(doing)?;
    let sale = SaleId::new("ticket").because(doing)?;
    let mut ids = IdSource::default();
    let mut commit = |commands| {
        let groups = vec![Group { sale: sale.clone(), commands }];
        store.commit(1, &[Batch { groups }]).because(doing).map(drop)
    };
    commit(vec![Command::Create(SaleSpec::with_total(1_000))])?;
    for (&count, number) in commits.iter().zip(0..) {
        let reserve =
            |id| Reserve { id, quantity: 1, user: None, key: None, trace: None, details: None };
        commit((0..count).map(|_| Command::Reserve(reserve(ids.next_id(number)))).collect())?;
    }
    store.close().because(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_end_at_the_preallocated_space() {
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
