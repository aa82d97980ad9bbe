//! The file of a worker's state: its format, its version, and its lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::file_lock;
use crate::orders::database::DatabaseError;
use crate::orders::sqlite_file::{
    FileId, ORDERS_FILE, WEBHOOKS_FILE, connect, file_at, finish, judge, make_private, write_ahead,
};

/// Each migrates the schema from its number to the next.
const MIGRATIONS: [&str; 2] = [include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// Held by the one worker that delivers from a file. Released when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock.
    pub(super) fn take(state: &Path) -> Result<Self, DatabaseError> {
        let mut name = state.as_os_str().to_owned();
        name.push("-lock");
        let path = PathBuf::from(name);
        let shown = path.display();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| DatabaseError::Fatal(format!("{shown}: {error}")))?;
        match file_lock::lock(&file, file_lock::PATIENCE) {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(DatabaseError::Fatal(format!(
                "{} is in use by another worker: each has a file of its own, and its own group",
                state.display()
            ))),
            Err(TryLockError::Error(error)) => {
                Err(DatabaseError::Fatal(format!("{shown}: {error}")))
            }
        }
    }
}

/// Opens the file and migrates its schema. `creates`: creates it if it is missing.
pub(super) fn open(path: &Path, creates: bool) -> Result<(Connection, FileId), DatabaseError> {
    let judge = |error| judge(path, &error);
    let before = file_at(path)?;
    if creates {
        make_private(path);
    } else if before.is_none() {
        return Err(DatabaseError::Fatal(format!("{}: there is no such file", path.display())));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = connect(path, flags).map_err(judge)?;
    migrate(path, &mut connection)?;
    // The mode belongs to the file; `synchronous` belongs to the connection.
    write_ahead(&connection).map_err(judge)?;
    connection.execute_batch("PRAGMA synchronous = FULL").map_err(judge)?;
    finish(&connection).map_err(judge)?;
    match file_at(path)? {
        Some(file) if before.is_none_or(|before| before == file) => Ok((connection, file)),
        _ => Err(DatabaseError::Away(format!(
            "{}: the file was replaced while it was opened",
            path.display()
        ))),
    }
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), DatabaseError> {
    let judge = |error| judge(path, &error);
    let shown = path.display();
    let write =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(judge)?;
    let number = |sql| write.query_row(sql, [], |row| row.get::<_, i32>(0)).map_err(judge);
    let id = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let version = number("PRAGMA user_version")?;
    let fatal = |text: String| Err(DatabaseError::Fatal(text));
    if id == ORDERS_FILE {
        return fatal(format!(
            "{shown} holds orders, not the state of webhooks: name another file"
        ));
    }
    if id != WEBHOOKS_FILE && (id != 0 || tables != 0) {
        return fatal(format!(
            "{shown} is a SQLite database that stampede did not make: name another file"
        ));
    }
    let Some(missing) = usize::try_from(version).ok().and_then(|from| MIGRATIONS.get(from..))
    else {
        return fatal(format!(
            "{shown} has version {version} of the schema, made by a newer stampede than this, which \
             knows version {}",
            MIGRATIONS.len()
        ));
    };
    if missing.is_empty() {
        return Ok(());
    }
    for sql in missing {
        write.execute_batch(sql).map_err(judge)?;
    }
    let mark = format!(
        "PRAGMA application_id = {WEBHOOKS_FILE}; PRAGMA user_version = {}",
        MIGRATIONS.len()
    );
    write.execute_batch(&mark).map_err(judge)?;
    write.commit().map_err(judge)
}
