//! Orders in SQLite: a file of our own, in WAL mode, every commit on disk before it counts.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::FromSql;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use super::rows::{Column, Columns, latest, public_id, signed, unsigned};
use super::{Database, DatabaseError, Row};
use crate::sale::{Change, SaleId};

/// What marks a file as ours: `Stam`.
const APPLICATION_ID: i32 = 0x5374_616d;
/// Each brings the schema from its number to the next.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/sqlite_1.sql")];
/// Pause between two attempts to have the file alone.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Time to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const UPSERT: &str = "\
INSERT INTO orders (reservation, sale, user_id, idempotency_key, quantity, status, expires_at, created_at,
                    updated_at, version)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)
ON CONFLICT (reservation) DO UPDATE SET
    user_id = excluded.user_id, idempotency_key = excluded.idempotency_key,
    quantity = excluded.quantity, status = excluded.status, expires_at = excluded.expires_at,
    updated_at = excluded.updated_at, version = excluded.version";
const GUARD: &str = "\nWHERE orders.version < excluded.version";

/// A SQLite file with orders.
pub(super) struct Sqlite {
    file: PathBuf,
    connection: Connection,
}

/// Has the file written ahead. The change needs the file for itself, and is refused at once, without
/// the time-out of others, while somebody else is at it.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
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

impl Sqlite {
    /// Opens the file, makes it if it is missing, and brings its schema up to date.
    pub fn open(file: &Path) -> Result<Self, DatabaseError> {
        let judge = |error| judge(file, &error);
        let mut connection = Connection::open(file).map_err(judge)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(judge)?;
        migrate(file, &mut connection)?;
        // The mode stays with the file; `synchronous` is the connection's.
        write_ahead(&connection).map_err(judge)?;
        connection.execute_batch("PRAGMA synchronous = FULL").map_err(judge)?;
        Ok(Self { file: file.to_owned(), connection })
    }

    fn upsert(
        &mut self,
        sql: &str,
        changes: &[Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), DatabaseError> {
        let file = &self.file;
        let run = |connection: &mut Connection| {
            let write = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut upsert = write.prepare_cached(sql)?;
                for change in latest(changes) {
                    let reservation = &change.reservation;
                    upsert.execute(params![
                        public_id(change),
                        change.sale.whole_str(),
                        reservation.user.as_ref().map(|user| user.as_str()),
                        change.key.as_ref().map(|key| key.as_str()),
                        reservation.quantity,
                        reservation.status.as_str(),
                        signed(reservation.expires_at_ms),
                        signed(change.at_ms),
                        signed(change.version),
                    ])?;
                }
            }
            if let Some((source, version)) = position {
                let sql = "INSERT INTO stampede_positions (source, version) VALUES (?1, ?2)
                           ON CONFLICT (source) DO UPDATE SET version = excluded.version
                           WHERE stampede_positions.version < excluded.version";
                write.prepare_cached(sql)?.execute(params![source, signed(version)])?;
            }
            write.commit()
        };
        run(&mut self.connection).map_err(|error| judge(file, &error))
    }
}

impl Database for Sqlite {
    fn write(
        &mut self,
        changes: &[Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), DatabaseError> {
        self.upsert(&[UPSERT, GUARD].concat(), changes, position)
    }

    fn position(&mut self, source: &str) -> Result<Option<u64>, DatabaseError> {
        let sql = "SELECT version FROM stampede_positions WHERE source = ?1";
        let found = self.connection.query_row(sql, [source], |row| row.get(0)).optional();
        found.map(|version| version.map(unsigned)).map_err(|error| judge(&self.file, &error))
    }

    fn rows(&mut self, sale: &SaleId, each: &mut dyn FnMut(Row)) -> Result<(), DatabaseError> {
        let judge = |error| judge(&self.file, &error);
        let sql = "SELECT reservation, user_id, quantity, status, version
                   FROM orders WHERE sale = ?1 ORDER BY reservation";
        let mut select = self.connection.prepare_cached(sql).map_err(judge)?;
        let mut rows = select.query([sale.whole_str()]).map_err(judge)?;
        while let Some(row) = rows.next().map_err(judge)? {
            let columns = Columns {
                reservation: column(row, 0),
                user: column(row, 1),
                quantity: column(row, 2),
                status: column(row, 3),
                version: column(row, 4),
            };
            columns.read(sale).into_iter().for_each(&mut *each);
        }
        Ok(())
    }

    fn sales(&mut self) -> Result<Vec<Option<String>>, DatabaseError> {
        let judge = |error| judge(&self.file, &error);
        let sql = "SELECT DISTINCT CAST(sale AS TEXT) FROM orders";
        let mut select = self.connection.prepare_cached(sql).map_err(judge)?;
        let names = select.query_map([], |row| row.get(0)).map_err(judge)?;
        names.collect::<Result<_, _>>().map_err(judge)
    }

    fn overwrite(&mut self, changes: &[Change]) -> Result<(), DatabaseError> {
        self.upsert(UPSERT, changes, None)
    }
}

fn column<T: FromSql>(row: &rusqlite::Row<'_>, at: usize) -> Column<T> {
    row.get(at).map_err(|error| error.to_string())
}

/// Brings the schema up to date. A file that isn't ours is left alone.
fn migrate(file: &Path, connection: &mut Connection) -> Result<(), DatabaseError> {
    let shown = file.display();
    let read = |connection: &Connection| {
        let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        Ok((number("PRAGMA application_id")?, number("PRAGMA user_version")?, tables))
    };
    let check = |(id, version, tables): (i32, i32, i32)| {
        if id != APPLICATION_ID && (id != 0 || tables != 0) {
            return Err(DatabaseError::Fatal(format!(
                "{shown} is a SQLite database that stampede did not make: name another file"
            )));
        }
        usize::try_from(version).ok().filter(|version| *version <= MIGRATIONS.len()).ok_or_else(
            || {
                DatabaseError::Fatal(format!(
                    "{shown} has version {version} of the schema, made by a newer stampede than \
                     this, which knows version {}",
                    MIGRATIONS.len()
                ))
            },
        )
    };
    let judge = |error| judge(file, &error);
    if check(read(connection).map_err(judge)?)? == MIGRATIONS.len() {
        return Ok(());
    }
    let write =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(judge)?;
    // Another worker may have been here first.
    let from = check(read(&write).map_err(judge)?)?;
    for sql in &MIGRATIONS[from..] {
        write.execute_batch(sql).map_err(judge)?;
    }
    let mark = format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}",
        MIGRATIONS.len()
    );
    write.execute_batch(&mark).map_err(judge)?;
    write.commit().map_err(judge)
}

/// Who must act on an error.
fn judge(file: &Path, error: &rusqlite::Error) -> DatabaseError {
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
