//! Turns a backup into a ledger again, in a folder without one.
//!
//! The marker is written last: until then the folder is no ledger, and the next attempt removes its
//! contents. The whole backup is read and checked before the first byte is written.
//!
//! The ledger keeps its id, but it has lost what came after the backup, which the orders may have.
//! So its records continue above any version that can have been assigned since (see [`Gaps`]):
//! later changes overwrite a row, never the other way round. It also begins a run of its own right
//! after the backup's last record, so that a database that is ahead is detected, as for any folder
//! that was restored to an earlier state (`runs`).
//!
//! [`Gaps`]: crate::ledger::gaps::Gaps

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::data_dir::{
    Contents, LOCK, UNFINISHED, has_ledger, kind_of, lock, make, source_name, write_marker,
};
use super::disk;
use super::journal::Journal;
use super::manifest::{FileEntry, MANIFEST, Manifest};
use super::marker::Marker;
use super::open_error::OpenError;
use super::record::StopFlag;
use super::recover::{Recovered, recover};
use super::snapshot;
use crate::clock::wall_ms;
use crate::ledger::redis::EntryId;
use crate::limits::{FIRST_VERSION_MAX, GAP_VERSIONS_MIN};
use crate::random;
use crate::sale::SaleId;

/// In a folder until a restore into it is complete. A start would remove it like every file with
/// this suffix.
const NOTE: &str = "stampede-restore.tmp";
/// The generation of the written files.
const GENERATION: u64 = 2;
const READ_BYTES: usize = 1 << 20;

/// Why a backup was not restored. The written files are no ledger.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is no backup, or not a complete one.
    #[error("{0} is no whole backup: {1}")]
    NoBackup(PathBuf, String),
    /// Its files have other contents than were written.
    #[error(
        "the backup can't be used: {0}. Nothing was written: take another copy of it, or an earlier \
         backup"
    )]
    Damaged(#[source] OpenError),
    /// There is a ledger, or something else, at the destination.
    #[error("{0} {1}: name a folder that is missing or empty, so that nothing is written over")]
    Occupied(PathBuf, String),
    /// The folder can't be written.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// No version is left above those of the orders.
    #[error("the orders have version {0}, above which there is none: no ledger of ours gave it")]
    Versions(u64),
}

/// A backup that was read and checked.
pub struct Opened {
    manifest: Manifest,
    recovered: Recovered,
}

/// A restored ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The ledger's id.
    pub ledger_id: u128,
    /// Sales.
    pub sales: u64,
    /// Reservations of all sales.
    pub reservations: u64,
    /// The last record of the backup.
    pub record: u64,
    /// The number of the next record.
    pub next: u64,
}

impl Opened {
    /// Reads a complete backup and checks it. `progress` gets the number of bytes.
    pub fn read(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, RestoreError> {
        let no_backup = |why: String| RestoreError::NoBackup(path.to_owned(), why);
        let file = path.join(MANIFEST);
        let bytes = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(no_backup(format!("it has no file {MANIFEST}")));
            }
            read => {
                read.map_err(|error| RestoreError::Damaged(OpenError::from_io(&file, error)))?
            }
        };
        let manifest =
            Manifest::decode(&bytes).map_err(|why| no_backup(format!("{MANIFEST}: {why}")))?;
        let total = manifest.files.iter().map(|file| file.bytes).sum();
        let mut done = 0;
        for file in &manifest.files {
            check(path, file, &mut |bytes| {
                done += bytes;
                progress(done, total);
            })?;
        }
        let (snapshots, journals) = manifest.generations();
        let last = journals.last().copied().unwrap_or(0);
        let contents = Contents { journals, snapshots };
        let recovered =
            recover(path, &contents, last, &StopFlag::default()).map_err(RestoreError::Damaged)?;
        let found = (
            recovered.state.sales.count() as u64,
            recovered.state.row_count(),
            recovered.next_number - 1,
        );
        if found != (manifest.sales, manifest.reservations, manifest.record) {
            let what = format!("sales, reservations and last record are {found:?}");
            return Err(RestoreError::Damaged(OpenError::corrupt(&file, 0, what)));
        }
        Ok(Self { manifest, recovered })
    }

    /// Its sales.
    pub fn sales(&self) -> Vec<SaleId> {
        let mut sales: Vec<SaleId> =
            self.recovered.state.sales.iter().map(|(id, _)| id.detached()).collect();
        sales.sort_unstable();
        sales
    }

    /// The name under which a database keeps its position in the ledger's changes.
    pub fn orders_source(&self) -> String {
        source_name(self.manifest.id)
    }

    /// When it was taken, in ms since 1970.
    pub fn taken_ms(&self) -> u64 {
        self.manifest.taken_ms
    }

    /// Restores it into a folder that is missing or empty. Its records continue above `version`,
    /// and above any version that a ledger can have assigned so far.
    pub fn restore(self, folder: &Path, version: u64) -> Result<Restored, RestoreError> {
        let Self { manifest, recovered } = self;
        let next = next_number(manifest.record, version)?;
        let fail = |error| OpenError::from_io(folder, error);
        // Checked first, so that nothing is left beside somebody's files.
        check_empty(folder)?;
        make(folder).map_err(fail)?;
        let _lock = lock(folder)?;
        check_empty(folder)?;
        clear(folder).map_err(fail)?;
        let note = folder.join(NOTE);
        let file = disk::create(&note).map_err(fail)?;
        disk::sync(&file).map_err(fail)?;
        disk::sync_folder(folder).map_err(fail)?;

        let mut state = recovered.state;
        if !state.gaps.push(manifest.record + 1..=next - 1) {
            return Err(RestoreError::Versions(version));
        }
        let (sales, reservations) = (state.sales.count() as u64, state.row_count());
        let stop = StopFlag::default();
        snapshot::write(folder, GENERATION, next, &state, &stop, || ()).map_err(fail)?;
        Journal::create(folder, GENERATION, next).map_err(fail)?;
        let mut runs = manifest.runs;
        runs.begin(manifest.record + 1, random::u32().map_err(io::Error::other).map_err(fail)?);
        let (id, record) = (manifest.id, manifest.record);
        let marker = Marker { id, journal: GENERATION, record: next - 1, runs };
        write_marker(folder, &marker).map_err(fail)?;
        // It is a ledger by now, and opening it removes the note too.
        let _ = disk::remove(&note);
        disk::sync_folder(folder).map_err(fail)?;
        Ok(Restored { ledger_id: id, sales, reservations, record, next })
    }
}

/// The number of the first record after a restore: above the versions of the orders, and above
/// every version that any ledger can have assigned so far, as far as this machine's clock is right.
/// Those of Redis begin with the milliseconds since 1970; an embedded ledger counts its records, of
/// which none has had as many.
fn next_number(record: u64, version: u64) -> Result<u64, RestoreError> {
    let by_clock = EntryId::last_version_of_ms(wall_ms());
    let least = record.checked_add(GAP_VERSIONS_MIN).filter(|least| *least <= FIRST_VERSION_MAX);
    let least = least.ok_or(RestoreError::Versions(record))?;
    let next = least.max(by_clock).max(version) + 1;
    if next <= FIRST_VERSION_MAX { Ok(next) } else { Err(RestoreError::Versions(version)) }
}

/// Checks that a file is as it was written.
fn check(folder: &Path, entry: &FileEntry, each: &mut dyn FnMut(u64)) -> Result<(), RestoreError> {
    let path = folder.join(&entry.name);
    let damaged = |error| RestoreError::Damaged(OpenError::from_io(&path, error));
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let why = format!("{} is missing", entry.name);
            return Err(RestoreError::NoBackup(folder.to_owned(), why));
        }
        opened => opened.map_err(damaged)?,
    };
    let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer).map_err(damaged)? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
                each(read as u64);
            }
        }
    }
    let found = (bytes, hasher.finalize());
    if found != (entry.bytes, entry.checksum) {
        let what = format!(
            "it has {bytes} bytes with checksum {:08x}, and should have {} with {:08x}",
            found.1, entry.bytes, entry.checksum
        );
        return Err(RestoreError::Damaged(OpenError::corrupt(&path, 0, what)));
    }
    Ok(())
}

/// Returns an error unless a folder is missing, empty, or has only files of an unfinished restore.
fn check_empty(folder: &Path) -> Result<(), RestoreError> {
    let occupied = |why: String| Err(RestoreError::Occupied(folder.to_owned(), why));
    if has_ledger(folder).unwrap_or(false) {
        return occupied("has a ledger".into());
    }
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|error| OpenError::from_io(folder, error))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|error| OpenError::from_io(folder, error))?.file_name());
    }
    let is_unfinished = names.iter().any(|name| name == NOTE);
    let is_known = |name: &std::ffi::OsString| {
        name == LOCK || name == "lost+found" || is_unfinished && is_ours(name)
    };
    match names.iter().find(|name| !is_known(name)) {
        Some(stranger) => occupied(format!("is not empty (it has {})", stranger.display())),
        None => Ok(()),
    }
}

/// Whether a restore can have written a file of this name.
fn is_ours(name: &std::ffi::OsStr) -> bool {
    kind_of(name).is_some() || name.to_string_lossy().ends_with(UNFINISHED)
}

/// Removes the files of an unfinished restore.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // The note says whose files these are, so it goes last.
        if is_ours(&entry.file_name()) && entry.file_name() != NOTE {
            disk::remove(&entry.path())?;
        }
    }
    Ok(())
}
