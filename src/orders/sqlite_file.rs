//! A SQLite file of our own: private, in WAL mode, and still the one that its path names.
//!
//! SQLite goes on writing to a file that was deleted or replaced, without an error. So users check
//! before and after each transaction whether the path still names the open file.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{FileType, Mode};

use super::database::DatabaseError;

/// The application id of a file with orders: `Stam`.
pub(super) const ORDERS_FILE: i32 = 0x5374_616d;
/// The application id of a file with the state of webhooks: `Stwh`.
pub(super) const WEBHOOKS_FILE: i32 = 0x5374_7768;
/// The pause between two attempts to lock the file exclusively.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// The time to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// The file that the path names now. `None`: there is none.
pub(super) fn file_at(path: &Path) -> Result<Option<FileId>, DatabaseError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DatabaseError::Away(format!("{}: {error}", path.display()))),
    }
}

/// Creates an empty file that only its owner can read, unless there is one; SQLite gives its side
/// files the same mode. The file is not opened for that: closing it would end the locks of other
/// connections of this process. Errors are left for SQLite to report.
pub(super) fn make_private(path: &Path) {
    let owner = Mode::RUSR | Mode::WUSR;
    let _ = rustix::fs::mknodat(rustix::fs::CWD, path, FileType::RegularFile, owner, 0);
}

/// Connects to the file. Until [`finish`], the end of the connection leaves the WAL as it is. Otherwise
/// SQLite may delete a WAL that is still needed: it does so if it could neither shorten the file of
/// shared memory nor open it again for writing (3.54.1).
pub(super) fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Notes that the file is in use: the WAL and the shared memory are open.
pub(super) fn finish(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)
}

/// Switches the file to WAL mode. The change needs an exclusive lock, and is refused at once,
/// without a time-out, while another connection is open.
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

/// Classifies an error by whether the operator must act.
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

/// Returns an error if the path no longer names the file that was opened.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_keeps_its_wal() {
        let folder = tempfile::tempdir().unwrap();
        let [made, left, wal] =
            ["made.db", "left.db", "left.db-wal"].map(|name| folder.path().join(name));
        let connection = Connection::open(&made).unwrap();
        write_ahead(&connection).unwrap();
        connection.execute_batch("CREATE TABLE a (b)").unwrap();
        // As a crash leaves it: its end would delete the WAL.
        fs::copy(&made, &left).unwrap();
        fs::copy(folder.path().join("made.db-wal"), &wal).unwrap();
        let before = fs::read(&wal).unwrap();
        assert!(!before.is_empty());

        let url = format!("sqlite:{}", left.display());
        assert!(crate::orders::open(&url).is_err(), "it is of another program");
        assert_eq!(fs::read(&wal).unwrap(), before);
        let left = Connection::open(&left).unwrap();
        assert_eq!(left.query_row("SELECT count(*) FROM a", [], |row| row.get(0)), Ok(0));
    }
}
