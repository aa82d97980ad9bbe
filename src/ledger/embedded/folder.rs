//! The data folder: whose it is, who has it open, what its files are called.
//!
//! A marker file says that the folder is ours, in which format, and what its ledger is called; a lock on another keeps a second
//! process out and falls with the process that holds it, however that dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The format this build writes and reads. The older ones were never released.
pub(super) const FORMAT_VERSION: u32 = 2;

const MARKER: &str = "stampede-ledger";
const MARKER_TEXT: &str = "stampede ledger, format ";
/// Before the id, on the marker's second line.
const MARKER_ID: &str = "id ";
/// Time to wait for the lock.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);
const LOCK: &str = "lock";
const UNFINISHED: &str = ".tmp";

/// Why the folder can't be used. Says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{0} is in use by another stampede: stop that one or choose another folder")]
    InUse(PathBuf),
    /// There are files in it and none of them is our marker.
    #[error("{0} isn't a stampede data folder and isn't empty (it has {1}): choose another folder")]
    Foreign(PathBuf, String),
    /// The path is a file.
    #[error("{0} is not a folder: choose another path")]
    NotAFolder(PathBuf),
    /// Written by a newer stampede.
    #[error(
        "{folder} is in format {found}, this stampede reads up to {FORMAT_VERSION}: use a newer one"
    )]
    Newer {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Written by an older stampede.
    #[error(
        "{folder} is in format {found}, this stampede reads {FORMAT_VERSION} only: go on with the \
         program that wrote it, or start anew in another folder"
    )]
    Older {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
    },
    /// There is no ledger and none was to be made.
    #[error("there is no ledger in {0}: name the data folder of a server")]
    Missing(PathBuf),
    /// We may not read or write it.
    #[error("no permission for {0}: run as its owner, or give this user read and write access")]
    Permission(PathBuf),
    /// It is on a read-only file system.
    #[error("{0} is on a read-only file system: remount it writable or choose another folder")]
    ReadOnly(PathBuf),
    /// There is no room on its disk, or no quota.
    #[error("no space left for {0}: free some and start again")]
    Full(PathBuf),
    /// What is in the file is not what was written. Nothing was changed.
    #[error(
        "{file} is damaged at byte {offset} ({what}): restore the folder from a backup; \
         starting without what is after that byte could sell the same units twice"
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Anything else that the system reports.
    #[error("can't use {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

impl OpenError {
    /// The error for what the system said about a path.
    pub(super) fn from_io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Permission(path),
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(path),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full(path)
            }
            ErrorKind::NotADirectory => Self::NotAFolder(path),
            _ => Self::Io(path, error),
        }
    }

    /// A damaged file.
    pub(super) fn corrupt(file: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, what: what.into() }
    }
}

/// An open data folder. One process at a time has it.
pub(super) struct Folder {
    path: PathBuf,
    id: u128,
    _lock: File,
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
        create(path).map_err(fail)?;
        let marked = path.join(MARKER).try_exists().map_err(fail)?;
        if !marked && let Some(stranger) = first_stranger(path).map_err(fail)? {
            return Err(OpenError::Foreign(path.to_owned(), stranger));
        }
        let mut folder = Self { path: path.to_owned(), id: 0, _lock: lock(path)? };
        // Asked again: another process may have made it its own before we had the lock.
        if !path.join(MARKER).try_exists().map_err(fail)? {
            let id = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
            let (high, low) = id.map_err(|error| fail(io::Error::other(error)))?;
            let text = format!("{MARKER_TEXT}{FORMAT_VERSION}\n{MARKER_ID}{high:016x}{low:016x}\n");
            folder.write_whole(MARKER, text.as_bytes()).map_err(fail)?;
        }
        folder.id = folder.read_marker()?;
        folder.remove_unfinished().map_err(fail)?;
        Ok(folder)
    }

    /// Checks the format and gives the id.
    fn read_marker(&self) -> Result<u128, OpenError> {
        let marker = self.path.join(MARKER);
        let text = fs::read(&marker).map_err(|error| OpenError::from_io(&marker, error))?;
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines();
        let version = lines.next().and_then(|line| line.strip_prefix(MARKER_TEXT)?.parse().ok());
        let id = lines.next().and_then(|line| line.strip_prefix(MARKER_ID));
        let id = id.and_then(|id| u128::from_str_radix(id, 16).ok());
        let folder = self.path.clone();
        match (version, id) {
            (Some(FORMAT_VERSION), Some(id)) => Ok(id),
            (Some(FORMAT_VERSION), None) => Err(OpenError::corrupt(&marker, 0, "no id")),
            (Some(found), _) if found > FORMAT_VERSION => Err(OpenError::Newer { folder, found }),
            (Some(found), _) if found > 0 => Err(OpenError::Older { folder, found }),
            _ => Err(OpenError::corrupt(&marker, 0, "not a format that ever was")),
        }
    }

    /// What tells this folder's ledger from any other: drawn at random when the folder was made.
    pub(super) fn id(&self) -> u128 {
        self.id
    }

    /// Where the folder is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a small file that is there wholly or not at all, also after a crash.
    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let unfinished = self.path.join(format!("{name}{UNFINISHED}"));
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.path.join(name))?;
        sync_folder(&self.path)
    }

    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Whether a path has a ledger of ours.
pub(super) fn has_ledger(path: &Path) -> Result<bool, OpenError> {
    path.join(MARKER).try_exists().map_err(|error| OpenError::from_io(path, error))
}

/// Lists a folder's journals and snapshots.
pub(super) fn contents(folder: &Path) -> io::Result<Contents> {
    let mut contents = Contents::default();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some((kind, generation)) = name.to_str().and_then(|name| name.split_once('-')) else {
            continue;
        };
        match (kind, generation.parse()) {
            ("journal", Ok(generation)) => contents.journals.push(generation),
            ("snapshot", Ok(generation)) => contents.snapshots.push(generation),
            _ => {}
        }
    }
    contents.journals.sort_unstable();
    contents.snapshots.sort_unstable();
    Ok(contents)
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

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if path.exists() {
        return Err(ErrorKind::NotADirectory.into());
    }
    fs::create_dir_all(path)?;
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
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

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
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
