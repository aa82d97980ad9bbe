//! A note that sales of this folder are moving to another ledger.
//!
//! It exists from before the other ledger shows the first of them until they are removed from this
//! one. As long as it exists, nobody sells from the folder, so no sale is ever sold from both.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::checked_text::{checked, with_checksum};
use super::data_dir::write_text;
use super::disk;
use super::open_error::OpenError;
use crate::random;
use crate::sale::SaleId;

/// The name of the file.
const NOTE: &str = "stampede-move";

const FORMAT: &str = "stampede move, format 1";
const ID: &str = "id ";
const TO: &str = "to ";
const SALE: &str = "sale ";

/// The contents of the note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// The id of this move.
    pub id: u64,
    /// The name of the other ledger, on one line.
    pub to: String,
    /// The sales.
    pub sales: Vec<SaleId>,
}

impl Moving {
    /// A new note for these sales.
    pub fn begin(to: String, sales: Vec<SaleId>) -> io::Result<Self> {
        let id = random::u64().map_err(io::Error::other)?;
        Ok(Self { id, to: to.replace(['\n', '\r'], " "), sales })
    }

    fn encode(&self) -> String {
        let Self { id, to, sales } = self;
        let mut text = format!("{FORMAT}\n{ID}{id:016x}\n{TO}{to}\n");
        for sale in sales {
            text += &format!("{SALE}{sale}\n");
        }
        with_checksum(text)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut lines = checked(str::from_utf8(bytes).ok()?).ok()?.lines();
        if lines.next()? != FORMAT {
            return None;
        }
        let id = u64::from_str_radix(lines.next()?.strip_prefix(ID)?, 16).ok()?;
        let to = lines.next()?.strip_prefix(TO)?.to_owned();
        let sales = lines.map(|line| SaleId::new(line.strip_prefix(SALE)?).ok());
        Some(Self { id, to, sales: sales.collect::<Option<_>>()? })
    }

    /// Writes the note, durably.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        write_text(folder, NOTE, &self.encode())
    }

    /// Removes the note, durably.
    pub(super) fn remove(folder: &Path) -> io::Result<()> {
        disk::remove(&folder.join(NOTE))?;
        disk::sync_folder(folder)
    }

    /// The note of a folder, if it has one.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, OpenError> {
        let path: PathBuf = folder.join(NOTE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| OpenError::from_io(&path, error))?,
        };
        let note = Self::decode(&bytes);
        note.map(Some).ok_or_else(|| OpenError::corrupt(&path, 0, "not a note of ours"))
    }
}

/// Returns an error if sales of this folder are moving.
pub(super) fn check_settled(folder: &Path) -> Result<(), OpenError> {
    match Moving::read(folder)? {
        None => Ok(()),
        Some(Moving { to, .. }) => Err(OpenError::Moving { folder: folder.to_owned(), to }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_round_trips_and_damage_is_rejected() {
        let sales = ["a", "b"].map(|id| SaleId::new(id).unwrap()).to_vec();
        let note = Moving { id: 7, to: "redis://host/0".into(), sales };
        let good = note.encode().into_bytes();
        assert_eq!(Moving::decode(&good), Some(note));
        for at in 0..good.len() {
            assert_eq!(Moving::decode(&good[..at]), None);
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(Moving::decode(&bad), None, "byte {at}");
        }
    }
}
