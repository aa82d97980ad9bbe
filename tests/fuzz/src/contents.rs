//! A data folder whose checksums are right and whose records no ledger has written: the ledger
//! applies them, and no sale is oversold, or it refuses the folder.
//!
//! An input is up to three edits of the records of a folder with a snapshot and a journal after it.

use std::sync::LazyLock;

use stampede::ledger::embedded::{Cursor, Store};
use stampede::ledger::{Batch, Group};
use stampede::limits::TIME_MS_MAX;
use stampede::sale::{Command, ReservationId, Reserve, SaleId, SaleSpec, User};

use crate::choices::Choices;
use crate::journal::crc32;
use crate::recovery::{EDITS_MAX, Files, KEPT, MARKER, check_opening, check_stock, state};

/// Bytes of a file's header before its checksum.
const FILE_HEADER_BYTES: usize = 16 + 4 + 4 + 8 + 8 + 8;
/// Where in it are the generation and the number of the first record, and the salt.
const GENERATION_AT: usize = 24;
const FIRST_AT: usize = 32;
const SALT_AT: usize = 40;
/// Bytes of a record's header before its checksum.
const RECORD_HEADER_BYTES: usize = 8 + 8 + 4;
/// A record of a journal begins with a time.
const TIME_BYTES: usize = 8;

/// More reservations than any input has.
const EXPIRED_MAX: u32 = 10_000;
const CHANGES_MAX: usize = 100;

/// A file of records.
#[derive(Clone)]
struct Records {
    name: String,
    header: Vec<u8>,
    payloads: Vec<Vec<u8>>,
}

static ALL: LazyLock<Vec<Records>> = LazyLock::new(|| {
    let files = KEPT.files.iter().filter(|(name, _)| *name != MARKER);
    files.map(|(name, bytes)| Records::read(name, bytes)).collect()
});

fn number_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("eight bytes"))
}

impl Records {
    fn read(name: &str, bytes: &[u8]) -> Self {
        let (header, mut rest) = bytes.split_at(FILE_HEADER_BYTES);
        rest = &rest[4..];
        let mut payloads = Vec::new();
        while rest.len() >= RECORD_HEADER_BYTES && rest.starts_with(&header[SALT_AT..]) {
            let length: [u8; 4] = *rest[16..].first_chunk().expect("a length");
            let payload = &rest[RECORD_HEADER_BYTES + 4..][..u32::from_le_bytes(length) as usize];
            payloads.push(payload.to_vec());
            rest = &rest[RECORD_HEADER_BYTES + 4 + payload.len()..];
        }
        assert!(!payloads.is_empty(), "{name} has no records");
        Self { name: name.to_owned(), header: header.to_vec(), payloads }
    }

    /// The file, with the right numbers and checksums.
    fn write(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        bytes.extend_from_slice(&crc32(&[&bytes]).to_le_bytes());
        let is_journal = self.name.starts_with("journal");
        let first = if is_journal { number_at(&self.header, FIRST_AT) } else { 0 };
        for (at, payload) in self.payloads.iter().enumerate() {
            let mut header = self.header[SALT_AT..].to_vec();
            header.extend_from_slice(&first.wrapping_add(at as u64).to_le_bytes());
            header.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            let checksum = crc32(&[&header, payload]);
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    fn edit(&mut self, choices: &mut Choices<'_>) {
        let kind = choices.byte() % 9;
        if kind == 0 {
            let at = if choices.byte() & 1 == 0 { GENERATION_AT } else { FIRST_AT };
            let number = choices.bytes(8);
            self.header[at..at + number.len()].copy_from_slice(number);
            return;
        }
        let count = self.payloads.len();
        if count == 0 {
            return;
        }
        let record = choices.below(count);
        match kind {
            1 => drop(self.payloads.remove(record)),
            2 => self.payloads.insert(record, self.payloads[record].clone()),
            3 => self.payloads.swap(record, choices.below(count)),
            4 => {
                // The same changes once more, at the same time.
                let other = self.payloads[choices.below(count)].clone();
                self.payloads[record].extend(other.get(TIME_BYTES..).unwrap_or_default());
            }
            5 => {
                let length = choices.byte().into();
                self.payloads[record].extend_from_slice(choices.bytes(length));
            }
            _ => {
                let payload = &mut self.payloads[record];
                let at = choices.below(payload.len() + 1);
                let length = usize::from(choices.byte() % 32);
                let end = (at + length).min(payload.len());
                match kind {
                    6 => drop(payload.splice(at..end, choices.bytes(length).iter().copied())),
                    7 => drop(payload.splice(at..at, choices.bytes(length).iter().copied())),
                    _ => drop(payload.drain(at..end)),
                }
            }
        }
    }
}

/// The records of the folder, edited.
pub fn contents(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut all = ALL.clone();
    for _ in 0..EDITS_MAX {
        if !choices.is_empty() {
            let file = choices.below(all.len());
            all[file].edit(&mut choices);
        }
    }
    let mut files = Files::from([(MARKER.to_owned(), KEPT.files[MARKER].clone())]);
    files.extend(all.iter().map(|records| (records.name.clone(), records.write())));
    check_opening(&files, |_, _| (), check_use);
}

/// A ledger that has opened sells, returns what has expired, and shows its changes.
fn check_use(store: &mut Store) {
    let before = store.version();
    let sale = SaleId::new("sold-after-all").expect("a sale");
    let user = User::new("ann").ok();
    let reserve = Reserve {
        id: ReservationId(u128::MAX),
        quantity: 1,
        user,
        key: None,
        details: None,
        trace: None,
    };
    let commands = vec![Command::Create(SaleSpec::with_total(1)), Command::Reserve(reserve)];
    store.commit(0, &[Batch { groups: vec![Group { sale, commands }] }]).expect("it is committed");
    store.expire(TIME_MS_MAX, EXPIRED_MAX).expect("it is committed");
    check_stock(&state(store));
    let mut cursor = Cursor::new(before, 1);
    let changes = store.changes(&mut cursor, CHANGES_MAX).expect("changes");
    assert!(!changes.is_empty() && changes.iter().all(|change| change.version > before));
}

#[test]
fn records_are_written_as_they_were() {
    for records in &*ALL {
        let (bytes, kept) = (records.write(), &KEPT.files[&records.name]);
        let (same, unused) = kept.split_at(bytes.len());
        assert!(bytes == same && unused.iter().all(|&byte| byte == 0), "{}", records.name);
    }
    contents(&[]);
}
