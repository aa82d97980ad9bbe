//! The data folder: whose it is, who has it open, what its files are called.
//!
//! A marker file says that the folder is ours and in which format; a lock on another keeps a second
//! process out and falls with the process that holds it, however that dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The format this build writes, and the newest it reads.
pub(super) const FORMAT_VERSION: u32 = 1;

const MARKER: &str = "stampede-ledger";
const MARKER_TEXT: &str = "stampede ledger, format ";
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
        let folder = Self { path: path.to_owned(), _lock: lock(path)? };
        // Asked again: another process may have made it its own before we had the lock.
        if !path.join(MARKER).try_exists().map_err(fail)? {
            let text = format!("{MARKER_TEXT}{FORMAT_VERSION}\n");
            folder.write_whole(MARKER, text.as_bytes()).map_err(fail)?;
        }
        folder.check_version()?;
        folder.remove_unfinished().map_err(fail)?;
        Ok(folder)
    }

    fn check_version(&self) -> Result<(), OpenError> {
        let marker = self.path.join(MARKER);
        let text = fs::read(&marker).map_err(|error| OpenError::from_io(&marker, error))?;
        let version = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.strip_prefix(MARKER_TEXT)?.trim_end().parse().ok());
        match version {
            Some(FORMAT_VERSION) => Ok(()),
            Some(found) if found > FORMAT_VERSION => {
                Err(OpenError::Newer { folder: self.path.clone(), found })
            }
            _ => Err(OpenError::corrupt(&marker, 0, "not a format that ever was")),
        }
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
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::from_io(&path, error)),
    }
}
