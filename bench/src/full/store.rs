//! The ledgers that a server sells from, each started for one measurement: the server's setting, the
//! tickets sold, and the CPU used.

use std::thread;
use std::time::Duration;

use crate::answer::number_field;
use crate::client::Client;
use crate::error::{Because, Result, fail};
use crate::full::measure::{Measured, under_load};
use crate::lab::{Lab, Redis, Served};
use crate::postgres::Postgres;
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::servers::Ledger;
use crate::tools::LoadPlan;

/// Largest age of a sale that stampede shows.
const VIEW_AGE: Duration = Duration::from_millis(150);

/// A ledger to sell from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// The embedded ledger.
    Embedded,
    /// A Redis in memory, on the load's core.
    Redis,
    /// PostgreSQL, on the load's core.
    Postgres,
}

/// A started ledger.
pub struct Opened {
    redis: Option<Redis>,
    postgres: Option<Postgres>,
}

impl Opened {
    /// Starts the ledger.
    pub fn open(lab: &mut Lab, store: Store) -> Result<Self> {
        let core = lab.load_core;
        let redis = (store == Store::Redis).then(|| lab.redis()).transpose()?;
        let postgres =
            (store == Store::Postgres).then(|| Postgres::start(lab, core)).transpose()?;
        Ok(Self { redis, postgres })
    }

    /// The server's setting of this ledger.
    pub fn ledger(&self) -> Ledger {
        match (&self.redis, &self.postgres) {
            (Some(redis), _) => Ledger::Redis(redis.address),
            (_, Some(postgres)) => Ledger::Postgres(postgres.url("postgres")),
            (None, None) => Ledger::Embedded,
        }
    }

    /// Starts a stampede on this ledger and on the servers' core, with only the sales of the options.
    pub fn stampede(&self, lab: &mut Lab, options: &[&str]) -> Result<Served> {
        let url = self.redis.as_ref().map_or_else(|| lab.fresh_ledger(), |redis| redis.url());
        lab.stampede(&[lab.server_core], &url, options)
    }

    /// Tickets sold from a sale that is not split. With an embedded ledger, asks the server.
    pub fn sold_of(&mut self, served: &Served, sales: &[String]) -> Result<u64> {
        match (&mut self.redis, &self.postgres) {
            (Some(redis), _) => sales.iter().map(|sale| redis.sold_of(sale)).sum(),
            (_, Some(postgres)) => sold_in_postgres(postgres),
            (None, None) => shown_as_sold(served, sales),
        }
    }

    /// Loads a server. Also returns the CPU of its Redis during the load, in microseconds.
    pub fn under_load(
        &self,
        lab: &mut Lab,
        served: &Served,
        plan: &LoadPlan<'_>,
    ) -> Result<(Measured, Option<f64>)> {
        let cpu = || self.redis.as_ref().map(|redis| redis.process.cpu()).transpose();
        let before = cpu()?;
        let measured = under_load(lab, served, plan)?;
        let used = before.zip(cpu()?).map(|(before, after)| after.us_since(before).0);
        Ok((measured, used))
    }
}

/// Adds the CPU of Redis per request to the figures.
pub fn with_redis(mut figures: Figures, requests: u64, redis_us: Option<f64>) -> Figures {
    figures.extend(redis_us.map(|us| (figure::REDIS_CPU_US, us / requests as f64)));
    figures
}

/// Number of reservations in PostgreSQL.
pub fn sold_in_postgres(postgres: &Postgres) -> Result<u64> {
    let count = "SELECT (SELECT count(*) FROM reservation) + \
                 (SELECT count(*) FROM shop_reservation)";
    let row = postgres.connect("postgres")?.query_one(count, &[]).because(|| count.into())?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}

/// Units of these sales that a stampede shows as sold.
pub fn shown_as_sold(served: &Served, sales: &[String]) -> Result<u64> {
    thread::sleep(VIEW_AGE);
    let mut client = Client::connect(served.address)?;
    let mut sold = |sale: &String| {
        let sale = client.get(&format!("/v1/sales/{sale}"))?.body;
        match (number_field(&sale, "held"), number_field(&sale, "confirmed")) {
            (Some(held), Some(confirmed)) => Ok(held + confirmed),
            _ => fail(format!("an unexpected sale: {sale}")),
        }
    };
    sales.iter().map(&mut sold).sum()
}
