//! The data folder: whose it is, who has it open, what its files are called.
//!
//! The marker (`marker`) says that the folder is ours, in which format, what its ledger is called and
//! what must be in it; a lock on another file keeps a second process out and falls with the process
//! that holds it, however that dies.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use super::disk::{self, FILE_MODE, FOLDER_MODE, Unfinished};
use super::marker::{Marker, Unreadable};
use super::open_error::OpenError;
use super::record::Kind;
use super::runs::Runs;

pub(super) const MARKER: &str = "stampede-ledger";
/// Time to wait for the lock.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);
pub(super) const LOCK: &str = "lock";
pub(super) const UNFINISHED: &str = ".tmp";

/// An open data folder. One process at a time has it.
pub(super) struct Folder {
    path: PathBuf,
    marker: Marker,
    /// Whether the file says less than `marker`.
    is_stale: bool,
    /// Whether it names the current run.
    is_run_noted: bool,
    _lock: File,
}

/// A marker to be written.
pub(super) struct Notice {
    folder: PathBuf,
    marker: Marker,
}

impl Notice {
    /// Makes it durable.
    pub(super) fn write(&self) -> io::Result<()> {
        write_marker(&self.folder, &self.marker)
    }
}

/// What a folder holds, in ascending order of generation.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub journals: Vec<u64>,
    pub snapshots: Vec<u64>,
}

impl Folder {
    /// Opens a folder, making it if it is missing or empty.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let fail = |error| OpenError::from_io(path, error);
        make(path).map_err(fail)?;
        let marked = has_ledger(path)?;
        if !marked && let Some(stranger) = first_stranger(path).map_err(fail)? {
            return Err(OpenError::Foreign(path.to_owned(), stranger));
        }
        let lock = lock(path)?;
        // Asked again: another process may have made it its own before we had the lock.
        let marker = match has_ledger(path)? {
            true => read_marker(path)?,
            false => {
                // A start that was killed may have made these without.
                for above in path.ancestors().skip(1) {
                    // Those that we may not even read, we did not make.
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

    /// What tells this folder's ledger from any other: drawn at random when the folder was made.
    pub(super) fn id(&self) -> u128 {
        self.marker.id
    }

    /// Where the folder is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The runs of the ledger, the current one included.
    pub(super) fn runs(&self) -> &Runs {
        &self.marker.runs
    }

    /// Whether the marker names the current run. Until then the run must write nothing.
    pub(super) fn is_run_noted(&self) -> bool {
        self.is_run_noted
    }

    /// Checks that the journals are there that must be.
    pub(super) fn check_files(&self, contents: &Contents) -> Result<(), OpenError> {
        let last = contents.journals.last().copied().unwrap_or(0);
        if last >= self.marker.journal {
            return Ok(());
        }
        let missing = journal_path(&self.path, self.marker.journal);
        Err(OpenError::missing(missing, format!("{MARKER} says that it was made")))
    }

    /// Checks that the records are there that must be: what was read ends with record `last` at a
    /// byte of the journal of this generation.
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

    /// Begins a run of the ledger after record `last` in the journal of this generation. To be
    /// [noted](Self::note) before the run writes anything.
    pub(super) fn begin_run(&mut self, journal: u64, last: u64) -> io::Result<()> {
        let salt = getrandom::u32().map_err(io::Error::other)?;
        self.marker.runs.begin(last + 1, salt);
        self.change(journal, last);
        Ok(())
    }

    /// The marker is to say that this journal exists and that these records are durable.
    pub(super) fn change(&mut self, journal: u64, last: u64) {
        self.marker.journal = self.marker.journal.max(journal);
        self.marker.record = self.marker.record.max(last);
        self.is_stale = true;
    }

    /// What the marker is to say, to be written by another thread. Meanwhile nothing may be
    /// [noted](Self::note) here.
    pub(super) fn notice(&self) -> Notice {
        Notice { folder: self.path.clone(), marker: self.marker.clone() }
    }

    /// Makes durable what the marker is to say, if that has changed.
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
                "everybody on this machine may read users and keys here: can't change the mode"
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
                "data folder closed to other users: everybody could read it"
            );
        }
        Ok(())
    }
}

/// Makes the ledger with this id, if it is in this folder, another one, which no database knows: it
/// was restored from a backup, and is to sell although its orders know of more than it does. Whether
/// it was.
pub fn renew_id(path: &Path, id: u128) -> Result<bool, OpenError> {
    if !has_ledger(path)? {
        return Ok(false);
    }
    let mut folder = Folder::open(path)?;
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
        "restored ledger: it goes on under another id, and its orders are written anew"
    );
    Ok(true)
}

/// The name under which a database keeps the position of a ledger's changes.
pub fn source_name(ledger_id: u128) -> String {
    format!("embedded:{ledger_id:032x}")
}

/// The id of a ledger as people see it.
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
    let id = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
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

/// Writes the marker: it is there wholly or as it was, also after a crash.
pub(super) fn write_marker(folder: &Path, marker: &Marker) -> io::Result<()> {
    write_text(folder, MARKER, &marker.encode())
}

/// Writes a small file, durably: it is there wholly or as it was, also after a crash.
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

/// Which of ours a name is.
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

/// The name a file has until it is whole. A leftover is removed at the next start.
pub(super) fn unfinished_path(path: &Path) -> PathBuf {
    path.with_extension(&UNFINISHED[1..])
}

/// Makes the folder if it is missing, with the folders above it. All their names are durable after.
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
        // Those above it are as the umask has it.
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

/// Something that neither we nor `mkfs` put there.
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
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(|error| OpenError::from_io(&path, error))?;
    // One who has it may be about to end; and a program that a thread of its owner started has it
    // too, from its fork to its exec.
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                thread::sleep(LOCK_PATIENCE / 20);
            }
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(OpenError::from_io(&path, error)),
        }
    }
}
