//! The tables in PostgreSQL: created and migrated once, however many workers start, and checked
//! before they are used. Tables that aren't ours are left alone.
//!
//! A change that a worker of an older version does not notice (an index, a comment, one more
//! status) does not change the version of the schema: an older worker refuses a version that it
//! does not know.

use std::sync::atomic::{AtomicBool, Ordering};

use postgres::types::Type;
use postgres::{Client, Transaction};

use super::errors::{STATUSES, STATUSES_BY_HAND, judge};
use super::statements::{Columns, UPSERT, begin};
use crate::orders::database::DatabaseError;

/// Each migrates the schema from its number to the next.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/postgres_1.sql")];
/// The advisory lock during a migration: the letters `stampede`.
const LOCK: i64 = i64::from_be_bytes(*b"stampede");
/// Encodings that keep every user's name: PostgreSQL stores the texts of SQL_ASCII unchanged.
const ENCODINGS: [&str; 2] = ["UTF8", "SQL_ASCII"];

/// Columns added to tables of any version: an older worker writes without them. They may be NULL
/// and have no default, so adding them touches no row, however large the table is.
const TRACE: &str = "ALTER TABLE orders ADD COLUMN IF NOT EXISTS request_id text,
                         ADD COLUMN IF NOT EXISTS traceparent text,
                         ADD COLUMN IF NOT EXISTS note text,
                         ADD COLUMN IF NOT EXISTS lines text";
/// Whether it has them.
const TRACED: &str = "SELECT count(*) = 4 FROM pg_attribute
    WHERE attrelid = to_regclass('orders') AND attname IN ('request_id', 'traceparent', 'note', 'lines')
        AND NOT attisdropped";

/// An index added to tables of any version, for queries about unpaid orders that expire soon. Not
/// by status, and not only of held ones: then each change of a status would touch every index of
/// the table, instead of staying in its page. And none by idempotency key: unordered texts take
/// `COPY` 1.7 times the CPU time.
const INDEX: &str = "orders_expires_at";
const INDEX_ON: &str = "ON orders (expires_at)";
const COMMENTS: &str = include_str!("../migrations/postgres_comments.sql");
/// In a larger table the operator creates the index: creating it blocks writers meanwhile.
const INDEX_BYTES_MAX: i64 = 64 * 1024 * 1024;
/// The time to wait for the lock on a table to be altered: writers wait behind us.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// Creates or migrates the tables, and checks that this user has the needed rights.
pub(super) fn migrate(client: &mut Client) -> Result<(), DatabaseError> {
    let judge = |error| judge(&error);
    let mut transaction = begin(client).map_err(judge)?;
    check_encoding(&mut transaction)?;
    lock(&mut transaction).map_err(judge)?;
    let from = match schema(&mut transaction).map_err(judge)? {
        Schema::None => {
            transaction.batch_execute(VERSIONS).map_err(judge)?;
            0
        }
        Schema::Foreign => {
            return Err(DatabaseError::Fatal(
                "the database has a table orders that stampede did not make: give another \
                 database, or a schema of its own, as in ?options=-csearch_path%3Dstampede"
                    .into(),
            ));
        }
        Schema::Lost(table) => {
            return Err(DatabaseError::Fatal(format!(
                "the table {table} is gone, but stampede_migrations is still there. Restore it; or, \
                 to begin anew, DROP TABLE IF EXISTS orders, stampede_positions, \
                 stampede_migrations and start again: an embedded ledger then writes every order \
                 again; with a Redis, `stampede audit --repair --ledger … --orders …` does"
            )));
        }
        Schema::Version(version) => usize::try_from(version)
            .ok()
            .filter(|version| *version <= MIGRATIONS.len())
            .ok_or_else(|| {
                DatabaseError::Fatal(format!(
                    "the database has version {version} of the schema, made by a newer stampede \
                     than this, which knows version {}",
                    MIGRATIONS.len()
                ))
            })?,
    };
    let run = |transaction: &mut Transaction<'_>| {
        for (at, sql) in MIGRATIONS.iter().enumerate().skip(from) {
            transaction.batch_execute(sql)?;
            let note = "INSERT INTO stampede_migrations (version) VALUES ($1)";
            transaction.execute_typed(note, &[(&(at as i32 + 1), Type::INT4)])?;
        }
        missing_rights(transaction)
    };
    let missing = run(&mut transaction).map_err(judge)?;
    if !missing.is_empty() {
        let user = missing.join("; ");
        return Err(DatabaseError::Fatal(format!(
            "this user of the database lacks rights: {user}"
        )));
    }
    // The columns and their types are right if zero rows can be written.
    let nothing = Columns::of(&[]);
    transaction.execute_typed(UPSERT, &nothing.parameters()).map_err(judge)?;
    transaction
        .batch_execute("SELECT source, version FROM stampede_positions LIMIT 0")
        .map_err(judge)?;
    transaction.commit().map_err(judge)
}

/// For the duration of the transaction.
fn lock(transaction: &mut Transaction<'_>) -> Result<(), postgres::Error> {
    transaction.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})"))
}

/// A database without some letter would stop all orders at the first name with it.
fn check_encoding(transaction: &mut Transaction<'_>) -> Result<(), DatabaseError> {
    let sql = "SELECT current_setting('server_encoding'), current_database()::text";
    let read = |transaction: &mut Transaction<'_>| {
        let row = transaction.query_typed_one(sql, &[])?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    };
    let (encoding, name): (String, String) = read(transaction).map_err(|error| judge(&error))?;
    if ENCODINGS.contains(&encoding.as_str()) {
        return Ok(());
    }
    Err(DatabaseError::Fatal(format!(
        "the database {name} is encoded in {encoding}, which can't hold every user's name: it must \
         be UTF8. Make another: CREATE DATABASE {name}_utf8 ENCODING 'UTF8' LOCALE 'C' TEMPLATE \
         template0"
    )))
}

const VERSIONS: &str = "\
CREATE TABLE stampede_migrations (
    version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())";

/// The state of our tables in the database.
enum Schema {
    None,
    Foreign,
    /// This table is gone.
    Lost(&'static str),
    Version(i32),
}

fn schema(transaction: &mut Transaction<'_>) -> Result<Schema, postgres::Error> {
    let tables = "SELECT to_regclass('stampede_migrations') IS NOT NULL,
                         to_regclass('orders') IS NOT NULL,
                         to_regclass('stampede_positions') IS NOT NULL";
    let row = transaction.query_typed_one(tables, &[])?;
    let (migrations, orders, positions): (bool, bool, bool) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if !migrations {
        return Ok(if orders { Schema::Foreign } else { Schema::None });
    }
    let sql = "SELECT coalesce(max(version), 0) FROM stampede_migrations";
    let version = transaction.query_typed_one(sql, &[])?.try_get(0)?;
    Ok(match version {
        1.. if !orders => Schema::Lost("orders"),
        1.. if !positions => Schema::Lost("stampede_positions"),
        version => Schema::Version(version),
    })
}

/// The needed rights that this user lacks.
fn missing_rights(transaction: &mut Transaction<'_>) -> Result<Vec<String>, postgres::Error> {
    let sql = "SELECT current_user::text, t, p
               FROM unnest(ARRAY['orders', 'stampede_positions']) AS t,
                    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p
               WHERE NOT has_table_privilege(t, p)";
    let mut missing = Vec::new();
    for row in transaction.query_typed(sql, &[])? {
        let (user, table, right): (&str, &str, &str) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        missing.push(format!("GRANT {right} ON {table} TO {user}"));
    }
    Ok(missing)
}

/// Whether the table has the columns for traces, notes and ticket types.
pub(super) fn is_traced(client: &mut Client) -> Result<bool, postgres::Error> {
    client.query_typed_one(TRACED, &[])?.try_get(0)
}

/// Adds columns, index and comments if they are missing, if this user may, and if nobody waits long
/// for it. Orders are written without them too, so a failure is only logged.
pub(super) fn add(client: &mut Client) {
    match try_to_add(client) {
        Ok(lacks) => {
            if lacks.columns && !COLUMNS_TOLD.swap(true, Ordering::Relaxed) {
                let by_hand = TRACE.split_whitespace().collect::<Vec<_>>().join(" ");
                tracing::info!(by_hand, "table orders lacks columns");
            }
            if lacks.index && !INDEX_TOLD.swap(true, Ordering::Relaxed) {
                let by_hand = format!("CREATE INDEX CONCURRENTLY {INDEX} {INDEX_ON}");
                tracing::info!(by_hand, "table orders lacks an index");
            }
        }
        Err(error) => {
            let reason = judge(&error);
            tracing::info!(%reason, "table orders can't be completed");
        }
    }
    match try_to_take_refunds(client) {
        Ok(true) => {}
        Ok(false) => tracing::warn!(
            by_hand = STATUSES_BY_HAND,
            "table orders rejects refunds: another user owns it"
        ),
        Err(error) => {
            let reason = judge(&error);
            tracing::warn!(
                %reason,
                by_hand = STATUSES_BY_HAND,
                "table orders rejects refunds and could not be changed"
            );
        }
    }
}

/// Makes the table accept refunded rows. Returns whether it does. Scans no row: all rows that can
/// have been written are valid.
fn try_to_take_refunds(client: &mut Client) -> Result<bool, postgres::Error> {
    let mut transaction = begin(client)?;
    lock(&mut transaction)?;
    transaction.batch_execute(LOCK_TIMEOUT)?;
    let sql = "SELECT pg_has_role(c.relowner, 'USAGE'),
                      NOT EXISTS (SELECT FROM pg_constraint k
                                  WHERE k.conrelid = c.oid AND k.conname = $1
                                        AND pg_get_constraintdef(k.oid) NOT LIKE '%refunded%')
               FROM pg_class c WHERE c.oid = to_regclass('orders')";
    let row = transaction.query_typed_one(sql, &[(&STATUSES, Type::NAME)])?;
    let (owns, takes): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    if owns && !takes {
        transaction.batch_execute(STATUSES_BY_HAND)?;
        // They explain the statuses.
        transaction.batch_execute(COMMENTS)?;
        transaction.commit()?;
    }
    Ok(owns || takes)
}

/// Whether it was logged what an operator has to add: a database is opened more than once.
static COLUMNS_TOLD: AtomicBool = AtomicBool::new(false);
static INDEX_TOLD: AtomicBool = AtomicBool::new(false);

/// What somebody else has to add: another user owns the table, or it is large.
struct Lacks {
    columns: bool,
    index: bool,
}

fn try_to_add(client: &mut Client) -> Result<Lacks, postgres::Error> {
    let mut transaction = begin(client)?;
    lock(&mut transaction)?;
    transaction.batch_execute(LOCK_TIMEOUT)?;
    let sql = "SELECT pg_has_role(c.relowner, 'USAGE')
                      AND has_schema_privilege(c.relnamespace, 'CREATE'),
                      pg_relation_size(c.oid),
                      col_description(c.oid, 1) IS NOT NULL
                          AND col_description(c.oid, (SELECT attnum FROM pg_attribute
                              WHERE attrelid = c.oid AND attname = 'lines')) IS NOT NULL,
                      EXISTS (SELECT FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
                              WHERE x.indrelid = c.oid AND i.relname = $1)
               FROM pg_class c WHERE c.oid = to_regclass('orders')";
    let row = transaction.query_typed_one(sql, &[(&INDEX, Type::NAME)])?;
    let (may, bytes, commented, indexed): (bool, i64, bool, bool) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let traced: bool = transaction.query_typed_one(TRACED, &[])?.try_get(0)?;
    let makes = !indexed && may && bytes <= INDEX_BYTES_MAX;
    if makes {
        transaction.batch_execute(&format!("CREATE INDEX {INDEX} {INDEX_ON}"))?;
    }
    // Last, since the table can't be read from then on until this is committed.
    if may && !traced {
        transaction.batch_execute(TRACE)?;
    }
    if may && !commented {
        transaction.batch_execute(COMMENTS)?;
    }
    transaction.commit()?;
    Ok(Lacks { columns: !traced && !may, index: !indexed && !makes })
}
