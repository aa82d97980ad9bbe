//! What a ledger has in the end, read without a server.

use std::collections::BTreeMap;
use std::path::Path;

use stampede::ledger::embedded::{Cursor, Options, Store};
use stampede::ledger::redis::parse_line;
use stampede::sale::{Key, Reservation, Status};

use crate::redis_server::RedisConnection;

/// A reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The buyer.
    pub user: String,
    /// The idempotency key.
    pub key: String,
    /// Units.
    pub quantity: u32,
    /// Its status.
    pub status: Status,
}

/// Every reservation of some sales, by the id that buyers know.
pub type Rows = BTreeMap<String, Row>;

fn row(reservation: Reservation, key: Option<Key>) -> Row {
    Row {
        user: reservation.user.map(|user| user.as_str().to_owned()).unwrap_or_default(),
        key: key.map(|key| key.as_str().to_owned()).unwrap_or_default(),
        quantity: reservation.quantity,
        status: reservation.status,
    }
}

/// The places of a sale: itself, or its parts.
pub fn places(sale: &str, parts: usize) -> Vec<String> {
    match parts {
        1 => vec![sale.to_owned()],
        parts => (1..=parts).map(|part| format!("{sale}~{part}of{parts}")).collect(),
    }
}

/// The reservations of one place in its Redis.
pub fn of_redis(redis: &mut RedisConnection, place: &str) -> Rows {
    let lines = redis.reservations(&format!("{{{place}_hash_key}}:reservations"));
    let rows = lines.into_iter().map(|(id, rest)| {
        let parsed = parse_line(&format!("{id} {rest}"));
        let (reservation, key) = parsed.unwrap_or_else(|| panic!("{place}: {id} {rest}"));
        (format!("{place}~{id}"), row(reservation, key))
    });
    rows.collect()
}

/// The reservations of all sales in a data folder that no server has open.
pub fn of_folder(folder: &Path) -> Rows {
    let options = Options { compaction_changes_min: u64::MAX };
    let store = Store::open(folder, options);
    let mut store = store.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let (mut cursor, mut rows) = (Cursor::new(0, 1), Rows::new());
    while cursor.position() < store.version() || cursor.is_walking() {
        for change in store.changes(&mut cursor, 1000).expect("the changes") {
            let id = format!("{}~{}", change.sale, change.reservation.id);
            rows.insert(id, row(change.reservation, change.key));
        }
    }
    rows
}

/// The sale of a reservation, by the id that buyers know.
pub fn sale_of(id: &str) -> &str {
    id.split('~').next().unwrap_or_default()
}
