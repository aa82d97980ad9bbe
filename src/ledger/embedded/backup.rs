//! A backup: a copy of a ledger's files as of one record, taken while a server may be selling from
//! them.
//!
//! A record is durable before anything in it is answered, and is written in one piece after the one
//! before it. So a reader of the files up to any complete record has a state that the ledger was
//! in, and everything that was answered before the reading began. The copy does not ask, need or
//! delay a server: records written meanwhile are simply after the end of the copy.
//!
//! Only the set of files changes under a reader: a compaction removes journals. All files are
//! opened before the first is read, and an open file stays readable. If one is gone before that, or
//! if the files do not fit together, the copy begins again.
//!
//! Every record is checked on the way, and its contents are counted.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::background::lower_priority;
use super::data_dir::{Contents, MARKER, contents, has_ledger, read_marker};
use super::data_dir::{journal_path, snapshot_path};
use super::disk::{self, FOLDER_MODE};
use super::journal::next_generation;
use super::manifest::{FileEntry, MANIFEST, Manifest};
use super::marker::Marker;
use super::moving::check_settled;
use super::open_error::OpenError;
use super::record::{FileHeader, Kind, Records, StopFlag, seal};
use super::snapshot::WHOLE;
use super::tally::Tally;
use crate::clock::wall_ms;
use crate::limits::{BACKUP_ATTEMPTS_MAX, BACKUP_DIRTY_BYTES_MAX};

/// Records that were being written when the end of the journal was read, and are copied too.
const LATE_RECORDS_MAX: u32 = 3;

/// The number of attempts after which a missing file counts as missing for good.
const LOOKS_MAX: u32 = 3;
/// The time between two of them.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The contents of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backup {
    /// The ledger's id.
    pub ledger_id: u128,
    /// Sales.
    pub sales: u64,
    /// Reservations of all sales, of any status.
    pub reservations: u64,
    /// The last record in it.
    pub record: u64,
    /// Bytes of all its files.
    pub bytes: u64,
}

/// Why there is no backup. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The ledger can't be read.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// Something exists there already.
    #[error("{0} exists already: name a folder that does not, so that nothing is written over")]
    Exists(PathBuf),
    /// Its files can't be written.
    #[error("can't write {0}: {1}")]
    Write(PathBuf, #[source] io::Error),
    /// Another process changes the files all the time.
    #[error(
        "the files of {0} changed {BACKUP_ATTEMPTS_MAX} times while they were copied: try again"
    )]
    Restless(PathBuf),
}

/// Called with the number of copied bytes, and about how many there are.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Why a copy ends early.
enum Stop {
    /// The files have changed: begin again.
    Changed,
    Failed(BackupError),
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(_, error) if error.kind() == ErrorKind::NotFound => Self::Changed,
            error => Self::Failed(error.into()),
        }
    }
}

/// Copies the ledger of a folder to a new folder, which appears when it is complete. For a thread
/// that does nothing else.
pub fn back_up(folder: &Path, to: &Path, progress: Progress<'_>) -> Result<Backup, BackupError> {
    if !has_ledger(folder)? {
        return Err(OpenError::Missing(folder.to_owned()).into());
    }
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    lower_priority();
    for _ in 0..BACKUP_ATTEMPTS_MAX {
        let draft = Draft::create(to).map_err(|error| BackupError::Write(to.to_owned(), error))?;
        match copy(folder, &draft.path, progress) {
            Ok(backup) => {
                draft.name(to)?;
                return Ok(backup);
            }
            Err(Stop::Changed) => {}
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Err(BackupError::Restless(folder.to_owned()))
}

/// A folder that is removed unless it gets its final name.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn create(to: &Path) -> io::Result<Self> {
        let name = to.file_name().ok_or_else(|| io::Error::other("is not a folder's name"))?;
        let mut draft = name.to_owned();
        draft.push(format!(".{}.part", std::process::id()));
        let path = to.with_file_name(draft);
        disk::create_folder(&path, FOLDER_MODE)?;
        Ok(Self { path })
    }

    /// Renames it durably to its final name. Never replaces anything.
    fn name(&self, to: &Path) -> Result<(), BackupError> {
        let fail = |error: io::Error| match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => {
                BackupError::Exists(to.to_owned())
            }
            _ => BackupError::Write(to.to_owned(), error),
        };
        disk::sync_folder(&self.path).map_err(fail)?;
        disk::rename_new(&self.path, to).map_err(fail)?;
        disk::sync_folder(to.parent().unwrap_or(Path::new("/"))).map_err(fail)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // The name of a folder that can't be removed says what it is.
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let _ = disk::remove(&entry.path());
        }
        let _ = disk::remove_folder(&self.path);
    }
}

/// The files of a ledger, all open.
struct BackupSource {
    snapshot: Option<Records>,
    journals: Vec<Records>,
}

impl BackupSource {
    fn open(folder: &Path, marker: &Marker) -> Result<Self, Stop> {
        let found = contents(folder).map_err(|error| OpenError::from_io(folder, error))?;
        let stop = StopFlag::default();
        let Contents { journals, snapshots } = found;
        let base = snapshots.last().copied();
        let open = |path: PathBuf, kind, generation| Records::open(&path, kind, generation, &stop);
        let snapshot =
            base.map(|base| open(snapshot_path(folder, base), Kind::Snapshot, base)).transpose()?;
        let first = base.unwrap_or(1);
        let chain = journals.into_iter().filter(|&generation| generation >= first);
        let chain: Vec<u64> = chain.collect();
        let journals = chain
            .iter()
            .map(|&generation| open(journal_path(folder, generation), Kind::Journal, generation))
            .collect::<Result<Vec<_>, _>>()?;
        let in_order = (first..).zip(&chain).all(|(wanted, &found)| wanted == found);
        let last = chain.last().copied().unwrap_or(0);
        // A folder to which nothing was ever written has no journal.
        let may_be_empty = base.is_none() && marker.journal == 0;
        if !in_order || last < marker.journal || journals.is_empty() && !may_be_empty {
            return Err(Stop::Changed);
        }
        Ok(Self { snapshot, journals })
    }

    fn bytes(&self) -> u64 {
        self.snapshot.iter().chain(&self.journals).map(Records::file_bytes).sum()
    }
}

fn copy(folder: &Path, draft: &Path, progress: Progress<'_>) -> Result<Backup, Stop> {
    check_settled(folder)?;
    let marker = read_marker(folder)?;
    let source = match BackupSource::open(folder, &marker) {
        // A file that is missing for good is named as a start would name it.
        Err(Stop::Changed) if !is_changing(folder, &marker) => {
            return Err(missing(folder, &marker).into());
        }
        source => source?,
    };
    let total = source.bytes();
    let mut copying = Copying {
        draft,
        files: Vec::new(),
        tally: Tally::default(),
        next_number: 1,
        done: 0,
        total,
        progress,
    };
    if let Some(snapshot) = source.snapshot {
        copying.snapshot(snapshot)?;
    }
    copying.journals(source.journals)?;
    let record = copying.next_number - 1;
    if record < marker.record {
        let file = folder.join(MARKER);
        let what = format!(
            "the journals end with record {record}, but it says that there was {}",
            marker.record
        );
        return Err(Stop::Failed(OpenError::corrupt(&file, 0, what).into()));
    }
    // A server that has started meanwhile has begun a run of its own.
    if read_marker(folder)?.runs != marker.runs {
        return Err(Stop::Changed);
    }
    let files = std::mem::take(&mut copying.files);
    let (sales, reservations) = copying.tally.counts();
    let taken_ms = wall_ms();
    let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let Marker { id, runs, .. } = marker;
    let manifest = Manifest { id, taken_ms, sales, reservations, record, runs, files };
    bytes += write_manifest(draft, &manifest).map_err(|error| failed(draft, error))?;
    Ok(Backup { ledger_id: id, sales, reservations, record, bytes })
}

fn failed(path: &Path, error: io::Error) -> Stop {
    Stop::Failed(BackupError::Write(path.to_owned(), error))
}

fn write_manifest(draft: &Path, manifest: &Manifest) -> io::Result<u64> {
    let (file, text) = (disk::create(&draft.join(MANIFEST))?, manifest.encode());
    disk::write_at(&file, text.as_bytes(), 0)?;
    disk::sync(&file)?;
    Ok(text.len() as u64)
}

/// Whether the files have changed, so that another attempt may find them all.
fn is_changing(folder: &Path, before: &Marker) -> bool {
    (0..LOOKS_MAX).any(|_| {
        thread::sleep(LOOK_PAUSE);
        read_marker(folder).is_ok_and(|marker| marker != *before)
            || BackupSource::open(folder, before).is_ok()
    })
}

fn missing(folder: &Path, marker: &Marker) -> OpenError {
    let journal = journal_path(folder, marker.journal.max(1));
    OpenError::missing(
        journal,
        format!("or one between it and the newest snapshot: {MARKER} says that they were made"),
    )
}

struct Copying<'a> {
    draft: &'a Path,
    files: Vec<FileEntry>,
    tally: Tally,
    next_number: u64,
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

impl Copying<'_> {
    fn snapshot(&mut self, mut records: Records) -> Result<(), Stop> {
        let mut output = self.begin(Kind::Snapshot, records.header())?;
        let mut is_whole = false;
        for number in 0.. {
            let Some(record) = records.next(number)? else { break };
            is_whole = record == WHOLE;
            let counted = if is_whole { Ok(()) } else { self.tally.snapshot(number, record) };
            output.record(number, record)?;
            counted.map_err(|malformed| records.corrupt(malformed.0))?;
            self.tell(records.offset());
        }
        if !is_whole {
            return Err(records.corrupt("no such record").into());
        }
        self.next_number = records.header().first_number;
        self.finish(output, records.offset())
    }

    fn journals(&mut self, mut journals: Vec<Records>) -> Result<(), Stop> {
        let mut is_closed = true;
        for records in &mut journals {
            let first = self.next_number;
            let begins_with = records.header().first_number;
            if !is_closed {
                // The journal before is the last one, unless this one was begun: see `recover`.
                let is_begun = records.next(begins_with)?.is_some();
                records.rewind()?;
                if !is_begun {
                    break;
                }
            }
            if begins_with != first {
                return Err(match begins_with > first {
                    // More was written into the journal before since it was read.
                    true => Stop::Changed,
                    false => {
                        records.corrupt("it begins before the end of the files before it").into()
                    }
                });
            }
            is_closed = self.journal(records)?;
        }
        Ok(())
    }

    /// Copies a journal up to its end, or up to the last complete record. Returns whether it is
    /// closed.
    fn journal(&mut self, records: &mut Records) -> Result<bool, Stop> {
        let mut output = self.begin(Kind::Journal, records.header())?;
        let (mut late, mut is_closed) = (0, false);
        while !is_closed {
            let number = self.next_number;
            let mut is_there = records.next(number)?.is_some();
            if !is_there && late < LATE_RECORDS_MAX {
                // It may have been written between two reads.
                late += 1;
                records.look_again()?;
                is_there = records.next(number)?.is_some();
            }
            if !is_there {
                break;
            }
            let record = records.current();
            is_closed = next_generation(record).is_some();
            output.record(number, record)?;
            if !is_closed {
                let counted = self.tally.journal(record, number);
                self.next_number = counted.map_err(|malformed| records.corrupt(malformed.0))?;
            }
            self.tell(records.offset());
        }
        if let Some(later) = records.find_later(self.next_number)? {
            // If it was written since, so was the one before it.
            records.look_again()?;
            if is_closed || records.next(self.next_number)?.is_none() {
                let what = format!("a good record follows at byte {later}");
                return Err(records.corrupt(what).into());
            }
        }
        let end = records.offset();
        self.finish(output, end)?;
        Ok(is_closed)
    }

    fn begin(&mut self, kind: Kind, header: &FileHeader) -> Result<Output, Stop> {
        let generation = header.generation;
        let path = match kind {
            Kind::Snapshot => snapshot_path(self.draft, generation),
            Kind::Journal => journal_path(self.draft, generation),
        };
        Output::create(path, *header)
    }

    fn tell(&mut self, offset: u64) {
        (self.progress)(self.done + offset, self.total);
    }

    fn finish(&mut self, output: Output, offset: u64) -> Result<(), Stop> {
        self.done += offset;
        self.files.push(output.finish()?);
        Ok(())
    }
}

/// A file of the copy.
struct Output {
    path: PathBuf,
    file: fs::File,
    header: FileHeader,
    hasher: crc32fast::Hasher,
    bytes: u64,
    dirty_bytes: u64,
    record: Vec<u8>,
}

impl Output {
    fn create(path: PathBuf, header: FileHeader) -> Result<Self, Stop> {
        let file = disk::create(&path).map_err(|error| failed(&path, error))?;
        let (hasher, record) = (crc32fast::Hasher::new(), Vec::new());
        let mut output = Self { path, file, header, hasher, bytes: 0, dirty_bytes: 0, record };
        output.write(&header.encode())?;
        Ok(output)
    }

    fn record(&mut self, number: u64, payload: &[u8]) -> Result<(), Stop> {
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.resize(super::record::RECORD_HEADER_BYTES, 0);
        record.extend_from_slice(payload);
        seal(&mut record, self.header.salt, number);
        let written = self.write(&record);
        self.record = record;
        written
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let fail = |error| failed(&self.path, error);
        disk::write_at(&self.file, bytes, self.bytes).map_err(fail)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.dirty_bytes += bytes.len() as u64;
        if self.dirty_bytes >= BACKUP_DIRTY_BYTES_MAX {
            disk::sync_data(&self.file).map_err(fail)?;
            self.dirty_bytes = 0;
        }
        Ok(())
    }

    fn finish(self) -> Result<FileEntry, Stop> {
        disk::sync(&self.file).map_err(|error| failed(&self.path, error))?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(FileEntry { name, bytes: self.bytes, checksum: self.hasher.finalize() })
    }
}
