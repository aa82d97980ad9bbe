//! The data folder: its marker, its lock, and the names of its files.
//!
//! The marker (`marker`) says that the folder is ours, in which format, the id of its ledger and
//! which files must be in it. A lock on another file keeps a second process out, and ends with the
//! process that holds it, however that dies.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::disk::{self, FILE_MODE, FOLDER_MODE, Unfinished};
use super::marker::{Marker, Unreadable};
use super::open_error::OpenError;
use super::record::Kind;
use super::runs::Runs;
use crate::file_lock;
use crate::random;

pub(super) const MARKER: &str = "stampede-ledger";
pub(super) const LOCK: &str = "lock";
pub(super) const UNFINISHED: &str = ".tmp";

/// An open data folder. Only one process at a time has it open.
pub(super) struct DataDir {
    path: PathBuf,
    marker: Marker,
    /// Whether the file is older than `marker`.
    is_stale: bool,
    /// Whether the file has the current run.
    is_run_noted: bool,
    _lock: File,
}

/// A marker to be written.
pub(super) struct PendingMarker {
    folder: PathBuf,
    marker: Marker,
}

impl PendingMarker {
    /// Writes it durably.
    pub(super) fn write(&self) -> io::Result<()> {
        write_marker(&self.folder, &self.marker)
    }
}

/// The files of a folder, in ascending order of generation.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub journals: Vec<u64>,
    pub snapshots: Vec<u64>,
}

impl DataDir {
    /// Opens a folder. Creates it if it is missing or empty.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let fail = |error| OpenError::from_io(path, error);
        make(path).map_err(fail)?;
        let marked = has_ledger(path)?;
        if !marked && let Some(stranger) = first_stranger(path).map_err(fail)? {
            return Err(OpenError::Foreign(path.to_owned(), stranger));
        }
        let lock = lock(path)?;
        // Read again: another process may have created a ledger before we had the lock.
        let marker = match has_ledger(path)? {
            true => read_marker(path)?,
            false => {
                // A start that was killed may have created these without syncing them.
                for above in path.ancestors().skip(1) {
                    // We did not create those that we may not even read.
                    let _ = disk::sync_folder(above);
                }
                let marker = Marker::new(random_id().map_err(fail)?);
                write_marker(path, &marker).map_err(fail)?;
                marker
            }
        };
        let path = path.to_owned();
        let folder = Self { path, marker, is_stale: false, is_run_noted: false, _lock: lock };
        folder.remove_unfinished().map_err(fail)?;
        folder.close_to_others().map_err(fail)?;
        Ok(folder)
    }

    /// The random id of this folder's ledger, drawn when the folder was created.
    pub(super) fn id(&self) -> u128 {
        self.marker.id
    }

    /// The path of the folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The runs of the ledger, the current one included.
    pub(super) fn runs(&self) -> &Runs {
        &self.marker.runs
    }

    /// Whether the file has the current run. Until then the run must write nothing.
    pub(super) fn is_run_noted(&self) -> bool {
        self.is_run_noted
    }

    /// Checks that the needed journals exist.
    pub(super) fn check_files(&self, contents: &Contents) -> Result<(), OpenError> {
        let last = contents.journals.last().copied().unwrap_or(0);
        if last >= self.marker.journal {
            return Ok(());
        }
        let missing = journal_path(&self.path, self.marker.journal);
        Err(OpenError::missing(missing, format!("{MARKER} says that it was made")))
    }

    /// Checks that the needed records exist: the last one read is `last`, and ends at this byte of
    /// the journal of this generation.
    pub(super) fn check_records(
        &self,
        last: u64,
        (generation, end): (u64, u64),
    ) -> Result<(), OpenError> {
        let known = self.marker.record;
        if last >= known {
            return Ok(());
        }
        let file = journal_path(&self.path, generation);
        let what = format!("it ends with record {last}, but {MARKER} says that there was {known}");
        Err(OpenError::corrupt(&file, end, what))
    }

    /// Begins a run of the ledger after record `last` in the journal of this generation. Call
    /// [`note`](Self::note) before the run writes anything.
    pub(super) fn begin_run(&mut self, journal: u64, last: u64) -> io::Result<()> {
        let salt = random::u32().map_err(io::Error::other)?;
        self.marker.runs.begin(last + 1, salt);
        self.change(journal, last);
        Ok(())
    }

    /// Sets that this journal exists and that these records are durable, for the next write of the
    /// marker.
    pub(super) fn change(&mut self, journal: u64, last: u64) {
        self.marker.journal = self.marker.journal.max(journal);
        self.marker.record = self.marker.record.max(last);
        self.is_stale = true;
    }

    /// The marker for another thread to write. Do not call [`note`](Self::note) meanwhile.
    pub(super) fn notice(&self) -> PendingMarker {
        PendingMarker { folder: self.path.clone(), marker: self.marker.clone() }
    }

    /// Writes the marker durably, if it has changed.
    pub(super) fn note(&mut self) -> io::Result<()> {
        if self.is_stale {
            write_marker(&self.path, &self.marker)?;
            (self.is_stale, self.is_run_noted) = (false, true);
        }
        Ok(())
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
                disk::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Builds before 0.2.0 left the modes to the umask.
    fn close_to_others(&self) -> io::Result<()> {
        let mut closed = 0;
        let mut close = |path: &Path, mode| match disk::close_to_others(path, mode) {
            Ok(changed) => closed += u32::from(changed),
            Err(error) => tracing::warn!(
                path = %path.display(), %error,
                "mode of the data folder can't be restricted: other users can read it"
            ),
        };
        close(&self.path, FOLDER_MODE);
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            if [MARKER, LOCK].iter().any(|&ours| name == ours) || kind_of(&name).is_some() {
                close(&entry.path(), FILE_MODE);
            }
        }
        if closed > 0 {
            tracing::info!(
                folder = %self.path.display(), changed = closed,
                "mode of the data folder restricted: other users could read it"
            );
        }
        Ok(())
    }
}

/// Gives the ledger another id, which no database knows, if it has this id and is in this folder:
/// it was restored from a backup, and is to sell although its orders are ahead of it. Returns
/// whether it did.
pub fn renew_id(path: &Path, id: u128) -> Result<bool, OpenError> {
    if !has_ledger(path)? {
        return Ok(false);
    }
    let mut folder = DataDir::open(path)?;
    if folder.marker.id != id {
        return Ok(false);
    }
    let fail = |error| OpenError::from_io(path, error);
    folder.marker.id = random_id().map_err(fail)?;
    folder.is_stale = true;
    folder.note().map_err(fail)?;
    tracing::warn!(
        folder = %path.display(),
        was = %LedgerId(id),
        is = %LedgerId(folder.marker.id),
        "ledger restored under another id; its orders are written again"
    );
    Ok(true)
}

/// The name under which a database keeps the position of a ledger's changes.
pub fn source_name(ledger_id: u128) -> String {
    format!("embedded:{ledger_id:032x}")
}

/// The id of a ledger, as text for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerId(pub u128);

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for LedgerId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or_else(|| "must be the id of a ledger: 32 hexadecimal digits".into())
    }
}

fn random_id() -> io::Result<u128> {
    let id = random::u64().and_then(|high| Ok((high, random::u64()?)));
    let (high, low) = id.map_err(io::Error::other)?;
    Ok(u128::from(high) << 64 | u128::from(low))
}

pub(super) fn read_marker(folder: &Path) -> Result<Marker, OpenError> {
    let path = folder.join(MARKER);
    let bytes = fs::read(&path).map_err(|error| OpenError::from_io(&path, error))?;
    Marker::decode(&bytes).map_err(|unreadable| match unreadable {
        Unreadable::Newer(found) => OpenError::Newer { folder: folder.to_owned(), found },
        Unreadable::Older(found) => OpenError::Older { folder: folder.to_owned(), found },
        Unreadable::Damaged(what) => OpenError::corrupt(&path, 0, what),
    })
}

/// Writes the marker: after a crash the file is complete, old or new.
pub(super) fn write_marker(folder: &Path, marker: &Marker) -> io::Result<()> {
    write_text(folder, MARKER, &marker.encode())
}

/// Writes a small file durably: after a crash it is complete, old or new.
pub(super) fn write_text(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let path = folder.join(name);
    let unfinished = Unfinished::create(unfinished_path(&path), path)?;
    disk::write_at(unfinished.file(), text.as_bytes(), 0)?;
    disk::sync(unfinished.file())?;
    unfinished.name()?;
    disk::sync_folder(folder)
}

/// Whether a path has a ledger of ours.
pub(super) fn has_ledger(path: &Path) -> Result<bool, OpenError> {
    path.join(MARKER).try_exists().map_err(|error| OpenError::from_io(path, error))
}

/// Lists a folder's journals and snapshots.
pub(super) fn contents(folder: &Path) -> io::Result<Contents> {
    let mut contents = Contents::default();
    for entry in fs::read_dir(folder)? {
        match kind_of(&entry?.file_name()) {
            Some((Kind::Journal, generation)) => contents.journals.push(generation),
            Some((Kind::Snapshot, generation)) => contents.snapshots.push(generation),
            None => {}
        }
    }
    contents.journals.sort_unstable();
    contents.snapshots.sort_unstable();
    Ok(contents)
}

/// The kind of our file with this name.
pub(super) fn kind_of(name: &OsStr) -> Option<(Kind, u64)> {
    let (kind, generation) = name.to_str()?.split_once('-')?;
    let kind = match kind {
        "journal" => Kind::Journal,
        "snapshot" => Kind::Snapshot,
        _ => return None,
    };
    Some((kind, generation.parse().ok()?))
}

/// The file of a journal generation.
pub(super) fn journal_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("journal-{generation:010}"))
}

/// The file with the state before a journal generation.
pub(super) fn snapshot_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("snapshot-{generation:010}"))
}

/// The name of a file until it is complete. The next start removes a leftover.
pub(super) fn unfinished_path(path: &Path) -> PathBuf {
    path.with_extension(&UNFINISHED[1..])
}

/// Creates the folder and its missing parents, and makes all their names durable.
pub(super) fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if path.exists() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let missing = path.ancestors().take_while(|above| !above.as_os_str().is_empty());
    let missing: Vec<&Path> = missing.take_while(|above| !above.exists()).collect();
    for level in missing.into_iter().rev() {
        // The parents have the mode of the umask.
        let mode = if level == path { FOLDER_MODE } else { 0o777 };
        match disk::create_folder(level, mode) {
            // Another process was faster, or the path goes up again by `..`.
            Err(_) if level.is_dir() => {}
            result => result?,
        }
        disk::sync_folder(level.parent().unwrap_or(Path::new("/")))?;
    }
    Ok(())
}

/// A file that neither we nor `mkfs` created there.
fn first_stranger(path: &Path) -> io::Result<Option<String>> {
    let ours = [LOCK, "stampede-ledger.tmp", "lost+found"];
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if !ours.iter().any(|&ours| name == ours) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let file = disk::open_lock(&path).map_err(|error| OpenError::from_io(&path, error))?;
    match file_lock::lock(&file, file_lock::PATIENCE) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::from_io(&path, error)),
    }
}
