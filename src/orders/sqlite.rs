//! Orders in SQLite: a file of our own, in WAL mode, with every commit synced.

use std::path::{Path, PathBuf};

use rusqlite::types::FromSql;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use super::database::{Database, DatabaseError, Row, Sink};
use super::rows::{Column, Columns, latest, public_id, signed, unsigned};
use super::sqlite_file::{
    FileId, ORDERS_FILE, WEBHOOKS_FILE, connect, file_at, finish, judge, make_private, replaced,
    write_ahead,
};
use crate::sale::{Change, SaleId};

/// Each migrates the schema from its number to the next.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/sqlite_1.sql")];
const UPSERT: &str = "\
INSERT INTO orders (reservation, sale, user_id, idempotency_key, quantity, status, expires_at, created_at,
                    updated_at, version)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)
ON CONFLICT (reservation) DO UPDATE SET
    user_id = excluded.user_id, idempotency_key = excluded.idempotency_key,
    quantity = excluded.quantity, status = excluded.status, expires_at = excluded.expires_at,
    updated_at = excluded.updated_at, version = excluded.version";
/// Writes the trace of a reservation, unless it is known.
const FILL: &str = "\
UPDATE orders SET request_id = ?2, traceparent = ?3
WHERE reservation = ?1 AND request_id IS NULL AND traceparent IS NULL";
/// Writes the note of a reservation.
const NOTE: &str = "UPDATE orders SET note = ?2 WHERE reservation = ?1 AND note IS NOT ?2";
/// Writes the units per ticket type of a row that this change has written.
const LINES: &str =
    "UPDATE orders SET lines = ?2 WHERE reservation = ?1 AND version = ?3 AND lines IS NOT ?2";
const GUARD: &str = "\nWHERE orders.version < excluded.version";

/// Columns added to a file of any version; an older worker does not notice.
const COLUMNS: [&str; 4] = ["request_id", "traceparent", "note", "lines"];
const VIEW: &str = include_str!("migrations/sqlite_view.sql");
const INDEX: &str = "CREATE INDEX IF NOT EXISTS orders_expires_at ON orders (expires_at) \
                     WHERE status = 'held'";
/// In a larger file the operator creates the index: creating it blocks writers meanwhile.
const INDEX_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// A SQLite file with orders.
pub(super) struct Sqlite {
    path: PathBuf,
    opened: Option<Opened>,
}

/// The open file, which may no longer be the one that the path names.
struct Opened {
    connection: Connection,
    file: FileId,
}

impl Opened {
    /// Opens the file, creates it if it is missing, and migrates its schema.
    fn new(path: &Path) -> Result<Self, DatabaseError> {
        let judge = |error| judge(path, &error);
        make_private(path);
        let before = file_at(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = connect(path, flags).map_err(judge)?;
        migrate(path, &mut connection)?;
        // The mode belongs to the file; `synchronous` belongs to the connection.
        write_ahead(&connection).map_err(judge)?;
        add_columns(&mut connection).map_err(judge)?;
        connection.execute_batch("PRAGMA synchronous = FULL").map_err(judge)?;
        if let Err(error) = take_refunds(&mut connection) {
            let reason = judge(error);
            tracing::warn!(%reason, "table orders rejects refunds and could not be changed");
        }
        if let Err(error) = add(path, &mut connection) {
            let reason = judge(error);
            tracing::info!(%reason, "table orders can't be completed");
        }
        finish(&connection).map_err(judge)?;
        match file_at(path)? {
            Some(file) if before.is_none_or(|before| before == file) => {
                Ok(Self { connection, file })
            }
            _ => Err(DatabaseError::Away(format!(
                "{}: the file was replaced while it was opened",
                path.display()
            ))),
        }
    }
}

impl Sqlite {
    /// Opens the file: see [`Opened::new`].
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        Ok(Self { path: path.to_owned(), opened: Some(Opened::new(path)?) })
    }

    /// Runs something on the file that the path names. Work on a file that was deleted or renamed
    /// meanwhile does not count.
    fn with<T>(
        &mut self,
        run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        self.check()?;
        let mut opened = match self.opened.take() {
            Some(opened) => opened,
            None => Opened::new(&self.path)?,
        };
        let done = run(&mut opened.connection);
        // Without a free descriptor SQLite opens a file for reading: the next attempt may find one.
        let code = done.as_ref().err().and_then(rusqlite::Error::sqlite_error_code);
        self.opened = (code != Some(ErrorCode::ReadOnly)).then_some(opened);
        self.check()?;
        done.map_err(|error| judge(&self.path, &error))
    }

    fn upsert(
        &mut self,
        sql: &str,
        changes: &[Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), DatabaseError> {
        self.with(|connection| {
            let write = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut upsert = write.prepare_cached(sql)?;
                for change in latest(changes) {
                    let reservation = &change.reservation;
                    upsert.execute(params![
                        public_id(&change),
                        change.sale.whole_str(),
                        reservation.user.as_ref().map(|user| user.as_str()),
                        change.key.as_ref().map(|key| key.as_str()),
                        reservation.quantity,
                        reservation.status.as_str(),
                        signed(reservation.expires_at_ms),
                        signed(change.at_ms),
                        signed(change.version),
                    ])?;
                    if let Some(trace) = change.trace {
                        let row = params![public_id(&change), trace.request_id(), trace.parent()];
                        write.prepare_cached(FILL)?.execute(row)?;
                    }
                    if let Some(note) = change.note() {
                        write.prepare_cached(NOTE)?.execute(params![public_id(&change), note])?;
                    }
                    let lines = change.lines();
                    // A repair may have to remove lines.
                    if lines.is_some() || sql == UPSERT {
                        let row = params![public_id(&change), lines, signed(change.version)];
                        write.prepare_cached(LINES)?.execute(row)?;
                    }
                }
            }
            if let Some((source, version)) = position {
                let sql = "INSERT INTO stampede_positions (source, version) VALUES (?1, ?2)
                           ON CONFLICT (source) DO UPDATE SET version = excluded.version
                           WHERE stampede_positions.version < excluded.version";
                write.prepare_cached(sql)?.execute(params![source, signed(version)])?;
            }
            write.commit()
        })
    }
}

impl Sink for Sqlite {
    fn write(
        &mut self,
        changes: &[Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), DatabaseError> {
        self.upsert(&[UPSERT, GUARD].concat(), changes, position)
    }

    fn position(&mut self, source: &str) -> Result<Option<u64>, DatabaseError> {
        let sql = "SELECT version FROM stampede_positions WHERE source = ?1";
        let found = self.with(|it| it.query_row(sql, [source], |row| row.get(0)).optional())?;
        Ok(found.map(unsigned))
    }

    fn check(&mut self) -> Result<(), DatabaseError> {
        let Some(opened) = &self.opened else { return Ok(()) };
        let found = replaced(&self.path, opened.file);
        if matches!(found, Err(DatabaseError::Replaced(_))) {
            self.opened = None;
        }
        found
    }
}

impl Database for Sqlite {
    fn rows(&mut self, sale: &SaleId, each: &mut dyn FnMut(Row)) -> Result<(), DatabaseError> {
        let sql = "SELECT reservation, user_id, quantity, status, version, lines
                   FROM orders WHERE sale = ?1 ORDER BY reservation";
        self.with(|connection| {
            let mut select = connection.prepare_cached(sql)?;
            let mut rows = select.query([sale.whole_str()])?;
            while let Some(row) = rows.next()? {
                let columns = Columns {
                    reservation: column(row, 0),
                    user: column(row, 1),
                    quantity: column(row, 2),
                    status: column(row, 3),
                    version: column(row, 4),
                    lines: Some(column(row, 5)),
                };
                columns.read(sale).into_iter().for_each(&mut *each);
            }
            Ok(())
        })
    }

    fn sales(&mut self) -> Result<Vec<Option<String>>, DatabaseError> {
        let sql = "SELECT DISTINCT CAST(sale AS TEXT) FROM orders";
        self.with(|connection| {
            let mut select = connection.prepare_cached(sql)?;
            let names = select.query_map([], |row| row.get(0))?;
            names.collect()
        })
    }

    fn highest_version(&mut self) -> Result<Option<u64>, DatabaseError> {
        let sql = "SELECT max(version) FROM orders";
        let found: Option<i64> = self.with(|it| it.query_row(sql, [], |row| row.get(0)))?;
        Ok(found.map(unsigned))
    }

    fn overwrite(&mut self, changes: &[Change]) -> Result<(), DatabaseError> {
        self.upsert(UPSERT, changes, None)
    }
}

/// The check of a row's status in 0.1.0, and the present one.
const STATUSES: [&str; 2] = [
    "('held', 'confirmed', 'cancelled', 'expired')",
    "('held', 'confirmed', 'cancelled', 'expired', 'refunded')",
];

/// Makes a table of 0.1.0 accept refunded rows. A check is only text in the schema, and one that
/// allows more is true of all rows, so the text is changed as SQLite's documentation says (ALTER
/// TABLE, "Making Other Kinds Of Table Schema Changes"), without copying the table. An older worker
/// does not notice.
fn take_refunds(connection: &mut Connection) -> rusqlite::Result<()> {
    let takes = "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema
                 WHERE type = 'table' AND name = 'orders' AND instr(sql, ?1) > 0)";
    let takes = |connection: &Connection| {
        connection.query_row(takes, [STATUSES[0]], |row| row.get::<_, bool>(0))
    };
    if takes(connection)? {
        return Ok(());
    }
    let write = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another worker may have been faster.
    if !takes(&write)? {
        let version = write.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0))?;
        write.execute_batch("PRAGMA writable_schema = ON")?;
        let change = "UPDATE sqlite_schema SET sql = replace(sql, ?1, ?2)
                      WHERE type = 'table' AND name = 'orders'";
        let changed = write.execute(change, STATUSES);
        let noted = write.execute_batch(&format!("PRAGMA schema_version = {}", version + 1));
        write.execute_batch("PRAGMA writable_schema = OFF")?;
        changed.and(noted)?;
    }
    write.commit()
}

/// Adds the columns for traces, notes and ticket types. A column that may be NULL touches no row.
fn add_columns(connection: &mut Connection) -> rusqlite::Result<()> {
    let has = |connection: &Connection, column| {
        let sql = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('orders') WHERE name = ?1)";
        connection.query_row(sql, [column], |row| row.get::<_, bool>(0))
    };
    // The last of the columns, which are added in one step.
    if has(connection, COLUMNS[COLUMNS.len() - 1])? {
        return Ok(());
    }
    let write = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for column in COLUMNS {
        // Another worker may have been faster.
        if !has(&write, column)? {
            write.execute_batch(&format!("ALTER TABLE orders ADD COLUMN {column} TEXT"))?;
        }
    }
    write.commit()
}

/// Adds the view and the index if they are missing.
fn add(path: &Path, connection: &mut Connection) -> rusqlite::Result<()> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let has_view = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'orders_readable'
                                   AND sql LIKE '%lines%')";
    let has_index = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'orders_expires_at')";
    let (has_view, has_index) = (number(has_view)? == 1, number(has_index)? == 1);
    let bytes = number("PRAGMA page_count")? * number("PRAGMA page_size")?;
    let makes = !has_index && bytes <= INDEX_BYTES_MAX;
    if !has_index && !makes {
        let file = path.display();
        tracing::info!(%file, by_hand = INDEX, "table orders lacks an index");
    }
    if !has_view || makes {
        let write = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write.execute_batch(VIEW)?;
        if makes {
            write.execute_batch(INDEX)?;
        }
        write.commit()?;
    }
    Ok(())
}

fn column<T: FromSql>(row: &rusqlite::Row<'_>, at: usize) -> Column<T> {
    row.get(at).map_err(|error| error.to_string())
}

/// Migrates the schema. A file that isn't ours is left alone.
fn migrate(file: &Path, connection: &mut Connection) -> Result<(), DatabaseError> {
    let shown = file.display();
    let read = |connection: &Connection| {
        let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        let ours = number(
            "SELECT count(*) FROM sqlite_schema
             WHERE type = 'table' AND name IN ('orders', 'stampede_positions')",
        )?;
        Ok((number("PRAGMA application_id")?, number("PRAGMA user_version")?, tables, ours))
    };
    let check = |(id, version, tables, ours): (i32, i32, i32, i32)| {
        if id == WEBHOOKS_FILE {
            return Err(DatabaseError::Fatal(format!(
                "{shown} is the state of a worker that sends webhooks, and has no orders: name \
                 another file"
            )));
        }
        if id != ORDERS_FILE && (id != 0 || tables != 0) {
            return Err(DatabaseError::Fatal(format!(
                "{shown} is a SQLite database that stampede did not make: name another file"
            )));
        }
        if version > 0 && ours < 2 {
            return Err(DatabaseError::Fatal(format!(
                "{shown} has lost a table. Restore the file; or, to begin anew, move it away and \
                 start again: an embedded ledger then writes every order again; with a Redis, \
                 `stampede audit --repair --ledger … --orders …` does"
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
    // Read everything at one point in time: another worker may be creating the tables.
    let look = connection.transaction().map_err(judge)?;
    let found = read(&look).map_err(judge)?;
    drop(look);
    if check(found)? == MIGRATIONS.len() {
        return Ok(());
    }
    let write =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(judge)?;
    // Another worker may have been faster.
    let from = check(read(&write).map_err(judge)?)?;
    for sql in &MIGRATIONS[from..] {
        write.execute_batch(sql).map_err(judge)?;
    }
    let mark = format!(
        "PRAGMA application_id = {ORDERS_FILE}; PRAGMA user_version = {}",
        MIGRATIONS.len()
    );
    write.execute_batch(&mark).map_err(judge)?;
    write.commit().map_err(judge)
}
