//! `drain`: stops PostgreSQL while sales go on. Measures how soon the database has every order again,
//! and checks that none is missing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::client::Client;
use crate::error::{Result, fail};
use crate::lab::{Lab, Redis, Served};
use crate::orders::count;
use crate::postgres::{Postgres, connect};
use crate::process::{Interrupted, Running};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::session::{Common, Session};
use crate::strategies::check_orders;

const SCENARIO: &str = "drain";
const DATABASE: &str = "bench_drain";
const BUYERS: u64 = 4;
/// Sales before the outage.
const BEFORE: Duration = Duration::from_secs(3);
const QUICK_OUTAGE_S: u64 = 10;
const POLL: Duration = Duration::from_millis(50);
const DEADLINE: Duration = Duration::from_secs(120);

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Number of outages.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds for which PostgreSQL is stopped.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub outage: u64,
    /// Stop PostgreSQL for 10 seconds only.
    #[arg(long, conflicts_with = "outage")]
    pub quick: bool,
    /// Sales per second, evenly spaced.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(4..=10_000))]
    pub rate: u64,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let tools = ["taskset", "setpriv", "redis-server"];
    let mut session =
        Session::open(&settings.common, SCENARIO, settings.rounds, &tools, interrupted)?;
    check_orders(&session.lab)?;
    let outage = Duration::from_secs(if settings.quick { QUICK_OUTAGE_S } else { settings.outage });
    for round in 1..=settings.rounds {
        session.measure(round, SCENARIO, "stampede", |lab| measure(lab, outage, settings.rate))?;
    }
    let text = format!(
        "\nPostgreSQL was stopped for {} s while stampede sold {} units per second. It stopped as an operator \
         stops it. The outage ends when PostgreSQL takes connections again.\n",
        outage.as_secs(),
        settings.rate
    );
    session.finish("PostgreSQL away", &text, &[])
}

struct World {
    redis: Redis,
    served: Served,
    postgres: Postgres,
    url: String,
    orders: Running,
}

fn measure(lab: &mut Lab, outage: Duration, rate: u64) -> Result<Figures> {
    let postgres = Postgres::start(lab, lab.load_core)?;
    let url = postgres.database(DATABASE)?;
    let redis = lab.redis()?;
    let sale = "ticket=100000000,hold=1d";
    let served = lab.stampede(&[lab.server_core], &redis.url(), &["--sale", sale])?;
    let line = lab.programs.orders(lab.load_core, &redis.url(), &url, false);
    let orders = lab.background("stampede-orders", &line)?;
    let mut world = World { redis, served, postgres, url, orders };
    world.await_up(lab)?;

    let (over, sold) = (AtomicBool::new(false), AtomicU64::new(0));
    let address = world.served.address;
    let figures = thread::scope(|scope| {
        let buyers: Vec<_> =
            (0..BUYERS).map(|_| scope.spawn(|| buy(address, rate, &over, &sold))).collect();
        let figures = world.outage(lab, outage, rate);
        over.store(true, Ordering::Relaxed);
        for buyer in buyers {
            buyer.join().unwrap_or_else(|_| fail("a buyer's thread panicked"))?;
        }
        figures
    })?;
    world.nothing_is_lost(lab, sold.load(Ordering::Relaxed))?;
    Ok(figures)
}

impl World {
    fn await_up(&mut self, lab: &Lab) -> Result<()> {
        let started = Instant::now();
        loop {
            self.orders.check_alive()?;
            let shown =
                Client::connect(self.served.address).and_then(|mut c| c.get("/v1/sales/ticket"));
            let tables = connect(&self.url).and_then(|mut client| count(&mut client));
            if shown.is_ok_and(|response| response.status == 200) && tables.is_ok() {
                return Ok(());
            }
            if started.elapsed() > DEADLINE {
                return fail("no server or no table of orders");
            }
            lab.settle(POLL)?;
        }
    }

    fn outage(&mut self, lab: &mut Lab, outage: Duration, rate: u64) -> Result<Figures> {
        lab.settle(BEFORE)?;
        self.postgres.stop()?;
        lab.remark("PostgreSQL is stopped")?;
        lab.settle(outage)?;
        self.postgres.resume(lab)?;
        let back = Instant::now();
        let mut client = connect(&self.url)?;
        let had = count(&mut client)?;
        let sold_then = self.redis.sold()?;
        let (mut drained, mut caught_up) = (None, None);
        while caught_up.is_none() || drained.is_none() {
            self.orders.check_alive()?;
            let sold = self.redis.sold()?;
            let rows = count(&mut client)?;
            if rows >= sold_then {
                drained.get_or_insert(back.elapsed());
            }
            if sold.saturating_sub(rows) <= rate {
                caught_up.get_or_insert(back.elapsed());
            }
            if back.elapsed() > DEADLINE {
                return fail(format!("{} rows are missing {DEADLINE:?} after", sold - rows));
            }
            lab.settle(POLL)?;
        }
        let seconds = |time: Option<Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64());
        let backlog = sold_then.saturating_sub(had) as f64;
        Ok(vec![
            (figure::BACKLOG_ROWS, backlog),
            (figure::DRAINED_S, seconds(drained)),
            (figure::CAUGHT_UP_S, seconds(caught_up)),
            (figure::ROWS_PER_S, backlog / seconds(drained)),
        ])
    }

    /// Checks that buyers, ledger and database agree.
    fn nothing_is_lost(&mut self, lab: &Lab, granted: u64) -> Result<()> {
        let sold = self.redis.sold()?;
        if sold != granted {
            return fail(format!("{granted} buyers got a grant, but {sold} units are sold"));
        }
        let mut client = connect(&self.url)?;
        let started = Instant::now();
        loop {
            let rows = count(&mut client)?;
            if rows == sold {
                return Ok(());
            }
            if started.elapsed() > DEADLINE {
                return fail(format!("{sold} units are sold, but there are {rows} orders"));
            }
            lab.settle(POLL)?;
        }
    }
}

/// Buys at evenly spaced times.
fn buy(
    address: std::net::SocketAddr,
    rate: u64,
    over: &AtomicBool,
    sold: &AtomicU64,
) -> Result<()> {
    let mut client = Client::connect(address)?;
    let pause = Duration::from_secs(1) * u32::try_from(BUYERS).unwrap_or(1) / rate as u32;
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let response = client.post("/v1/sales/ticket/reservations", r#"{"user":"buyer"}"#)?;
        if response.status != 201 {
            return fail(format!("answered {}: {}", response.status, response.body));
        }
        sold.fetch_add(1, Ordering::Relaxed);
        next += pause;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
