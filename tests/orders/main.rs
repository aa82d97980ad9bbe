//! Orders: every change of a reservation gets into a real PostgreSQL and into SQLite, once,
//! whatever dies on the way.

// Each test program uses a part of the support.
#[allow(dead_code)]
#[path = "../support/postgres.rs"]
mod postgres_server;

#[path = "../support/pgbouncer.rs"]
mod pgbouncer;

#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis_server;

#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;

mod databases;
mod embedded;
mod files;
mod groups;
mod pooler;
mod shop;
mod streams;
mod tables;

use stampede::sale::{Change, Key, Reservation, ReservationId, SaleId, Status, User};

fn sale(id: &str) -> SaleId {
    SaleId::new(id).expect("a sale id")
}

/// A change of the sale's reservation of this number, every third of which is anonymous.
fn change(sale: &SaleId, number: u64, status: Status, version: u64) -> Change {
    let named = !number.is_multiple_of(3);
    Change {
        sale: sale.clone(),
        reservation: Reservation {
            id: ReservationId(u128::from(number) << 64 | u128::from(number)),
            user: named.then(|| User::new(&format!("user {number}")).expect("a user")),
            quantity: number as u32 % 4 + 1,
            status,
            expires_at_ms: 1_893_456_000_000 + number,
            details: None,
        },
        key: (number % 2 == 1).then(|| Key::new(&format!("key {number}")).expect("a key")),
        at_ms: 1_893_455_000_000 + version,
        version,
        trace: None,
    }
}
