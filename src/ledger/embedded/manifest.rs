//! The manifest of a backup: the small text file that lists its contents.
//!
//! It is written last, and the backup gets its name after that: a folder without a manifest is no
//! backup.

use std::fmt::Write;

use super::checked_text::{Flaw, checked, with_checksum};
use super::data_dir::kind_of;
use super::marker::{RUN, read_run};
use super::record::Kind;
use super::runs::{Run, Runs};

/// The name of the file.
pub(super) const MANIFEST: &str = "stampede-backup";
/// The format that this build writes, and the only one so far.
const FORMAT_VERSION: u32 = 1;

const FORMAT: &str = "stampede backup, format ";
const ID: &str = "id ";
const TAKEN: &str = "taken ";
const SALES: &str = "sales ";
const RESERVATIONS: &str = "reservations ";
const RECORD: &str = "record ";
const FILE: &str = "file ";

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The id of the ledger.
    pub id: u128,
    /// When the backup was taken, by the clock of that machine, in ms since 1970.
    pub taken_ms: u64,
    pub sales: u64,
    pub reservations: u64,
    /// The last record in it.
    pub record: u64,
    /// The runs of the ledger up to that record.
    pub runs: Runs,
    /// The snapshot and the journals.
    pub files: Vec<FileEntry>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileEntry {
    pub name: String,
    pub bytes: u64,
    /// CRC-32 of the whole file.
    pub checksum: u32,
}

impl Manifest {
    /// The file's text.
    pub(super) fn encode(&self) -> String {
        let Self { id, taken_ms, sales, reservations, record, runs, files } = self;
        let mut text = format!(
            "{FORMAT}{FORMAT_VERSION}\n{ID}{id:032x}\n{TAKEN}{taken_ms}\n{SALES}{sales}\n\
             {RESERVATIONS}{reservations}\n{RECORD}{record}\n"
        );
        // Writing into a string can't fail.
        for Run { number, salt, first } in runs.iter() {
            let _ = writeln!(text, "{RUN}{number} {salt:08x} {first}");
        }
        for FileEntry { name, bytes, checksum } in files {
            let _ = writeln!(text, "{FILE}{name} {bytes} {checksum:08x}");
        }
        with_checksum(text)
    }

    /// Decodes the file's bytes. The error says what is wrong.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(bytes).map_err(|_| "it is not a text")?;
        let first = text.lines().next().and_then(|line| line.strip_prefix(FORMAT)?.parse().ok());
        match first {
            Some(FORMAT_VERSION) => {}
            Some(found) if found > FORMAT_VERSION => {
                return Err(format!(
                    "it is in format {found}, this stampede reads up to {FORMAT_VERSION}: use a \
                     newer one"
                ));
            }
            _ => return Err("it says no format that ever was".into()),
        }
        let body = checked(text).map_err(|flaw| match flaw {
            Flaw::CutOff => "it is cut off",
            Flaw::Checksum => "its checksum is not right",
        })?;
        Self::decode_lines(body).ok_or_else(|| "it can't be read".into())
    }

    fn decode_lines(body: &str) -> Option<Self> {
        let mut lines = body.lines().skip(1);
        let id = u128::from_str_radix(lines.next()?.strip_prefix(ID)?, 16).ok()?;
        let mut number = |prefix: &str| lines.next()?.strip_prefix(prefix)?.parse().ok();
        let [taken_ms, sales] = [number(TAKEN)?, number(SALES)?];
        let [reservations, record] = [number(RESERVATIONS)?, number(RECORD)?];
        let (runs, files) = (Runs::default(), Vec::new());
        let mut manifest = Self { id, taken_ms, sales, reservations, record, runs, files };
        for line in lines {
            if line.starts_with(RUN) {
                read_run(line).filter(|&run| manifest.runs.push(run))?;
            } else {
                manifest.files.push(FileEntry::read(line)?);
            }
        }
        Some(manifest)
    }

    /// The generations of its snapshot and of its journals.
    pub(super) fn generations(&self) -> (Vec<u64>, Vec<u64>) {
        let of = |kind: Kind| {
            let names = self.files.iter().filter_map(|file| kind_of(file.name.as_ref()));
            names.filter(|(found, _)| *found == kind).map(|(_, generation)| generation).collect()
        };
        (of(Kind::Snapshot), of(Kind::Journal))
    }
}

impl FileEntry {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(FILE)?.split(' ');
        let (name, bytes, checksum) = (words.next()?, words.next()?, words.next()?);
        // No other name is allowed, and so no path that leads out of the folder.
        kind_of(name.as_ref())?;
        let checksum = u32::from_str_radix(checksum, 16).ok()?;
        let file = Self { name: name.to_owned(), bytes: bytes.parse().ok()?, checksum };
        words.next().is_none().then_some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut runs = Runs::default();
        runs.begin(1, 7);
        runs.begin(90, u32::MAX);
        let file = |name: &str| FileEntry { name: name.into(), bytes: 99, checksum: 0xabc };
        let files = vec![file("snapshot-0000000002"), file("journal-0000000002")];
        let (taken_ms, sales, reservations, record) = (5, 6, 7, 100);
        Manifest { id: u128::MAX / 3, taken_ms, sales, reservations, record, runs, files }
    }

    #[test]
    fn a_manifest_round_trips() {
        assert_eq!(Manifest::decode(manifest().encode().as_bytes()), Ok(manifest()));
        assert_eq!(manifest().generations(), (vec![2], vec![2]));
    }

    #[test]
    fn every_flipped_bit_and_truncation_is_rejected() {
        let good = manifest().encode().into_bytes();
        for at in 0..good.len() {
            assert!(Manifest::decode(&good[..at]).is_err(), "{at} bytes");
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(Manifest::decode(&bad).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_reported_and_paths_are_rejected() {
        let newer = format!("{FORMAT}2\n");
        assert!(Manifest::decode(newer.as_bytes()).unwrap_err().contains("use a newer one"));
        for name in ["../journal-0000000001", "lock", "journal-1/../x"] {
            assert_eq!(FileEntry::read(&format!("{FILE}{name} 1 0")), None, "{name}");
        }
    }
}
