//! Orders in PostgreSQL, over one blocking connection that comes back by itself.
//!
//! A batch is one transaction. What is held is mostly new and goes by `COPY`, at nearly its speed;
//! if one row of it was there after all, everything goes as arrays to one `INSERT`, which decides by
//! version, where the row stands, whether it is new, later or older. So does all that is no longer
//! held. Either way the server parses and plans nothing a row.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postgres::binary_copy::BinaryCopyInWriter;
use postgres::error::{DbError, SqlState};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{FromSql, ToSql, Type};
use postgres::{Client, Config, NoTls, Statement, Transaction};

use super::postgres_url::PostgresUrl;
use super::rows::{Column, latest, public_id, signed, unsigned};
use super::{Database, DatabaseError, Row, rows};
use crate::sale::{Change, SaleId, Status};

/// Each brings the schema from its number to the next.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/postgres_1.sql")];
/// Whoever migrates holds this advisory lock: the letters `stampede`.
const LOCK: i64 = i64::from_be_bytes(*b"stampede");
/// Time for a connection, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A silent connection is looked after from this time on, so that a server that is gone is noticed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// Time for what was sent to be received.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for one statement; one that waits behind somebody's lock is tried again.
const SESSION: &str = "SET statement_timeout = '60s'";

const UPSERT: &str = "\
INSERT INTO orders AS o (reservation, sale, user_id, idempotency_key, quantity, status, expires_at,
                         created_at, updated_at, version)
SELECT r, s, u, k, q, t, e, a, a, v
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::timestamptz[],
            $8::timestamptz[], $9::bigint[]) AS rows (r, s, u, k, q, t, e, a, v)
ON CONFLICT (reservation) DO UPDATE SET
    user_id = excluded.user_id, idempotency_key = excluded.idempotency_key,
    quantity = excluded.quantity, status = excluded.status, expires_at = excluded.expires_at,
    updated_at = excluded.updated_at, version = excluded.version";
const COPY: &str = "\
COPY orders (reservation, sale, user_id, idempotency_key, quantity, status, expires_at, created_at,
             updated_at, version) FROM STDIN BINARY";
const COPY_TYPES: [Type; 10] = [
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::INT4,
    Type::TEXT,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMPTZ,
    Type::INT8,
];
/// Fewer new rows than this are not worth a `COPY` of their own.
const COPY_ROWS_MIN: usize = 64;
/// Batches that go without `COPY` after one in which a row was there already: somebody's work is
/// being done again.
const COPY_PAUSE_BATCHES: u32 = 16;
const GUARD: &str = "\nWHERE o.version < excluded.version";
const ADVANCE: &str = "\
INSERT INTO stampede_positions AS p (source, version) VALUES ($1, $2)
ON CONFLICT (source) DO UPDATE SET version = excluded.version WHERE p.version < excluded.version";

/// A PostgreSQL database with orders.
pub(super) struct Postgres {
    url: PostgresUrl,
    session: Option<Session>,
}

/// A connection and what has been prepared on it.
struct Session {
    client: Client,
    upsert: Statement,
    overwrite: Statement,
    advance: Statement,
    /// Batches that still go without `COPY`.
    copy_pause: u32,
}

impl Postgres {
    /// Connects and brings the schema up to date.
    pub fn open(url: PostgresUrl) -> Result<Self, DatabaseError> {
        let mut database = Self { url, session: None };
        database.with(|_| Ok(()))?;
        Ok(database)
    }

    /// Runs something on the connection, which is made anew if there is none; after an error there
    /// is none.
    fn with<T>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<T, postgres::Error>,
    ) -> Result<T, DatabaseError> {
        let mut session = match self.session.take() {
            Some(session) if !session.client.is_closed() => session,
            _ => Session::open(&self.url)?,
        };
        let done = run(&mut session).map_err(|error| judge(&error))?;
        self.session = Some(session);
        Ok(done)
    }
}

impl Database for Postgres {
    fn write(
        &mut self,
        changes: &[Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), DatabaseError> {
        if changes.is_empty() && position.is_none() {
            return Ok(());
        }
        let rows = latest(changes);
        self.with(|session| {
            session.copy_pause = session.copy_pause.saturating_sub(1);
            let is_new = |row: &&Change| row.reservation.status == Status::Held;
            let (new, known): (Vec<_>, Vec<_>) = rows.iter().copied().partition(is_new);
            if session.copy_pause > 0 || new.len() < COPY_ROWS_MIN {
                return session.write(&[], &rows, position);
            }
            // Without a position to go with them, the new ones are a transaction of their own: with the
            // others they would not be in the order of ids, and two workers could wait for each other.
            let apart = position.is_none() && !known.is_empty();
            let written = if apart {
                session.write(&new, &[], None).and_then(|()| session.write(&[], &known, None))
            } else {
                session.write(&new, &known, position)
            };
            match written {
                Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                    session.copy_pause = COPY_PAUSE_BATCHES;
                    session.write(&[], &rows, position)
                }
                done => done,
            }
        })
    }

    fn position(&mut self, source: &str) -> Result<Option<u64>, DatabaseError> {
        self.with(|session| {
            let sql = "SELECT version FROM stampede_positions WHERE source = $1";
            let row = session.client.query_opt(sql, &[&source])?;
            row.map(|row| row.try_get(0).map(unsigned)).transpose()
        })
    }

    fn rows(&mut self, sale: &SaleId, each: &mut dyn FnMut(Row)) -> Result<(), DatabaseError> {
        self.with(|session| {
            let sql = "SELECT reservation, user_id, quantity, status, version
                       FROM orders WHERE sale = $1 ORDER BY reservation";
            let mut transaction = session.client.transaction()?;
            transaction.batch_execute("SET LOCAL statement_timeout = 0")?;
            let mut rows = transaction.query_raw(sql, [sale.whole_str()])?;
            while let Some(row) = rows.next()? {
                let columns = rows::Columns {
                    reservation: column(&row, 0),
                    user: column(&row, 1),
                    quantity: column::<i32>(&row, 2).map(|quantity| quantity.map(i64::from)),
                    status: column(&row, 3),
                    version: column(&row, 4),
                };
                columns.read(sale).into_iter().for_each(&mut *each);
            }
            drop(rows);
            transaction.commit()
        })
    }

    fn sales(&mut self) -> Result<Vec<Option<String>>, DatabaseError> {
        self.with(|session| {
            let mut transaction = session.client.transaction()?;
            transaction.batch_execute("SET LOCAL statement_timeout = 0")?;
            let sql = "SELECT DISTINCT sale::text FROM orders";
            let names = transaction.query(sql, &[])?;
            let names = names.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            transaction.commit()?;
            Ok(names)
        })
    }

    fn overwrite(&mut self, changes: &[Change]) -> Result<(), DatabaseError> {
        let columns = Columns::of(&latest(changes));
        self.with(|session| {
            session.client.execute(&session.overwrite, &columns.parameters()).map(drop)
        })
    }
}

/// Rows as the arrays that [`UPSERT`] takes.
#[derive(Default)]
struct Columns<'a> {
    reservations: Vec<String>,
    sales: Vec<&'a str>,
    users: Vec<Option<&'a str>>,
    keys: Vec<Option<&'a str>>,
    quantities: Vec<i32>,
    statuses: Vec<&'static str>,
    expires: Vec<SystemTime>,
    times: Vec<SystemTime>,
    versions: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(rows: &[&'a Change]) -> Self {
        let mut columns = Self::default();
        for change in rows {
            let reservation = &change.reservation;
            columns.reservations.push(public_id(change));
            columns.sales.push(change.sale.whole_str());
            columns.users.push(reservation.user.as_ref().map(|user| user.as_str()));
            columns.keys.push(change.key.as_ref().map(|key| key.as_str()));
            columns.quantities.push(i32::try_from(reservation.quantity).unwrap_or(i32::MAX));
            columns.statuses.push(reservation.status.as_str());
            columns.expires.push(time(reservation.expires_at_ms));
            columns.times.push(time(change.at_ms));
            columns.versions.push(signed(change.version));
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 9] {
        [
            &self.reservations,
            &self.sales,
            &self.users,
            &self.keys,
            &self.quantities,
            &self.statuses,
            &self.expires,
            &self.times,
            &self.versions,
        ]
    }
}

fn copy(transaction: &mut Transaction<'_>, rows: &[&Change]) -> Result<(), postgres::Error> {
    let mut writer = BinaryCopyInWriter::new(transaction.copy_in(COPY)?, &COPY_TYPES);
    for change in rows {
        let reservation = &change.reservation;
        let at = time(change.at_ms);
        writer.write(&[
            &public_id(change),
            &change.sale.whole_str(),
            &reservation.user.as_ref().map(|user| user.as_str()),
            &change.key.as_ref().map(|key| key.as_str()),
            &i32::try_from(reservation.quantity).unwrap_or(i32::MAX),
            &reservation.status.as_str(),
            &time(reservation.expires_at_ms),
            &at,
            &at,
            &signed(change.version),
        ])?;
    }
    writer.finish().map(drop)
}

fn column<'a, T: FromSql<'a>>(row: &'a postgres::Row, at: usize) -> Column<T> {
    row.try_get(at).map_err(|error| with_causes(&error))
}

fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

impl Session {
    fn open(url: &PostgresUrl) -> Result<Self, DatabaseError> {
        let mut config = url.config().clone();
        with_defaults(&mut config);
        let connected = match url.tls()? {
            None => config.connect(NoTls),
            Some(tls) => config.connect(tls),
        };
        let mut client = connected.map_err(|error| judge(&error))?;
        client.batch_execute(SESSION).map_err(|error| judge(&error))?;
        migrate(&mut client)?;
        let mut prepare = |sql: &str| client.prepare(sql).map_err(|error| judge(&error));
        let (upsert, overwrite) = (prepare(&[UPSERT, GUARD].concat())?, prepare(UPSERT)?);
        let advance = prepare(ADVANCE)?;
        Ok(Self { client, upsert, overwrite, advance, copy_pause: 0 })
    }

    /// One transaction: rows that must be new, rows that may be known, and how far that is.
    fn write(
        &mut self,
        new: &[&Change],
        known: &[&Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), postgres::Error> {
        let mut transaction = self.client.transaction()?;
        if !new.is_empty() {
            copy(&mut transaction, new)?;
        }
        if !known.is_empty() {
            transaction.execute(&self.upsert, &Columns::of(known).parameters())?;
        }
        if let Some((source, version)) = position {
            transaction.execute(&self.advance, &[&source, &signed(version)])?;
        }
        transaction.commit()
    }
}

fn with_defaults(config: &mut Config) {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SEND_TIMEOUT);
    }
    if config.get_application_name().is_none() {
        config.application_name("stampede");
    }
    config.keepalives_idle(KEEPALIVE_IDLE);
}

/// Brings the schema up to date, once however many workers start, and sees that this user may do
/// what it must. Tables that aren't ours are left alone.
fn migrate(client: &mut Client) -> Result<(), DatabaseError> {
    let mut transaction = client.transaction().map_err(|error| judge(&error))?;
    let from = version(&mut transaction).map_err(|error| judge(&error))?;
    let from = match from {
        Schema::None => 0,
        Schema::Foreign => {
            return Err(DatabaseError::Fatal(
                "the database has a table orders that stampede did not make: give another \
                 database, or a schema of its own, as in ?options=-csearch_path%3Dstampede"
                    .into(),
            ));
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
            transaction.execute(note, &[&(at as i32 + 1)])?;
        }
        missing_rights(transaction)
    };
    let missing = run(&mut transaction).map_err(|error| judge(&error))?;
    if !missing.is_empty() {
        let user = missing.join("; ");
        return Err(DatabaseError::Fatal(format!(
            "this user of the database lacks rights: {user}"
        )));
    }
    transaction.commit().map_err(|error| judge(&error))
}

/// What the database has of ours.
enum Schema {
    None,
    Foreign,
    Version(i32),
}

fn version(transaction: &mut Transaction<'_>) -> Result<Schema, postgres::Error> {
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
    let tables = "SELECT to_regclass('stampede_migrations') IS NOT NULL,
                         to_regclass('orders') IS NOT NULL";
    let row = transaction.query_one(tables, &[])?;
    match (row.try_get(0)?, row.try_get(1)?) {
        (true, _) => {
            let sql = "SELECT coalesce(max(version), 0) FROM stampede_migrations";
            Ok(Schema::Version(transaction.query_one(sql, &[])?.try_get(0)?))
        }
        (false, true) => Ok(Schema::Foreign),
        (false, false) => {
            transaction.batch_execute(
                "CREATE TABLE stampede_migrations (
                     version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
            )?;
            Ok(Schema::None)
        }
    }
}

/// What this user may not do and must.
fn missing_rights(transaction: &mut Transaction<'_>) -> Result<Vec<String>, postgres::Error> {
    let sql = "SELECT current_user::text, t, p
               FROM unnest(ARRAY['orders', 'stampede_positions']) AS t,
                    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p
               WHERE NOT has_table_privilege(t, p)";
    let mut missing = Vec::new();
    for row in transaction.query(sql, &[])? {
        let (user, table, right): (&str, &str, &str) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        missing.push(format!("GRANT {right} ON {table} TO {user}"));
    }
    Ok(missing)
}

/// Who must act on an error.
fn judge(error: &postgres::Error) -> DatabaseError {
    let Some(from_server) = error.as_db_error() else {
        let text = with_causes(error);
        // The crate tells kinds apart by their text alone.
        let ours = ["invalid con", "authentication error", "error performing TLS"];
        return if ours.iter().any(|start| text.starts_with(start)) {
            DatabaseError::Fatal(text)
        } else {
            DatabaseError::Away(text)
        };
    };
    let text = describe(from_server);
    if passes(from_server.code()) {
        return DatabaseError::Away(text);
    }
    let hint = match *from_server.code() {
        SqlState::INSUFFICIENT_PRIVILEGE => "; the user of the URL needs this right",
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "; if it asks for encryption, add ?sslmode=require to the URL"
        }
        SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_TABLE | SqlState::DATATYPE_MISMATCH => {
            "; somebody has changed stampede's tables"
        }
        SqlState::DISK_FULL => "; make room and start again: nothing is lost",
        _ => "",
    };
    DatabaseError::Fatal(text + hint)
}

/// Whether an error passes by itself: the server starts or stops, is overloaded or fails over, or
/// somebody else was in the way (PostgreSQL documentation, appendix A).
fn passes(state: &SqlState) -> bool {
    let class = state.code().get(..2).unwrap_or_default();
    let passing = [
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::OUT_OF_MEMORY,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    matches!(class, "08" | "40" | "57") || passing.contains(state)
}

fn describe(error: &DbError) -> String {
    let more = [error.detail(), error.hint()].into_iter().flatten();
    let more: String = more.map(|text| format!(" ({text})")).collect();
    format!("PostgreSQL: {}{more} [{}]", error.message(), error.code().code())
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text += &format!(": {said}");
        }
        cause = error.source();
    }
    text
}
