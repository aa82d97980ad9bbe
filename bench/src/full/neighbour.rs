//! One buyer beside a crowd that buys from another sale of the same core.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::answer::number_field;
use crate::client::Client;
use crate::error::{Because, Result, fail};
use crate::full::measure::{under_load, warm_up};
use crate::lab::{Lab, Served};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::tools::LoadPlan;

/// Buyers of the other sale, each of which sends a request as soon as it has its answer.
pub const CROWD: u32 = 4_000;
/// Commands per batch. The crowd always has several batches waiting.
const BATCH: f64 = 512.0;
/// Time for which the crowd buys before and after the buyer.
const LEAD: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Longer than any answer takes.
const LATENCY_US_MAX: u64 = 60_000_000;
/// More than the buyers can buy.
const HOT: &str = "hot=100000000";
const HOT_TARGET: &str = "POST /v1/sales/hot/reservations";
const QUIET: &str = "quiet=100000000";
const QUIET_PATH: &str = "/v1/sales/quiet/reservations";

/// The ledger of both sales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// The embedded ledger.
    Embedded,
    /// A Redis in memory, on the load's core.
    Redis,
}

/// Measures the buyer alone, then beside the crowd. The crowd shows the batch round trip: each of its
/// buyers waits for as many batches as the crowd fills.
pub fn measure(lab: &mut Lab, store: Store, plan: &LoadPlan<'_>) -> Result<Figures> {
    let redis = (store == Store::Redis).then(|| lab.redis()).transpose()?;
    let ledger = redis.as_ref().map_or_else(|| lab.fresh_ledger(), |redis| redis.url());
    let options = ["--sale", HOT, "--sale", QUIET];
    let served = lab.stampede(&[lab.server_core], &ledger, &options)?;
    let time = Duration::from_secs(plan.seconds);
    // The first purchase in a new folder may wait until the file system has removed the files of the
    // previous measurement.
    buy_for(&served, Duration::ZERO)?;
    let alone = buy_for(&served, time)?;

    let plan = LoadPlan { connections: CROWD, target: HOT_TARGET, expect: "granted", ..*plan };
    warm_up(lab, &served, &plan)?;
    // The buyer buys only while the whole crowd does. A purchase before or after would not be beside
    // the crowd.
    let plan = LoadPlan { seconds: plan.seconds + LEAD.as_secs(), ..plan };
    let (crowd, beside) = thread::scope(|scope| {
        let buying = scope.spawn(|| {
            wait_for_the_crowd(&served)?;
            buy_for(&served, time)
        });
        let crowd = under_load(lab, &served, &plan);
        (crowd, buying.join())
    });
    let crowd = crowd?;
    let Ok(beside) = beside else { return fail("the buyer's thread panicked") };
    let beside = beside?;
    let hot_p50_us = crowd.load.granted_latency_us.p50;
    let trip_us = hot_p50_us * BATCH / f64::from(CROWD);
    let quantile = |latencies: &Histogram<u64>, q| latencies.value_at_quantile(q) as f64;
    let (alone_p50_us, p50_us) = (quantile(&alone, 0.5), quantile(&beside, 0.5));
    Ok(vec![
        (figure::REQUESTS, beside.len() as f64),
        (figure::ALONE_P50_US, alone_p50_us),
        (figure::LATENCY_P50_US, p50_us),
        (figure::LATENCY_P99_US, quantile(&beside, 0.99)),
        (figure::LATENCY_MAX_US, beside.max() as f64),
        (figure::HOT_P50_US, hot_p50_us),
        (figure::HOT_SALES_PER_S, crowd.load.granted as f64 / crowd.load.seconds),
        (figure::TRIPS_ABOVE, (p50_us - alone_p50_us).max(0.0) / trip_us),
    ])
}

/// Returns once each buyer of the crowd can have bought twice.
fn wait_for_the_crowd(served: &Served) -> Result<()> {
    let mut client = Client::connect(served.address)?;
    let mut sold = || -> Result<u64> {
        let sale = client.get("/v1/sales/hot")?.body;
        match number_field(&sale, "held") {
            Some(held) => Ok(held),
            None => fail(format!("an unexpected sale: {sale}")),
        }
    };
    let wanted = sold()? + 2 * u64::from(CROWD);
    while sold()? < wanted {
        thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

/// Buys one ticket after the other on one connection, at least one. Checks that each is granted.
fn buy_for(served: &Served, time: Duration) -> Result<Histogram<u64>> {
    let until = Instant::now() + time;
    let mut latencies =
        Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).because(|| "a histogram".into())?;
    let mut client = Client::connect(served.address)?;
    let mut number = 0u64;
    while number == 0 || Instant::now() < until {
        number += 1;
        let asked = Instant::now();
        let answer = client.post(QUIET_PATH, &format!("{{\"user\":\"b{number}\"}}"))?;
        latencies.saturating_record(asked.elapsed().as_micros() as u64);
        if answer.status != 201 {
            return fail(format!(
                "the buyer got an unexpected answer, {}: {}",
                answer.status, answer.body
            ));
        }
    }
    Ok(latencies)
}
