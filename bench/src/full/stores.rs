//! Sales from each ledger of stampede, beside alternative designs.

use std::fs;
use std::time::Duration;

use crate::answer::{Answer, Content};
use crate::error::{Because, Result, fail};
use crate::fill::Filler;
use crate::full::measure::{under_load, warm_up};
use crate::full::store::sold_in_postgres;
use crate::lab::{Lab, Redis, Served};
use crate::postgres::Postgres;
use crate::rows::figure;
use crate::scenarios::{Figures, TOTAL_HUGE, TOTAL_TINY};
use crate::servers::{Ledger, Server, Setup};
use crate::tools::LoadPlan;
use crate::{journal, sellers};

/// Durability of a Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// In memory alone.
    Memory,
    /// `appendfsync everysec`.
    Everysec,
    /// `appendfsync always`.
    Always,
}

impl Durability {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &["--appendonly", "no"],
            Self::Everysec => &["--appendonly", "yes", "--appendfsync", "everysec"],
            Self::Always => &["--appendonly", "yes", "--appendfsync", "always"],
        }
    }
}

/// Time for a server to write what is left when its last answer is out.
const SETTLE: Duration = Duration::from_millis(200);
/// Most batches whose size is read.
const BATCHES_MAX: usize = 10_000;

/// Measures sales from Redis. Checks that buyers got what Redis counted. Also returns the batch size
/// of a server that sells in batches.
pub fn in_redis(
    lab: &mut Lab,
    server: Server,
    options: &[&str],
    durability: Durability,
    plan: &LoadPlan<'_>,
) -> Result<(Figures, Option<usize>)> {
    let mut redis = lab.redis_on(lab.load_core, durability.options())?;
    let cores = [lab.server_core];
    let (content, ledger) = (Content::SoldOut, Ledger::Redis(redis.address));
    let setup = Setup { cores: &cores, content, ledger, total: TOTAL_HUGE, options, tls: None };
    let served = lab.serve(server, &setup)?;
    let mut figures = sell(lab, &served, &mut redis, plan)?;
    let batch = match (server, options) {
        (Server::Stampede, _) | (Server::FloorSales, []) => Some(batch_size(&redis)?),
        _ => None,
    };
    figures.extend(batch.map(|batch| (figure::BATCH_MEAN, batch)));
    Ok((figures, batch.map(|batch| (batch.round() as usize).max(1))))
}

/// Mean purchases per batch of the newest batches. An entry of the sale's stream is a batch.
fn batch_size(redis: &Redis) -> Result<f64> {
    let sizes = Filler::open(redis.address, "ticket")?.batch_sizes(BATCHES_MAX)?;
    match sizes.len() {
        0 => fail("the sale's stream has no batch"),
        batches => Ok(sizes.iter().sum::<usize>() as f64 / batches as f64),
    }
}

/// Measures sales from the embedded ledger. Then a bare program writes the same bytes in the same
/// batches; its figures come second.
pub fn embedded(lab: &mut Lab, plan: &LoadPlan<'_>) -> Result<(Figures, Figures)> {
    let cores = [lab.server_core];
    let folder = lab.fresh_folder("ledger");
    let (content, ledger) = (Content::SoldOut, Ledger::Embedded);
    let setup =
        Setup { cores: &cores, content, ledger, total: TOTAL_HUGE, options: &[], tls: None };
    let served = lab.serve(Server::Stampede, &setup)?;
    let plan = ready(lab, &served, plan)?;
    let batches_before = journal::record_bytes(&folder)?.len();
    let measured = under_load(lab, &served, &plan)?;
    lab.settle(SETTLE)?;
    let batches = journal::record_bytes(&folder)?.len().saturating_sub(batches_before);
    drop(served);
    if batches == 0 {
        return fail(
            "the journal has fewer records than before, because the ledger folded it; use fewer --seconds",
        );
    }
    let batch = measured.load.granted as f64 / batches as f64;
    let mut figures = measured.sale_figures();
    figures.push((figure::BATCH_MEAN, batch));

    let data = lab.fresh_folder("append");
    fs::create_dir_all(&data).because(|| format!("creating {}", data.display()))?;
    let (bytes, core) = (sellers::Bytes::Like(&folder), lab.server_core);
    let line = sellers::bare_append(&lab.programs, core, &data, bytes, plan.seconds);
    let written = sellers::read_bare_append(&lab.load(&line, plan.seconds)?)?;
    let sales = written.batches as f64 * batch;
    let alone = vec![
        (figure::SALES, sales),
        (figure::SALES_PER_S, sales / written.seconds),
        (figure::BATCH_MEAN, batch),
    ];
    Ok((figures, alone))
}

/// Measures sales from an embedded ledger of any format.
pub fn in_embedded(lab: &mut Lab, server: Server, plan: &LoadPlan<'_>) -> Result<Figures> {
    let cores = [lab.server_core];
    let (content, ledger) = (Content::SoldOut, Ledger::Embedded);
    let setup =
        Setup { cores: &cores, content, ledger, total: TOTAL_HUGE, options: &[], tls: None };
    let served = lab.serve(server, &setup)?;
    let plan = ready(lab, &served, plan)?;
    Ok(under_load(lab, &served, &plan)?.sale_figures())
}

/// Measures sales by a statement in PostgreSQL, which is on the load's core.
pub fn in_postgres(lab: &mut Lab, plan: &LoadPlan<'_>) -> Result<Figures> {
    let postgres = Postgres::start(lab, lab.load_core)?;
    let cores = [lab.server_core];
    let (content, ledger) = (Content::SoldOut, Ledger::Postgres(postgres.url("postgres")));
    let setup =
        Setup { cores: &cores, content, ledger, total: TOTAL_HUGE, options: &[], tls: None };
    let served = lab.serve(Server::AxumPostgres, &setup)?;
    let plan = ready(lab, &served, plan)?;
    let before = sold_in_postgres(&postgres)?;
    let measured = under_load(lab, &served, &plan)?;
    let (granted, rows) = (measured.load.granted, sold_in_postgres(&postgres)? - before);
    if rows != granted {
        return fail(format!("buyers got {granted} tickets, but PostgreSQL has {rows}"));
    }
    Ok(measured.sale_figures())
}

/// Measures rejections of a sale in Redis, by the server and the Redis of [`in_redis`].
pub fn sold_out_in_redis(lab: &mut Lab, plan: &LoadPlan<'_>) -> Result<Figures> {
    let redis = lab.redis()?;
    let cores = [lab.server_core];
    let (content, ledger) = (Content::SoldOut, Ledger::Redis(redis.address));
    let setup =
        Setup { cores: &cores, content, ledger, total: TOTAL_TINY, options: &[], tls: None };
    let served = lab.serve(Server::Stampede, &setup)?;
    served.expect(Answer::SoldOut)?;
    let plan = LoadPlan { expect: content.name(), ..*plan };
    warm_up(lab, &served, &plan)?;
    Ok(under_load(lab, &served, &plan)?.figures())
}

/// Measures batches of this size, sent to Redis by a bare client.
pub fn bare_redis(lab: &mut Lab, batch: usize, seconds: u64) -> Result<Figures> {
    let mut redis = lab.redis()?;
    let sizes = sellers::Batches::Of(batch);
    let line = sellers::bare_redis(&lab.programs, lab.server_core, redis.address, sizes, seconds);
    let before = redis.process.cpu()?;
    let sold = sellers::read_bare_redis(&lab.load(&line, seconds)?)?;
    let (redis_us, _) = redis.process.cpu()?.us_since(before);
    let (sales, counted) = (sold.sales, redis.sold()?);
    if sales != counted {
        return fail(format!("the client got {sales} tickets, but Redis sold {counted}"));
    }
    Ok(vec![
        (figure::SALES, sales as f64),
        (figure::SALES_PER_S, sales as f64 / sold.seconds),
        (figure::REDIS_CPU_US, redis_us / sales as f64),
        (figure::BATCH_MEAN, batch as f64),
    ])
}

/// Warms up and loads a server that sells. Checks that buyers got what Redis counted.
fn sell(lab: &mut Lab, served: &Served, redis: &mut Redis, plan: &LoadPlan<'_>) -> Result<Figures> {
    let plan = ready(lab, served, plan)?;
    let (sold, cpu) = (redis.sold()?, redis.process.cpu()?);
    let measured = under_load(lab, served, &plan)?;
    let granted = measured.load.granted;
    let (redis_us, _) = redis.process.cpu()?.us_since(cpu);
    let counted = redis.sold()? - sold;
    if counted != granted {
        return fail(format!("buyers got {granted} tickets, but Redis sold {counted}"));
    }
    let mut figures = measured.sale_figures();
    figures.push((figure::REDIS_CPU_US, redis_us / granted as f64));
    Ok(figures)
}

/// Checks that a server sells, warms it up, and returns the load that buys with each request.
fn ready<'a>(lab: &mut Lab, served: &Served, plan: &LoadPlan<'a>) -> Result<LoadPlan<'a>> {
    served.expect(Answer::Granted)?;
    let plan = LoadPlan { expect: "granted", ..*plan };
    warm_up(lab, served, &plan)?;
    Ok(plan)
}
