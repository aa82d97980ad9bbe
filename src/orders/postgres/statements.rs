//! The statements that write rows, their parameters, and their time-outs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::{ToSql, Type};
use postgres::{Client, Transaction};

use crate::orders::rows::{Latest, public_id, signed};
use crate::trace::Trace;

/// The time for one statement; one that waits for a lock is tried again.
const STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = '60s'";

/// Writes rows, or changes existing ones, whatever version they have.
pub(super) const UPSERT: &str = "\
INSERT INTO orders AS o (reservation, sale, user_id, idempotency_key, quantity, status, expires_at,
                         created_at, updated_at, version)
SELECT r, s, u, k, q, t, e, a, a, v
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::timestamptz[],
            $8::timestamptz[], $9::bigint[]) AS rows (r, s, u, k, q, t, e, a, v)
ON CONFLICT (reservation) DO UPDATE SET
    user_id = excluded.user_id, idempotency_key = excluded.idempotency_key,
    quantity = excluded.quantity, status = excluded.status, expires_at = excluded.expires_at,
    updated_at = excluded.updated_at, version = excluded.version";
/// The same with the columns of a later version, for batches with a value in them.
const UPSERT_TRACED: &str = "\
INSERT INTO orders AS o (reservation, sale, user_id, idempotency_key, quantity, status, expires_at,
                         created_at, updated_at, version, request_id, traceparent, note, lines)
SELECT r, s, u, k, q, t, e, a, a, v, i, p, n, l
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[], $7::timestamptz[],
            $8::timestamptz[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[])
    AS rows (r, s, u, k, q, t, e, a, v, i, p, n, l)
ON CONFLICT (reservation) DO UPDATE SET
    user_id = excluded.user_id, idempotency_key = excluded.idempotency_key,
    quantity = excluded.quantity, status = excluded.status, expires_at = excluded.expires_at,
    updated_at = excluded.updated_at, version = excluded.version,
    request_id = coalesce(excluded.request_id, o.request_id),
    traceparent = coalesce(excluded.traceparent, o.traceparent),
    note = coalesce(excluded.note, o.note),
    lines = excluded.lines";
/// Writes the traces of reservations of which a later change was written first.
const FILL: &str = "\
UPDATE orders AS o SET request_id = i, traceparent = p
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS rows (r, v, i, p)
WHERE o.reservation = r AND o.version > v AND o.request_id IS NULL AND o.traceparent IS NULL
    AND (i IS NOT NULL OR p IS NOT NULL)";
/// Overwrites only rows of an earlier version.
const GUARD: &str = "\nWHERE o.version < excluded.version";
const COPY: &str = "\
COPY orders (reservation, sale, user_id, idempotency_key, quantity, status, expires_at, created_at,
             updated_at, version) FROM STDIN BINARY";
const COPY_TRACED: &str = "\
COPY orders (reservation, sale, user_id, idempotency_key, quantity, status, expires_at, created_at,
             updated_at, version, request_id, traceparent, note, lines) FROM STDIN BINARY";
/// The types of [`COPY_TRACED`]; without the last four for the other statement.
const COPY_TYPES: [Type; 14] = [
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
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
];

/// Rows as the arrays that [`UPSERT`] takes.
#[derive(Default)]
pub(super) struct Columns<'a> {
    reservations: Vec<String>,
    sales: Vec<&'a str>,
    users: Vec<Option<&'a str>>,
    keys: Vec<Option<&'a str>>,
    quantities: Vec<i32>,
    statuses: Vec<&'static str>,
    expires: Vec<SystemTime>,
    times: Vec<SystemTime>,
    versions: Vec<i64>,
    request_ids: Vec<Option<&'a str>>,
    parents: Vec<Option<&'a str>>,
    notes: Vec<Option<&'a str>>,
    lines: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(rows: &'a [Latest<'a>]) -> Self {
        let mut columns = Self::default();
        for change in rows {
            let reservation = &change.reservation;
            columns.request_ids.push(change.trace.and_then(Trace::request_id));
            columns.parents.push(change.trace.and_then(Trace::parent));
            columns.notes.push(change.note());
            columns.lines.push(change.lines());
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

    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 9] {
        [
            (&self.reservations, Type::TEXT_ARRAY),
            (&self.sales, Type::TEXT_ARRAY),
            (&self.users, Type::TEXT_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
            (&self.quantities, Type::INT4_ARRAY),
            (&self.statuses, Type::TEXT_ARRAY),
            (&self.expires, Type::TIMESTAMPTZ_ARRAY),
            (&self.times, Type::TIMESTAMPTZ_ARRAY),
            (&self.versions, Type::INT8_ARRAY),
        ]
    }
}

/// Writes rows. Overwrites existing ones only if they are of an earlier version, unless `always`.
/// `traced`: the table has the columns for traces.
pub(super) fn upsert(
    transaction: &mut Transaction<'_>,
    rows: &[Latest<'_>],
    always: bool,
    traced: bool,
) -> Result<(), postgres::Error> {
    let columns = Columns::of(rows);
    let guard = if always { "" } else { GUARD };
    // A repair may have to remove lines.
    if !(traced && (always || says_any_more(rows))) {
        transaction.execute_typed(&[UPSERT, guard].concat(), &columns.parameters())?;
        return Ok(());
    }
    let texts = [&columns.request_ids, &columns.parents].map(|texts| texts as &(dyn ToSql + Sync));
    let more = texts.map(|texts| (texts, Type::TEXT_ARRAY));
    let last: [(&(dyn ToSql + Sync), Type); 2] =
        [(&columns.notes, Type::TEXT_ARRAY), (&columns.lines, Type::TEXT_ARRAY)];
    let parameters = [&columns.parameters()[..], &more, &last].concat();
    transaction.execute_typed(&[UPSERT_TRACED, guard].concat(), &parameters)?;
    let rows: [(&(dyn ToSql + Sync), Type); 2] =
        [(&columns.reservations, Type::TEXT_ARRAY), (&columns.versions, Type::INT8_ARRAY)];
    transaction.execute_typed(FILL, &[&rows[..], &more].concat())?;
    Ok(())
}

fn says_any_more(rows: &[Latest<'_>]) -> bool {
    rows.iter()
        .any(|row| row.trace.is_some() || row.note().is_some() || row.reservation.lines().is_some())
}

/// Copies rows. The crate prepares the statement under a name, which it releases before this
/// returns, and so within the transaction.
pub(super) fn copy(
    transaction: &mut Transaction<'_>,
    rows: &[Latest<'_>],
    traced: bool,
) -> Result<(), postgres::Error> {
    let (sql, columns) = match traced && says_any_more(rows) {
        true => (COPY_TRACED, COPY_TYPES.len()),
        false => (COPY, COPY_TYPES.len() - 4),
    };
    let mut writer = BinaryCopyInWriter::new(transaction.copy_in(sql)?, &COPY_TYPES[..columns]);
    for change in rows {
        let reservation = &change.reservation;
        let at = time(change.at_ms);
        let values: [&(dyn ToSql + Sync); COPY_TYPES.len()] = [
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
            &change.trace.and_then(Trace::request_id),
            &change.trace.and_then(Trace::parent),
            &change.note(),
            &change.lines(),
        ];
        writer.write(&values[..columns])?;
    }
    writer.finish().map(drop)
}

/// A transaction whose statements have a time-out.
pub(super) fn begin(client: &mut Client) -> Result<Transaction<'_>, postgres::Error> {
    let mut transaction = client.transaction()?;
    transaction.batch_execute(STATEMENT_TIMEOUT)?;
    Ok(transaction)
}

pub(super) fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}
