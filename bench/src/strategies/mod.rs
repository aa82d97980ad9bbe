//! `strategies`: compares the time at which a unit leaves the stock: with the order, with the payment,
//! or held before the order. The buyers, the disk, and the core of all servers (database, Redis,
//! server, worker) are the same. Durability is on everywhere.

mod by_hand;
mod in_sql;
mod load;
mod ours;
mod picture;

use std::fmt::Write;
use std::time::Duration;

use clap::{Args, ValueEnum};

pub use ours::check_orders;

use crate::error::{Result, fail};
use crate::lab::Lab;
use crate::postgres::Postgres;
use crate::process::Interrupted;
use crate::report::median;
use crate::rows::{Row, figure};
use crate::scenarios::Figures;
use crate::session::{Common, Session};
use by_hand::ByHand;
use in_sql::{InSql, When};
use load::{Crowd, Strategy};
use ours::Ours;

/// The scenario's name in the tables.
const SCENARIO: &str = "strategies";
/// Redis syncs before it acknowledges, as PostgreSQL does.
const REDIS_DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// A strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Order and deduct in one transaction. An unpaid order keeps its unit.
    OrderFirst,
    /// Order first, deduct at the payment.
    PayFirst,
    /// Order, deduct and set a deadline in one transaction. A sweep returns unpaid units.
    HeldInSql,
    /// Hold in Redis by a script of 30 lines, without a server. Orders follow through a stream.
    HeldByHand,
    /// Hold in stampede. Orders follow through `stampede orders`.
    Stampede,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::OrderFirst => "order_first",
            Self::PayFirst => "pay_first",
            Self::HeldInSql => "held_in_sql",
            Self::HeldByHand => "held_by_hand",
            Self::Stampede => "stampede",
        }
    }
}

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each runs every strategy once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Units for sale.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub stock: u32,
    /// Buyers in the rush per unit.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub demand: u32,
    /// Connections of the rush.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub connections: u32,
    /// Percentage of successful buyers in the rush that never pay.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub unpaid: u32,
    /// Milliseconds for which a strategy with holds keeps a unit.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(500..=60_000))]
    pub hold_ms: u64,
    /// Strategies to compare.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "order-first,pay-first,held-in-sql,held-by-hand,stampede"
    )]
    pub strategies: Vec<Which>,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let tools = ["taskset", "setpriv", "redis-server"];
    let mut session =
        Session::open(&settings.common, SCENARIO, settings.rounds, &tools, interrupted)?;
    if settings.strategies.contains(&Which::Stampede) {
        check_orders(&session.lab)?;
    }
    let core = session.lab.server_core;
    let postgres = Postgres::start(&mut session.lab, core)?;
    for round in 1..=settings.rounds {
        // Rounds rotate the order.
        let mut order = settings.strategies.clone();
        order.rotate_left((round as usize - 1) % settings.strategies.len());
        for which in order {
            session.measure(round, SCENARIO, which.name(), |lab| {
                measure(lab, &postgres, which, settings)
            })?;
        }
    }
    let text = summary(settings, session.rows());
    let names: Vec<_> = settings.strategies.iter().map(|which| which.name()).collect();
    let picture = session.out.join("strategies.svg");
    picture::draw(&picture, SCENARIO, &names, settings.stock, session.rows())?;
    session.finish("Three strategies of a sale", &text, &[])
}

fn measure(
    lab: &mut Lab,
    postgres: &Postgres,
    which: Which,
    settings: &Settings,
) -> Result<Figures> {
    let name = format!("bench_{}", which.name());
    let url = postgres.database(&name)?;
    let hold = Duration::from_millis(settings.hold_ms);
    let stock = settings.stock;
    let core = lab.server_core;
    // Kept until the end of the measurement.
    let mut redis = None;
    let strategy: Box<dyn Strategy> = match which {
        Which::OrderFirst => Box::new(InSql::create(url, When::Ordered, stock, hold)?),
        Which::PayFirst => Box::new(InSql::create(url, When::Paid, stock, hold)?),
        Which::HeldInSql => Box::new(InSql::create(url, When::Held, stock, hold)?),
        Which::HeldByHand => {
            let redis = redis.insert(lab.redis_on(core, &REDIS_DURABLE)?);
            Box::new(ByHand::create(&redis.url(), url, stock, hold)?)
        }
        Which::Stampede => {
            let redis = redis.insert(lab.redis_on(core, &REDIS_DURABLE)?);
            let sale = format!("ticket={stock},hold={}ms", settings.hold_ms);
            Box::new(Ours::start(lab, redis, url, &sale)?)
        }
    };
    postgres.checkpoint()?;
    let before = postgres.written(&name)?;
    let crowd = Crowd {
        stock,
        buyers: stock * settings.demand,
        connections: settings.connections,
        pay_connections: settings.connections.div_ceil(2),
        unpaid_percent: settings.unpaid,
        hold,
    };
    let seen = load::run(&*strategy, crowd)?;
    lab.check_interrupted()?;
    // A worker's writes count when it disconnects.
    drop(strategy);
    lab.settle(Duration::from_millis(200))?;
    let after = postgres.written(&name)?;
    if seen.paid > stock {
        return fail(format!("buyers paid for {} of {stock} units", seen.paid));
    }

    let granted = seen.granted.len() as f64;
    let each = |before: u64, after: u64| (after - before) as f64 / f64::from(seen.paid.max(1));
    Ok(vec![
        (figure::GRANTED, granted),
        (figure::GRANTED_PER_S, granted / seen.granting.as_secs_f64().max(1e-9)),
        (figure::GRANTED_P50_US, percentile_us(&seen.granted, 50)),
        (figure::GRANTED_P99_US, percentile_us(&seen.granted, 99)),
        (figure::REFUSED_P50_US, percentile_us(&seen.refused, 50)),
        (figure::REFUSED_P99_US, percentile_us(&seen.refused, 99)),
        (figure::PAID, f64::from(seen.paid)),
        (figure::REFUNDED, f64::from(seen.refunded)),
        (figure::UNSOLD, f64::from(stock - seen.paid)),
        (figure::ROW_WRITES, each(before.rows, after.rows)),
        (figure::WAL_SYNCS, each(before.wal_syncs, after.wal_syncs)),
        (figure::WAL_BYTES, each(before.wal_bytes, after.wal_bytes)),
        (figure::ORDERS_COMPLETE_MS, seen.orders_complete.as_secs_f64() * 1e3),
    ])
}

/// A percentile of ascending values; 0 without values.
fn percentile_us(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |value| value.as_secs_f64() * 1e6)
}

/// The table of medians, the picture, and three sentences.
fn summary(settings: &Settings, rows: &[Row]) -> String {
    let of = |which: Which, figure| median(rows, (SCENARIO, which.name(), figure));
    let mut out = format!(
        "\n{} units, {} buyers through {} connections in the rush, {} % of which never pay. The \
         others pay after 50 to 200 ms. Strategies with holds keep a unit for {} ms. After the rush, \
         buyers keep coming. All servers run on one core, the buyers on another. Medians of {} \
         rounds.\n\n![strategies](strategies.svg)\n\n\
         | strategy | grants/s | p50 ms | p99 ms | paid | refunded | unsold | rows written | \
         waits for disk | WAL bytes |\n|---|---|---|---|---|---|---|---|---|---|\n",
        settings.stock,
        settings.stock * settings.demand,
        settings.connections,
        settings.unpaid,
        settings.hold_ms,
        settings.rounds,
    );
    for &which in &settings.strategies {
        let value = |figure| of(which, figure).unwrap_or(f64::NAN);
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "| {} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.0} |",
            which.name(),
            value(figure::GRANTED_PER_S),
            value(figure::GRANTED_P50_US) / 1e3,
            value(figure::GRANTED_P99_US) / 1e3,
            value(figure::PAID),
            value(figure::REFUNDED),
            value(figure::UNSOLD),
            value(figure::ROW_WRITES),
            value(figure::WAL_SYNCS),
            value(figure::WAL_BYTES),
        );
    }
    out.push_str("\nRows, waits and bytes are the database's, per paid unit.\n\n");
    out.push_str(&sentences(settings, &of).unwrap_or_default());
    out
}

/// Three sentences from the figures. `None`: not every strategy was measured.
fn sentences(
    settings: &Settings,
    of: &dyn Fn(Which, &'static str) -> Option<f64>,
) -> Option<String> {
    let stock = settings.stock;
    let per_s = |which| of(which, figure::GRANTED_PER_S);
    let p99_ms = |which| Some(of(which, figure::GRANTED_P99_US)? / 1e3);
    let (order, pay, ours) = (Which::OrderFirst, Which::PayFirst, Which::Stampede);
    Some(format!(
        "- Order first: every grant waits for the lock of the stock's row and for the disk ({:.0}/s, \
         p99 {:.1} ms). Of {stock} units, {:.0} stay unsold, because unpaid units do not return.\n\
         - Pay first: buyers paid for {:.0} units, but {:.0} buyers with a grant and a payment get a \
         refund. The database writes {:.1} rows per unit.\n\
         - Hold first, order afterwards: {:.0} buyers/s get a grant ({:.1} times as many as with order \
         first, p99 {:.1} ms). Buyers pay for {:.0} of {stock} units, and {:.0} payments are refunded. \
         The database waits for its disk {:.2} times per unit instead of {:.2}.\n",
        per_s(order)?,
        p99_ms(order)?,
        of(order, figure::UNSOLD)?,
        of(pay, figure::PAID)?,
        of(pay, figure::REFUNDED)?,
        of(pay, figure::ROW_WRITES)?,
        per_s(ours)?,
        per_s(ours)? / per_s(order)?,
        p99_ms(ours)?,
        of(ours, figure::PAID)?,
        of(ours, figure::REFUNDED)?,
        of(ours, figure::WAL_SYNCS)?,
        of(order, figure::WAL_SYNCS)?,
    ))
}
