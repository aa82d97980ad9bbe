//! `idle`: what a server takes that nobody buys from, while its metrics are scraped each second and while
//! it is left alone.

use std::time::{Duration, Instant};

use clap::Args;

use crate::answer::Answer;
use crate::client::Client;
use crate::error::{Result, fail};
use crate::lab::{Lab, Served, free_address};
use crate::process::Interrupted;
use crate::report::{Limit, Promise};
use crate::rows::figure;
use crate::sales::await_idle;
use crate::scenarios::Figures;
use crate::session::{Common, Session};

const SCRAPED: &str = "idle_scraped";
const ALONE: &str = "idle_alone";
const EMBEDDED: &str = "embedded";
const REDIS: &str = "redis";
/// What Prometheus sends.
const ACCEPT: &str = "Accept: application/openmetrics-text;version=1.0.0,\
                      application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
const INTERVAL: Duration = Duration::from_secs(1);
/// Most of a core, in percent.
const MOST: f64 = 0.5;

/// What is promised of an idle server.
pub const PROMISES: [Promise; 2] = [
    Promise::new(
        "% of a core, embedded ledger, idle and scraped each second",
        Limit::AtMost(MOST),
        (SCRAPED, EMBEDDED, figure::CORE_PERCENT),
    ),
    Promise::new(
        "% of a core, Redis, idle and scraped each second",
        Limit::AtMost(MOST),
        (SCRAPED, REDIS, figure::CORE_PERCENT),
    ),
];

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each measures every server scraped and alone.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds for which a server is scraped or left alone.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let tools = ["taskset", "redis-server"];
    let mut session =
        Session::open(&settings.common, "idle", settings.rounds, &tools, interrupted)?;
    let time = Duration::from_secs(settings.seconds);
    for round in 1..=settings.rounds {
        let mut order = [(SCRAPED, EMBEDDED), (SCRAPED, REDIS), (ALONE, EMBEDDED), (ALONE, REDIS)];
        let count = order.len();
        order.rotate_left((round as usize - 1) % count);
        for (scenario, ledger) in order {
            session.measure(round, scenario, ledger, |lab| {
                measure(lab, ledger == REDIS, scenario == SCRAPED, time)
            })?;
        }
    }
    let text = format!(
        "\nA server on both cores with a sale that is sold out, of which nobody asks anything. \
         `idle_scraped`: `/metrics` each second for {} s, over a kept connection, as OpenMetrics. \
         `idle_alone`: nothing. CPU of the server's process over that time, in percent of one core.\n",
        settings.seconds
    );
    session.finish("An idle server", &text, &PROMISES)
}

fn measure(lab: &mut Lab, on_redis: bool, scraped: bool, time: Duration) -> Result<Figures> {
    let redis = if on_redis { Some(lab.redis()?) } else { None };
    let control = free_address()?;
    let control_text = control.to_string();
    let orders = format!("sqlite:{}", lab.fresh_folder("orders").display());
    let mut options = vec!["--control", &control_text, "--sale", "ticket=1,hold=1h"];
    let ledger = match &redis {
        Some(redis) => redis.url(),
        None => {
            options.extend(["--orders", &*orders]);
            lab.fresh_ledger()
        }
    };
    let cores = [lab.server_core, lab.load_core];
    let served = lab.stampede(&cores, &ledger, &options)?;
    sell_out(&served)?;
    // A latch is kept fresh for a minute after the last buyer: that is no idleness yet.
    lab.settle(Duration::from_millis(stampede::limits::LATCH_KEPT_MS))?;
    await_idle(lab, &served)?;
    let mut prometheus = Client::connect(control)?;
    scrape(&mut prometheus)?;
    let (began, before) = (Instant::now(), served.process.cpu()?);
    let mut bytes = 0;
    let mut next = began;
    while began.elapsed() < time {
        if scraped {
            bytes = scrape(&mut prometheus)?;
        }
        next += INTERVAL;
        lab.settle(next.saturating_duration_since(Instant::now()))?;
    }
    let (used_us, _) = served.process.cpu()?.us_since(before);
    let percent = used_us / began.elapsed().as_micros() as f64 * 100.0;
    let mut figures = vec![(figure::CORE_PERCENT, percent)];
    if scraped {
        figures.push((figure::SCRAPE_BYTES, bytes as f64));
    }
    Ok(figures)
}

/// One buys, the next is told that it is sold out: a server that has had buyers.
fn sell_out(served: &Served) -> Result<()> {
    served.expect(Answer::Granted)?;
    served.expect(Answer::SoldOut)
}

/// Asks for the metrics once. Gives how long they are.
fn scrape(prometheus: &mut Client) -> Result<usize> {
    let answer = prometheus.get_with("/metrics", ACCEPT)?;
    let is_whole = answer.status == 200
        && answer.content_type.starts_with("application/openmetrics-text")
        && answer.body.contains("stampede_purchases_total{sale=\"ticket\"")
        && answer.body.ends_with("# EOF\n");
    if is_whole { Ok(answer.body.len()) } else { fail(format!("no metrics: {answer:?}")) }
}
