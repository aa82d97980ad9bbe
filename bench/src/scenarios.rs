//! The scenarios: each starts its programs, checks one answer, warms up, measures, checks again, and
//! returns its figures.
//!
//! CPU per request is the CPU of the server's process during the load generator's run, divided by the
//! answered requests.

use std::time::Duration;

use crate::answer::{self, Answer, SOLD_OUT};
use crate::error::{Because, Result, fail};
use crate::lab::{Lab, Served, unexpected};
use crate::rows::figure;
use crate::servers::{Content, Ledger, Server, Setup};
use crate::tools::{Load, ab, read_ab, read_wrk, wrk};

/// Rejections over kept connections.
pub const REJECTIONS: &str = "rejections_keepalive_c64";
/// Rejections, one connection per request.
pub const CONNECTIONS: &str = "rejections_connection_each_c64";
/// Sales from Redis over 64 connections.
pub const SALES_REDIS_64: &str = "sales_redis_c64";
/// Sales from Redis over 256 connections.
pub const SALES_REDIS_256: &str = "sales_redis_c256";
/// Sales from the embedded ledger over 64 connections.
pub const SALES_EMBEDDED: &str = "sales_embedded_c64";
/// Sales from Redis, one EVALSHA per ticket.
pub const ONE_EVALSHA: &str = "one_evalsha_c64";
/// Memory of idle connections.
pub const IDLE: &str = "idle_connections";

/// Name of the baseline's driver in the tables.
pub const BASELINE: &str = "one_evalsha";

/// Load before the measurement.
pub const WARM_UP_SECONDS: u64 = 1;
const CONNECTIONS_LOW: u32 = 64;
const AB_REQUESTS: u32 = 20_000;
const AB_WARM_UP_REQUESTS: u32 = 2_000;
/// More than any run can sell.
pub const TOTAL_HUGE: u64 = 10_000_000;
/// Sold out by the first request.
pub const TOTAL_TINY: u64 = 1;
const IDLE_SETTLE: Duration = Duration::from_secs(3);
/// Time for a server to finish requests after the load generator's end.
const SETTLE: Duration = Duration::from_millis(200);

/// The figures of one measurement.
pub type Figures = Vec<(&'static str, f64)>;

/// `wrk` against a sold-out sale.
pub fn rejections(lab: &mut Lab, server: Server, seconds: u64) -> Result<Figures> {
    let served = sold_out(lab, server)?;
    warm_up(lab, &served, CONNECTIONS_LOW)?;

    let before = served.process.cpu()?;
    let line = wrk(lab.load_core, CONNECTIONS_LOW, seconds, &served.to());
    let load = read_wrk(&lab.load(&line, seconds)?)?;
    let (all_us, user_us) = served.process.cpu()?.us_since(before);
    served.expect(Answer::SoldOut)?;
    Ok(rejection_figures(load, all_us, user_us))
}

/// `ab` without `-k` against a sold-out sale.
pub fn connection_each(lab: &mut Lab, server: Server) -> Result<Figures> {
    let served = sold_out(lab, server)?;
    let line = |requests| ab(lab.load_core, requests, CONNECTIONS_LOW, served.address);
    let (warm_up, measured) = (line(AB_WARM_UP_REQUESTS), line(AB_REQUESTS));
    read_ab(&lab.load(&warm_up, 0)?, SOLD_OUT.len())?;

    let before = served.process.cpu()?;
    let load = read_ab(&lab.load(&measured, 0)?, SOLD_OUT.len())?;
    let (all_us, user_us) = served.process.cpu()?.us_since(before);
    served.expect(Answer::SoldOut)?;
    Ok(rejection_figures(load, all_us, user_us))
}

/// The figures of requests that sold nothing.
pub fn rejection_figures(load: Load, all_us: f64, user_us: f64) -> Figures {
    let requests = load.requests as f64;
    let mut figures = load_figures(load);
    figures.push((figure::SERVER_CPU_US, all_us / requests));
    figures.push((figure::SERVER_USER_US, user_us / requests));
    figures
}

/// `wrk` against a huge sale in Redis. The ledger counts the sales.
pub fn sales_redis(
    lab: &mut Lab,
    server: Server,
    connections: u32,
    seconds: u64,
) -> Result<Figures> {
    let mut redis = lab.redis()?;
    let served = serve(lab, server, Ledger::Redis(redis.address), TOTAL_HUGE)?;
    served.expect(Answer::Granted)?;
    warm_up(lab, &served, connections)?;
    lab.settle(SETTLE)?;

    let (server_before, redis_before) = (served.process.cpu()?, redis.process.cpu()?);
    let sold_before = redis.sold()?;
    let line = wrk(lab.load_core, connections, seconds, &served.to());
    let load = read_wrk(&lab.load(&line, seconds)?)?;
    lab.settle(SETTLE)?;
    let sales = redis.sold()? - sold_before;
    let (all_us, user_us) = served.process.cpu()?.us_since(server_before);
    let (redis_us, _) = redis.process.cpu()?.us_since(redis_before);
    served.expect(Answer::Granted)?;

    // At most one request per connection may have bought without its answer being read.
    let answered_and_lost = load.requests..=load.requests + 2 * u64::from(connections);
    if !answered_and_lost.contains(&sales) {
        return fail(format!(
            "{} requests got an answer, but {sales} tickets were sold",
            load.requests
        ));
    }
    let mut figures = sale_figures(load, sales, all_us, user_us);
    figures.push((figure::REDIS_CPU_US, redis_us / sales as f64));
    Ok(figures)
}

/// `wrk` against a huge sale in the embedded ledger. Sales are the answered requests, because the sale
/// is not sold out at the end, so every answer was a ticket.
pub fn sales_embedded(lab: &mut Lab, server: Server, seconds: u64) -> Result<Figures> {
    let served = serve(lab, server, Ledger::Embedded, TOTAL_HUGE)?;
    served.expect(Answer::Granted)?;
    warm_up(lab, &served, CONNECTIONS_LOW)?;
    lab.settle(SETTLE)?;

    let before = served.process.cpu()?;
    let line = wrk(lab.load_core, CONNECTIONS_LOW, seconds, &served.to());
    let load = read_wrk(&lab.load(&line, seconds)?)?;
    let (all_us, user_us) = served.process.cpu()?.us_since(before);
    served.expect(Answer::Granted)?;
    Ok(sale_figures(load, load.requests, all_us, user_us))
}

/// The figures of sales.
pub fn sale_figures(load: Load, sales: u64, all_us: f64, user_us: f64) -> Figures {
    let sales_per_s = load.requests_per_s * sales as f64 / load.requests as f64;
    let mut figures = load_figures(load);
    figures.push((figure::SALES, sales as f64));
    figures.push((figure::SALES_PER_S, sales_per_s));
    figures.push((figure::SERVER_CPU_US, all_us / sales as f64));
    figures.push((figure::SERVER_USER_US, user_us / sales as f64));
    figures
}

/// The baseline's driver on the server's core, with the same Redis on the same core.
pub fn one_evalsha(lab: &mut Lab, seconds: u64) -> Result<Figures> {
    let mut redis = lab.redis()?;
    let line = |seconds| lab.programs.one_evalsha(lab.server_core, redis.address, seconds);
    let (warm_up, measured) = (line(WARM_UP_SECONDS), line(seconds));
    lab.load(&warm_up, WARM_UP_SECONDS)?;

    let (before, sold_before) = (redis.process.cpu()?, redis.sold()?);
    let printed = lab.load(&measured, seconds)?;
    let sales = redis.sold()? - sold_before;
    let (redis_us, _) = redis.process.cpu()?.us_since(before);

    let driver_seconds = printed.trim().rsplit_once("seconds=").map(|(_, seconds)| seconds);
    let driver_seconds = driver_seconds.and_then(|seconds| seconds.parse::<f64>().ok());
    let Some(driver_seconds) = driver_seconds else {
        return fail(format!("the driver printed something unexpected: {printed}"));
    };
    let sales = sales as f64;
    Ok(vec![
        (figure::SALES, sales),
        (figure::SALES_PER_S, sales / driver_seconds),
        (figure::REDIS_CPU_US, redis_us / sales),
    ])
}

/// Opens many kept connections with one request each. Reads the server's memory before and after.
pub fn idle_connections(lab: &mut Lab, served: &Served, connections: u32) -> Result<Figures> {
    lab.settle(IDLE_SETTLE)?;

    let before = served.process.memory()?;
    let mut idle = Vec::with_capacity(connections as usize);
    for number in 1..=connections {
        lab.check_interrupted()?;
        let mut client = served.client()?;
        let response = client
            .get(answer::TARGET)
            .because(|| format!("connection {number} of {connections}"))?;
        if answer::read(&response) != Some(Answer::SoldOut) {
            return fail(unexpected(Answer::SoldOut, &response));
        }
        idle.push(client);
    }
    lab.settle(IDLE_SETTLE)?;
    let after = served.process.memory()?;

    let each =
        |before: u64, after: u64| after.saturating_sub(before) as f64 / f64::from(connections);
    Ok(vec![
        (figure::CONNECTIONS, f64::from(connections)),
        (figure::RESIDENT_BEFORE_KIB, before.resident_kib as f64),
        (figure::RESIDENT_IDLE_KIB, after.resident_kib as f64),
        (figure::CONNECTION_KIB, each(before.resident_kib, after.resident_kib)),
        (figure::CONNECTION_ANONYMOUS_KIB, each(before.anonymous_kib, after.anonymous_kib)),
    ])
}

/// A server with a sold-out sale.
pub fn sold_out(lab: &mut Lab, server: Server) -> Result<Served> {
    let served = serve(lab, server, Ledger::None, TOTAL_TINY)?;
    served.expect(Answer::SoldOut)?;
    Ok(served)
}

/// A server on the servers' core.
fn serve(lab: &mut Lab, server: Server, ledger: Ledger, total: u64) -> Result<Served> {
    let (cores, content) = ([lab.server_core], Content::SoldOut);
    lab.serve(server, &Setup { cores: &cores, content, ledger, total, options: &[], tls: None })
}

/// Runs `wrk` for a second.
pub fn warm_up(lab: &mut Lab, served: &Served, connections: u32) -> Result<()> {
    let line = wrk(lab.load_core, connections, WARM_UP_SECONDS, &served.to());
    read_wrk(&lab.load(&line, WARM_UP_SECONDS)?).map(drop)
}

fn load_figures(load: Load) -> Figures {
    vec![
        (figure::REQUESTS, load.requests as f64),
        (figure::REQUESTS_PER_S, load.requests_per_s),
        (figure::LATENCY_P50_US, load.latency_p50_us),
        (figure::LATENCY_P99_US, load.latency_p99_us),
    ]
}
