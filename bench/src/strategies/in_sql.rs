//! The strategies in the database: order first, pay first, and holding a unit there.
//!
//! Each request is one prepared statement and one transaction, so the sale's row is locked for one
//! commit only. The statement decides everything; no query precedes it.

use std::thread;
use std::time::Duration;

use postgres::{Client, Statement};

use super::load::{Desk, Helper, Payment, Strategy};
use crate::error::{Because, Result, fail};
use crate::postgres::connect;

const SWEEP_PAUSE: Duration = Duration::from_millis(100);

/// Half-empty pages have room for a new version of a row beside the old one (a HOT update).
const SCHEMA: &str = "
CREATE TABLE sale (id text PRIMARY KEY, free bigint NOT NULL CHECK (free >= 0))
    WITH (fillfactor = 10);
CREATE TABLE orders (
    id text PRIMARY KEY, sale text NOT NULL, user_id text, quantity integer NOT NULL,
    status text NOT NULL, expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE INDEX orders_user ON orders (user_id);";

const ORDER_FIRST: &str = "
WITH taken AS (UPDATE sale SET free = free - 1 WHERE id = 'ticket' AND free > 0 RETURNING id)
INSERT INTO orders (id, sale, user_id, quantity, status, expires_at)
SELECT $1, id, $2, 1, 'held', now() + make_interval(secs => $3) FROM taken";

const ORDER_ONLY: &str = "
INSERT INTO orders (id, sale, user_id, quantity, status, expires_at)
SELECT $1, id, $2, 1, 'held', now() + make_interval(secs => $3)
FROM sale WHERE id = 'ticket' AND free > 0";

const PAY: &str = "
UPDATE orders SET status = 'confirmed', updated_at = now() WHERE id = $1 AND status = 'held'
RETURNING status";

const PAY_AND_DEDUCT: &str = "
WITH taken AS (UPDATE sale SET free = free - 1 WHERE id = 'ticket' AND free > 0 RETURNING id)
UPDATE orders SET updated_at = now(),
    status = CASE WHEN EXISTS (SELECT FROM taken) THEN 'confirmed' ELSE 'refunded' END
WHERE id = $1 AND status = 'held'
RETURNING status";

const SWEEP_INDEX: &str = "CREATE INDEX orders_due ON orders (expires_at) WHERE status = 'held'";

const SWEEP: &str = "
WITH due AS (
    UPDATE orders SET status = 'expired', updated_at = now()
    WHERE status = 'held' AND expires_at <= now() RETURNING quantity
)
UPDATE sale SET free = free + (SELECT sum(quantity) FROM due)
WHERE id = 'ticket' AND EXISTS (SELECT FROM due)";

/// When a unit leaves the stock, and whether it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// With the order, for good.
    Ordered,
    /// With the payment.
    Paid,
    /// With the order, until its hold time ends.
    Held,
}

/// A sale in the database.
pub struct InSql {
    url: String,
    when: When,
    hold: Duration,
}

impl InSql {
    /// Sets up the sale in an empty database.
    pub fn create(url: String, when: When, stock: u32, hold: Duration) -> Result<Self> {
        let mut client = connect(&url)?;
        create_orders(&mut client)?;
        let sale = format!("INSERT INTO sale VALUES ('ticket', {stock})");
        client.batch_execute(&sale).because(|| "creating the sale".into())?;
        if when == When::Held {
            client.batch_execute(SWEEP_INDEX).because(|| "creating an index".into())?;
        }
        Ok(Self { url, when, hold })
    }
}

/// The tables.
pub fn create_orders(client: &mut Client) -> Result<()> {
    client.batch_execute(SCHEMA).because(|| "creating the tables".into())
}

/// Number of paid orders in a database.
pub fn confirmed(url: &str) -> Result<u64> {
    let sql = "SELECT count(*) FROM orders WHERE status = 'confirmed'";
    let row = connect(url)?.query_one(sql, &[]).because(|| "counting orders".into())?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

impl Strategy for InSql {
    fn desk(&self) -> Result<Box<dyn Desk>> {
        let mut client = connect(&self.url)?;
        let mut prepare = |sql| client.prepare(sql).because(|| "preparing a statement".into());
        let order = prepare(if self.when == When::Paid { ORDER_ONLY } else { ORDER_FIRST })?;
        let pay = prepare(if self.when == When::Paid { PAY_AND_DEDUCT } else { PAY })?;
        let hold_seconds = self.hold.as_secs_f64();
        Ok(Box::new(SqlDesk { client, order, pay, hold_seconds }))
    }

    fn helpers(&self) -> Result<Vec<Helper>> {
        if self.when != When::Held {
            return Ok(Vec::new());
        }
        let mut client = connect(&self.url)?;
        let sweep = client.prepare(SWEEP).because(|| "preparing the sweep".into())?;
        Ok(vec![Box::new(move || {
            client.execute(&sweep, &[]).because(|| "sweeping".into())?;
            thread::sleep(SWEEP_PAUSE);
            Ok(())
        })])
    }

    fn confirmed(&self) -> Result<u64> {
        confirmed(&self.url)
    }
}

struct SqlDesk {
    client: Client,
    order: Statement,
    pay: Statement,
    hold_seconds: f64,
}

impl Desk for SqlDesk {
    fn order(&mut self, buyer: u32) -> Result<Option<String>> {
        // As long as stampede's ids.
        let (id, user) = (format!("ticket~{buyer:026}"), format!("user-{buyer:08}"));
        let ordered = self.client.execute(&self.order, &[&id, &user, &self.hold_seconds]);
        match ordered.because(|| "ordering".into())? {
            0 => Ok(None),
            _ => Ok(Some(id)),
        }
    }

    fn pay(&mut self, order: &str) -> Result<Payment> {
        let row = self.client.query_opt(&self.pay, &[&order]).because(|| "paying".into())?;
        match row.map(|row| row.get::<_, String>(0)).as_deref() {
            Some("confirmed") => Ok(Payment::Done),
            Some("refunded") | None => Ok(Payment::Refunded),
            Some(other) => fail(format!("an order that is {other} after its payment")),
        }
    }
}
