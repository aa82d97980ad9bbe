//! From files to state: the newest snapshot, then the journals after it.
//!
//! A crash can leave only one thing wrong: an unfinished last record in the last journal, since a
//! record is begun only when the one before it is durable. That one was never answered and is
//! dropped. Everything else that is wrong is damage, and is reported, not repaired: a good record
//! after a bad one proves that the bad one had been durable.

use std::path::Path;

use super::folder::{Contents, OpenError, journal_path, snapshot_path};
use super::record::{FileHeader, Kind, Records, StopFlag};
use super::snapshot;
use super::state::State;

/// What the files hold.
pub(super) struct Recovered {
    pub state: State,
    /// The number of the next record.
    pub next_number: u64,
    /// Reservations in the snapshot.
    pub snapshot_rows: u64,
    /// Changes in the journals.
    pub journal_changes: u64,
    /// The last journal and the end of its last good record. `None`: there is no journal.
    pub last: Option<(FileHeader, u64)>,
}

/// Reads the newest snapshot and the journals from its generation to `last_generation`. Changes no
/// file.
pub(super) fn recover(
    folder: &Path,
    contents: &Contents,
    last_generation: u64,
    stop: &StopFlag,
) -> Result<Recovered, OpenError> {
    let mut recovered = Recovered {
        state: State::default(),
        next_number: 1,
        snapshot_rows: 0,
        journal_changes: 0,
        last: None,
    };
    let base = contents.snapshots.last().copied();
    if let Some(generation) = base {
        (recovered.state, recovered.next_number) = snapshot::read(folder, generation, stop)?;
        recovered.snapshot_rows = recovered.state.row_count();
    }
    let first = base.unwrap_or(1);
    let journals: Vec<u64> = (contents.journals.iter().copied())
        .filter(|generation| (first..=last_generation).contains(generation))
        .collect();
    for (expected, &generation) in (first..).zip(&journals) {
        if generation != expected {
            let missing = journal_path(folder, expected);
            return Err(OpenError::corrupt(&missing, 0, "the file is missing"));
        }
        let is_last = Some(&generation) == journals.last();
        recovered.replay_journal(folder, generation, is_last, stop)?;
    }
    // A snapshot is written only when the journal after it exists.
    if let (Some(generation), None) = (base, recovered.last) {
        let missing = journal_path(folder, generation);
        return Err(OpenError::corrupt(&missing, 0, "the file is missing"));
    }
    Ok(recovered)
}

impl Recovered {
    fn replay_journal(
        &mut self,
        folder: &Path,
        generation: u64,
        is_last: bool,
        stop: &StopFlag,
    ) -> Result<(), OpenError> {
        let path = journal_path(folder, generation);
        let mut records = Records::open(&path, Kind::Journal, generation, stop)?;
        let header = *records.header();
        if header.first_number != self.next_number {
            let what = format!(
                "it begins with record {}, but the files before it end before record {}",
                header.first_number, self.next_number
            );
            return Err(OpenError::corrupt(&path, 0, what));
        }
        while let Some(record) = records.next(self.next_number)? {
            match self.state.replay(record, self.next_number) {
                Ok(changes) => self.journal_changes += changes,
                Err(malformed) => return Err(records.corrupt(malformed.0)),
            }
            self.next_number += 1;
        }
        if let Some(later) = records.find_later(self.next_number)? {
            return Err(records.corrupt(format!("a good record follows at byte {later}")));
        }
        if is_last {
            self.last = Some((header, records.offset()));
        }
        Ok(())
    }
}

/// Files that what was recovered doesn't need: those a fold was about to remove.
pub(super) fn remove_old(folder: &Path, contents: &Contents) -> std::io::Result<()> {
    let Some(&base) = contents.snapshots.last() else { return Ok(()) };
    for &generation in contents.journals.iter().filter(|&&generation| generation < base) {
        std::fs::remove_file(journal_path(folder, generation))?;
    }
    for &generation in contents.snapshots.iter().filter(|&&generation| generation < base) {
        std::fs::remove_file(snapshot_path(folder, generation))?;
    }
    Ok(())
}
