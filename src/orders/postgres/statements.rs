//! How rows are written: the statements, their parameters, and the time they may take.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::{ToSql, Type};
use postgres::{Client, Transaction};

use crate::orders::rows::{public_id, signed};
use crate::sale::Change;

/// Time for one statement; one that waits behind somebody's lock is tried again.
const STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = '60s'";

/// Writes rows, or changes those that are there, whatever version they have.
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
}

impl<'a> Columns<'a> {
    pub(super) fn of(rows: &[&'a Change]) -> Self {
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

/// Copies rows. The crate prepares the statement under a name, which it gives back to the server
/// before this returns, and so within the transaction.
pub(super) fn copy(
    transaction: &mut Transaction<'_>,
    rows: &[&Change],
) -> Result<(), postgres::Error> {
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

/// A transaction whose statements may not take for ever.
pub(super) fn begin(client: &mut Client) -> Result<Transaction<'_>, postgres::Error> {
    let mut transaction = client.transaction()?;
    transaction.batch_execute(STATEMENT_TIMEOUT)?;
    Ok(transaction)
}

pub(super) fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}
