//! Why a data folder can't be used.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::marker::{FORMAT_VERSION, FORMAT_VERSION_MIN};

/// Why the folder can't be used. The message says what to do.
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
        "{folder} is in format {found}, this stampede reads {FORMAT_VERSION_MIN} to \
         {FORMAT_VERSION}: go on with the program that wrote it, or start anew in another folder"
    )]
    Older {
        /// The folder.
        folder: PathBuf,
        /// Its format.
        found: u32,
    },
    /// There is no ledger, and none was to be created.
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
    /// A needed file is missing. Nothing was changed.
    #[error(
        "{file} is missing ({why}): put it back, or restore the whole folder from a backup; \
         starting without it could sell the same units twice"
    )]
    FileMissing {
        /// The file.
        file: PathBuf,
        /// Why it must exist.
        why: String,
    },
    /// The file has other contents than were written. Nothing was changed.
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
    /// Sales are moving to another ledger.
    #[error(
        "sales of {folder} are being moved to {to}, and that did not come to its end: run \
         `stampede move` again with the same --from and --to, which finishes it, or with --abandon, \
         which takes it back"
    )]
    Moving {
        /// The folder.
        folder: PathBuf,
        /// The other ledger.
        to: String,
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

    /// A needed file that is missing.
    pub(super) fn missing(file: PathBuf, why: impl Into<String>) -> Self {
        Self::FileMissing { file, why: why.into() }
    }
}
