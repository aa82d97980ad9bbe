//! Orders in PostgreSQL, over one blocking connection that reconnects by itself.
//!
//! A batch is one transaction. Held reservations are mostly new and are written by `COPY`, at
//! nearly its speed. If one of them existed after all, the whole batch goes as arrays to one
//! `INSERT`, which decides by version at each row whether it is new, later or older. So do all
//! reservations that are no longer held. In both cases the server parses and plans nothing per row.
//!
//! Between two transactions nothing of ours stays at the server: no prepared statement and no
//! `SET`. PgBouncer may use another connection of PostgreSQL for each transaction.

use std::time::{Duration, Instant};

use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{FromSql, Type};
use postgres::{Client, Config, NoTls, Transaction};

use super::database::{Database, DatabaseError, Row, Sink};
use super::postgres_url::PostgresUrl;
use super::rows::{self, Column, Latest, latest, signed, unsigned};
use crate::sale::{Change, SaleId, Status};

mod errors;
mod schema;
mod statements;

use errors::judge;
use statements::{begin, copy, upsert};

/// The time for connecting, unless the URL sets another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// TCP keep-alive probes start after this time without traffic, so that a dead server is noticed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
/// After this time without use, a connection is tested before it is used.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// The time for the answer to that test.
const IDLE_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The time for sent data to be received.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// The minimum of new rows for a `COPY` of their own.
const COPY_ROWS_MIN: usize = 64;
/// Batches without `COPY` after one in which a row existed already: then earlier work is being
/// repeated.
const COPY_PAUSE_BATCHES: u32 = 16;
const ADVANCE: &str = "\
INSERT INTO stampede_positions AS p (source, version) VALUES ($1, $2)
ON CONFLICT (source) DO UPDATE SET version = excluded.version WHERE p.version < excluded.version";

/// A PostgreSQL database with orders.
pub(super) struct Postgres {
    url: PostgresUrl,
    session: Option<Session>,
}

/// A connection.
struct Session {
    client: Client,
    used_at: Instant,
    /// Batches that still go without `COPY`.
    copy_pause: u32,
    /// The table has the columns for traces.
    traced: bool,
}

impl Postgres {
    /// Connects and migrates the schema.
    pub fn open(url: PostgresUrl) -> Result<Self, DatabaseError> {
        let mut database = Self { url, session: None };
        database.with(|session| {
            schema::add(&mut session.client);
            session.traced = schema::is_traced(&mut session.client)?;
            Ok(())
        })?;
        Ok(database)
    }

    /// Runs something on the connection, a new one if there is none; after an error there is none.
    fn with<T>(
        &mut self,
        run: impl FnOnce(&mut Session) -> Result<T, postgres::Error>,
    ) -> Result<T, DatabaseError> {
        let usable = self.session.take().and_then(Session::still_usable);
        let mut session = usable.map_or_else(|| Session::open(&self.url), Ok)?;
        let done = run(&mut session).map_err(|error| judge(&error))?;
        session.used_at = Instant::now();
        self.session = Some(session);
        Ok(done)
    }
}

impl Sink for Postgres {
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
            let is_new = |row: &Latest<'_>| row.reservation.status == Status::Held;
            let (new, known): (Vec<_>, Vec<_>) = rows.iter().copied().partition(is_new);
            if session.copy_pause > 0 || new.len() < COPY_ROWS_MIN {
                return session.write(&[], &rows, position);
            }
            // Without a position to be written with them, the new rows are a transaction of their
            // own: together with the others they would not be in the order of ids, and two workers
            // could deadlock.
            let apart = position.is_none() && !known.is_empty();
            let written = if apart {
                session.write(&new, &[], None).and_then(|()| session.write(&[], &known, None))
            } else {
                session.write(&new, &known, position)
            };
            match written {
                Err(error) if copy_can_not(&error) => {
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
            let row = session.client.query_typed_opt(sql, &[(&source, Type::TEXT)])?;
            row.map(|row| row.try_get(0).map(unsigned)).transpose()
        })
    }
}

impl Database for Postgres {
    fn rows(&mut self, sale: &SaleId, each: &mut dyn FnMut(Row)) -> Result<(), DatabaseError> {
        self.with(|session| {
            let has_lines = session.traced;
            let sql = format!(
                "SELECT reservation, user_id, quantity, status, version{}
                 FROM orders WHERE sale = $1 ORDER BY reservation",
                if has_lines { ", lines" } else { "" }
            );
            let mut transaction = session.client.transaction()?;
            transaction.batch_execute("SET LOCAL statement_timeout = 0")?;
            let mut rows = transaction.query_typed_raw(&sql, [(sale.whole_str(), Type::TEXT)])?;
            while let Some(row) = rows.next()? {
                let columns = rows::Columns {
                    reservation: column(&row, 0),
                    user: column(&row, 1),
                    quantity: column::<i32>(&row, 2).map(|quantity| quantity.map(i64::from)),
                    status: column(&row, 3),
                    version: column(&row, 4),
                    lines: has_lines.then(|| column(&row, 5)),
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
            let names = transaction.query_typed(sql, &[])?;
            let names = names.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            transaction.commit()?;
            Ok(names)
        })
    }

    fn highest_version(&mut self) -> Result<Option<u64>, DatabaseError> {
        self.with(|session| {
            let mut transaction = session.client.transaction()?;
            transaction.batch_execute("SET LOCAL statement_timeout = 0")?;
            let rows = transaction.query_typed("SELECT max(version) FROM orders", &[])?;
            let found = rows.first().map(|row| row.try_get::<_, Option<i64>>(0)).transpose()?;
            transaction.commit()?;
            Ok(found.flatten().map(unsigned))
        })
    }

    fn overwrite(&mut self, changes: &[Change]) -> Result<(), DatabaseError> {
        let rows = latest(changes);
        self.with(|session| {
            let traced = session.traced;
            let mut transaction = session.begin()?;
            upsert(&mut transaction, &rows, true, traced)?;
            transaction.commit()
        })
    }
}

/// Whether a failed batch is to be repeated by `INSERT`: a row existed already; or, with PgBouncer,
/// another program has left a statement of this name on the connection.
fn copy_can_not(error: &postgres::Error) -> bool {
    let codes = [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_PSTATEMENT];
    error.code().is_some_and(|code| codes.contains(code))
}

fn column<'a, T: FromSql<'a>>(row: &'a postgres::Row, at: usize) -> Column<T> {
    row.try_get(at).map_err(|error| errors::with_causes(&error))
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
        schema::migrate(&mut client)?;
        let traced = schema::is_traced(&mut client).map_err(|error| judge(&error))?;
        Ok(Self { client, used_at: Instant::now(), copy_pause: 0, traced })
    }

    /// Tests an idle connection: the server, or a proxy, may have closed it, which is no outage.
    fn still_usable(mut self) -> Option<Self> {
        let idle = self.used_at.elapsed() > IDLE_AFTER;
        let usable = !self.client.is_closed()
            && (!idle || self.client.is_valid(IDLE_ANSWER_TIMEOUT).is_ok());
        usable.then_some(self)
    }

    fn begin(&mut self) -> Result<Transaction<'_>, postgres::Error> {
        begin(&mut self.client)
    }

    /// One transaction: rows that must be new, rows that may exist, and the position.
    fn write(
        &mut self,
        new: &[Latest<'_>],
        known: &[Latest<'_>],
        position: Option<(&str, u64)>,
    ) -> Result<(), postgres::Error> {
        let traced = self.traced;
        let mut transaction = self.begin()?;
        if !new.is_empty() {
            copy(&mut transaction, new, traced)?;
        }
        if !known.is_empty() {
            upsert(&mut transaction, known, false, traced)?;
        }
        if let Some((source, version)) = position {
            let version = signed(version);
            transaction.execute_typed(ADVANCE, &[(&source, Type::TEXT), (&version, Type::INT8)])?;
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
