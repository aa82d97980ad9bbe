//! A SQLite file of our own: private, written ahead, and still the one that its path names.
//!
//! SQLite goes on writing to a file that was deleted or replaced, and says nothing. So who uses one
//! looks before and after each transaction whether the path still names the file that is open.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rusqlite::{Connection, ErrorCode};
use rustix::fs::{FileType, Mode};

use super::database::DatabaseError;

/// What marks a file with orders: `Stam`.
pub(super) const ORDERS_FILE: i32 = 0x5374_616d;
/// What marks a file with the state of webhooks: `Stwh`.
pub(super) const WEBHOOKS_FILE: i32 = 0x5374_7768;
/// Pause between two attempts to have the file alone.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Time to wait for another process that writes.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// Which file the path names now. `None`: there is none.
pub(super) fn file_at(path: &Path) -> Result<Option<FileId>, DatabaseError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DatabaseError::Away(format!("{}: {error}", path.display()))),
    }
}

/// Makes an empty file that only its owner can read, unless there is one; SQLite gives the files
/// beside it the same rights. It is not opened for that: to close it would end the locks of other
/// connections of this process. What goes wrong, SQLite meets and says.
pub(super) fn make_private(path: &Path) {
    let owner = Mode::RUSR | Mode::WUSR;
    let _ = rustix::fs::mknodat(rustix::fs::CWD, path, FileType::RegularFile, owner, 0);
}

/// Has the file written ahead. The change needs the file for itself, and is refused at once, without
/// the time-out of others, while somebody else is at it.
pub(super) fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        let done = connection.query_row("PRAGMA journal_mode = WAL", [], mode);
        match done.as_ref().map_err(rusqlite::Error::sqlite_error_code) {
            Err(Some(ErrorCode::DatabaseBusy)) if Instant::now() < until => {
                thread::sleep(BUSY_PAUSE);
            }
            _ => return done.map(drop),
        }
    }
}

/// Who must act on an error.
pub(super) fn judge(file: &Path, error: &rusqlite::Error) -> DatabaseError {
    let text = format!("{}: {error}", file.display());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DatabaseError::Away(text),
        Some(ErrorCode::OutOfMemory | ErrorCode::SchemaChanged) => DatabaseError::Away(text),
        Some(ErrorCode::FileLockingProtocolFailed | ErrorCode::OperationInterrupted) => {
            DatabaseError::Away(text)
        }
        Some(ErrorCode::NotADatabase) => {
            let what = format!("{text}: it is another kind of file; name another");
            DatabaseError::Fatal(what)
        }
        _ => DatabaseError::Fatal(text),
    }
}

/// What became of the file, if the path no longer names the one that was opened.
pub(super) fn replaced(path: &Path, opened: FileId) -> Result<(), DatabaseError> {
    let now = file_at(path)?;
    if now == Some(opened) {
        return Ok(());
    }
    Err(DatabaseError::Replaced(format!(
        "{}: the file was {} while it was in use",
        path.display(),
        if now.is_none() { "deleted or renamed" } else { "replaced by another" }
    )))
}
