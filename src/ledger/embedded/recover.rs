//! Recovers the state from the files: the newest snapshot, then the journals after it.
//!
//! A crash can leave two things unfinished. One is the last record of the last journal: a record is
//! begun only when the one before it is durable, so it was never answered and is dropped. The other
//! is a switch of journals: a new one that is empty, while the one before it is not closed and may
//! have grown since; then that one is the last. Everything else that is wrong is damage, and is
//! reported, not repaired: a good record after a bad one proves that the bad one had been durable,
//! and a closed journal proves that its successor was.

use std::path::Path;

use super::data_dir::{Contents, journal_path, snapshot_path};
use super::journal::{Found, next_generation};
use super::open_error::OpenError;
use super::record::{Kind, Records, StopFlag};
use super::state::LedgerState;
use super::{disk, snapshot};

/// The contents of the files.
pub(super) struct Recovered {
    pub state: LedgerState,
    /// The number of the next record.
    pub next_number: u64,
    /// Reservations in the snapshot.
    pub snapshot_rows: u64,
    /// Changes in the journals.
    pub journal_changes: u64,
    /// The last journal that was begun. `None`: there is no journal.
    pub last: Option<Found>,
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
        state: LedgerState::default(),
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
    // A snapshot is written only when the journal after it exists.
    if journals.is_empty() && base.is_some() {
        let why = "its snapshot is there, and was written after it";
        return Err(OpenError::missing(journal_path(folder, first), why));
    }
    for (expected, &generation) in (first..).zip(&journals) {
        if generation != expected {
            return Err(gap(folder, base, expected, generation));
        }
        let is_last = Some(&generation) == journals.last();
        if is_last && recovered.is_unbegun(folder, generation, stop)? {
            let file = journal_path(folder, generation);
            tracing::info!(file = %file.display(), "unfinished switch of journals found");
            break;
        }
        recovered.replay_journal(folder, generation, stop)?;
    }
    if let Some(next) = recovered.last.as_ref().and_then(|last| last.next)
        && next <= last_generation
    {
        let why = "the journal before it was closed when it had been made";
        return Err(OpenError::missing(journal_path(folder, next), why));
    }
    Ok(recovered)
}

/// The error for a journal that is not the expected one.
fn gap(folder: &Path, base: Option<u64>, expected: u64, found: u64) -> OpenError {
    let found_path = journal_path(folder, found);
    let why = format!("{} goes on after it", found_path.display());
    match base {
        // Everything before it was in a snapshot.
        None if expected == 1 => OpenError::missing(snapshot_path(folder, found), why),
        _ => OpenError::missing(journal_path(folder, expected), why),
    }
}

impl Recovered {
    /// Whether this journal was created while the one before it was the last, and never begun.
    fn is_unbegun(
        &self,
        folder: &Path,
        generation: u64,
        stop: &StopFlag,
    ) -> Result<bool, OpenError> {
        if self.last.as_ref().is_none_or(|before| before.next.is_some()) {
            return Ok(false);
        }
        let path = journal_path(folder, generation);
        let mut records = Records::open(&path, Kind::Journal, generation, stop)?;
        let first = records.header().first_number;
        Ok(first <= self.next_number
            && records.next(first)?.is_none()
            && records.find_later(first)?.is_none())
    }

    fn replay_journal(
        &mut self,
        folder: &Path,
        generation: u64,
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
        let (mut next, mut last_number) = (None, self.next_number - 1);
        while let Some(record) = records.next(self.next_number)? {
            last_number = self.next_number;
            next = next_generation(record);
            if next.is_some() {
                break;
            }
            match self.state.replay(record, self.next_number) {
                Ok((changes, following)) => {
                    self.journal_changes += changes;
                    self.next_number = following;
                }
                Err(malformed) => return Err(records.corrupt(malformed.0)),
            }
        }
        if next.is_some_and(|next| next != generation + 1) {
            return Err(records.corrupt("closed before another journal than the next"));
        }
        if let Some(later) = records.find_later(self.next_number)? {
            return Err(records.corrupt(format!("a good record follows at byte {later}")));
        }
        let (end, rest_bytes) = (records.offset(), records.rest_bytes()?);
        let last_record = records.into_last().map(|(at, record)| (last_number, at, record));
        self.last = Some(Found { header, end, rest_bytes, last_record, next });
        Ok(())
    }
}

/// Removes files that were not needed for the recovery: those that a compaction was about to
/// remove.
pub(super) fn remove_old(folder: &Path, contents: &Contents) -> std::io::Result<()> {
    let Some(&base) = contents.snapshots.last() else { return Ok(()) };
    for &generation in contents.journals.iter().filter(|&&generation| generation < base) {
        disk::remove(&journal_path(folder, generation))?;
    }
    for &generation in contents.snapshots.iter().filter(|&&generation| generation < base) {
        disk::remove(&snapshot_path(folder, generation))?;
    }
    Ok(())
}
