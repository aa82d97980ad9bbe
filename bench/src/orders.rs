//! `orders`: compares `stampede orders`, from a stream into PostgreSQL, with `COPY` of the same rows
//! into the same table. Each uses one connection. Both clients run on the servers' core and PostgreSQL
//! on the other.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use postgres::Client;

use crate::error::{Because, Result, fail};
use crate::fill::{Filler, Kind};
use crate::lab::Lab;
use crate::pin;
use crate::postgres::{Postgres, connect};
use crate::process::Interrupted;
use crate::report::{Limit, Promise};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::session::{Common, Session};
use crate::strategies::check_orders;

const SCENARIO: &str = "orders";
const OURS: &str = "stampede_orders";
const COPY: &str = "copy";
const DATABASE: &str = "bench_orders";
const HOLD_MS: u64 = 3_600_000;
/// Rows that create the tables and run each kind of statement once.
const ROWS_FIRST: usize = 1_000;
const SECONDS_MAX: u64 = 120;

/// Promises on this scenario.
pub const PROMISES: [Promise; 1] = [Promise::new(
    "Rows/s of `stampede orders`, relative to COPY",
    Limit::AtLeast(0.5),
    (SCENARIO, OURS, figure::ROWS_PER_S),
)
.to((SCENARIO, COPY, figure::ROWS_PER_S))];

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each writes the rows by `stampede orders` and by COPY.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Reservations to write.
    #[arg(long, default_value_t = 200_000)]
    pub rows: usize,
    /// Reservations per entry of the stream.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub batch: u16,
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
    let core = session.lab.load_core;
    let postgres = Postgres::start(&mut session.lab, core)?;
    let url = postgres.database(DATABASE)?;
    write_orders(&mut session.lab, &postgres, &url, ROWS_FIRST, settings.batch)?;
    empty(&url)?;
    for round in 1..=settings.rounds {
        session.measure(round, SCENARIO, OURS, |lab| {
            write_orders(lab, &postgres, &url, settings.rows, settings.batch)
        })?;
        let core = session.lab.server_core;
        session.measure(round, SCENARIO, COPY, |_| copy(&postgres, &url, core))?;
        empty(&url)?;
    }
    let text = format!(
        "\n{} reservations with user and key, {} per entry of the stream, read to its end \
         (`--once`, start included). COPY is binary, from memory, into the same table (its keys and \
         indexes too), emptied before.\n",
        settings.rows, settings.batch
    );
    session.finish("Orders into PostgreSQL", &text, &PROMISES)
}

/// Writes a new Redis' full stream to its end.
fn write_orders(
    lab: &mut Lab,
    postgres: &Postgres,
    url: &str,
    rows: usize,
    batch: u16,
) -> Result<Figures> {
    let redis = lab.redis_on(lab.server_core, &["--appendonly", "no"])?;
    let mut filler = Filler::open(redis.address, "ticket")?;
    filler.create(rows as u64, HOLD_MS)?;
    filler.reserve(rows, batch.into(), Kind::UserAndKey)?;
    postgres.checkpoint()?;

    let line = lab.programs.orders(lab.server_core, &redis.url(), url, true);
    let started = Instant::now();
    lab.load(&line, SECONDS_MAX)?;
    let elapsed = started.elapsed();
    let found = count(&mut connect(url)?)?;
    if found != rows as u64 {
        return fail(format!("{rows} reservations, but {found} orders"));
    }
    Ok(figures(found, elapsed))
}

/// Reads the rows, empties the table, and writes them again by COPY.
fn copy(postgres: &Postgres, url: &str, core: usize) -> Result<Figures> {
    let mut client = connect(url)?;
    let mut rows = Vec::new();
    let out = client.copy_out("COPY orders TO STDOUT (FORMAT binary)");
    out.because(|| "COPY to us".into())?.read_to_end(&mut rows)?;
    let found = count(&mut client)?;
    drop(client);
    empty(url)?;
    postgres.checkpoint()?;

    // A separate thread, because this one is pinned to the load's core.
    let copied = thread::scope(|scope| {
        let copying = scope.spawn(|| {
            pin::to_core(core)?;
            let mut client = connect(url)?;
            let started = Instant::now();
            let put = client.copy_in("COPY orders FROM STDIN (FORMAT binary)");
            let mut put = put.because(|| "COPY".into())?;
            put.write_all(&rows).because(|| "COPY".into())?;
            let copied = put.finish().because(|| "COPY".into())?;
            Ok((copied, started.elapsed()))
        });
        copying.join().unwrap_or_else(|_| fail("the thread of COPY panicked"))
    });
    let (copied, elapsed) = copied?;
    if copied != found {
        return fail(format!("{copied} of {found} rows were copied"));
    }
    Ok(figures(copied, elapsed))
}

fn figures(rows: u64, elapsed: Duration) -> Figures {
    let rows = rows as f64;
    vec![(figure::ROWS, rows), (figure::ROWS_PER_S, rows / elapsed.as_secs_f64())]
}

fn empty(url: &str) -> Result<()> {
    connect(url)?.batch_execute("TRUNCATE orders").because(|| "emptying the table".into())
}

/// Orders in a database.
pub fn count(client: &mut Client) -> Result<u64> {
    let row = client.query_one("SELECT count(*) FROM orders", &[]);
    Ok(row.because(|| "counting orders".into())?.get::<_, i64>(0).unsigned_abs())
}
