//! `idle`: measures a server without buyers: while its metrics are scraped once per second, while it
//! is left alone, and while three live pages are open.

mod pages;

use std::time::{Duration, Instant};

use clap::Args;

use crate::answer::Answer;
use crate::client::Client;
use crate::error::{Result, fail};
use crate::lab::{Lab, Served, free_address};
use crate::process::Interrupted;
use crate::report::{Limit, Promise, ROUNDS_MIN};
use crate::rows::figure;
use crate::sales::await_idle;
use crate::scenarios::Figures;
use crate::session::{Common, Session};
use pages::Pages;

const SCRAPED: &str = "idle_scraped";
const ALONE: &str = "idle_alone";
const PAGES: &str = "idle_pages";
const EMBEDDED: &str = "embedded";
const REDIS: &str = "redis";
/// The Accept header of Prometheus.
const ACCEPT: &str = "Accept: application/openmetrics-text;version=1.0.0,\
                      application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
const INTERVAL: Duration = Duration::from_secs(1);
/// Most CPU, in percent of a core.
const MOST: f64 = 0.5;
/// Most CPU with three live pages, in percent of a core.
const MOST_WITH_PAGES: f64 = 1.0;

/// Promises on an idle server.
pub const PROMISES: [Promise; 4] = [
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
    Promise::new(
        "% of a core, embedded ledger, idle with three live pages",
        Limit::AtMost(MOST_WITH_PAGES),
        (PAGES, EMBEDDED, figure::CORE_PERCENT),
    ),
    Promise::new(
        "% of a core, Redis, idle with three live pages",
        Limit::AtMost(MOST_WITH_PAGES),
        (PAGES, REDIS, figure::CORE_PERCENT),
    ),
];

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each measures every server with and without scrapes.
    #[arg(long, default_value_t = ROUNDS_MIN, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let tools = ["taskset", "redis-server"];
    let mut session =
        Session::open(&settings.common, "idle", settings.rounds, &tools, interrupted)?;
    let time = Duration::from_secs(settings.seconds);
    let with_pages = pages::can_be_opened();
    if !with_pages {
        session.lab.remark("no Chromium: idle_pages is left out")?;
    }
    for round in 1..=settings.rounds {
        let mut order =
            vec![(SCRAPED, EMBEDDED), (SCRAPED, REDIS), (ALONE, EMBEDDED), (ALONE, REDIS)];
        if with_pages {
            order.extend([(PAGES, EMBEDDED), (PAGES, REDIS)]);
        }
        let count = order.len();
        order.rotate_left((round as usize - 1) % count);
        for (scenario, ledger) in order {
            session.measure(round, scenario, ledger, |lab| {
                measure(lab, ledger == REDIS, scenario, time)
            })?;
        }
    }
    let text = format!(
        "\nA server on both cores with a sold-out sale and without buyers. \
         `idle_scraped`: `/metrics` each second for {} s, over a kept connection, as OpenMetrics. \
         `idle_alone`: nothing. `idle_pages`: three live pages in Chromium, each in view. CPU of \
         the server's process over that time, in percent of one core.\n",
        settings.seconds
    );
    session.finish("An idle server", &text, &PROMISES)
}

fn measure(lab: &mut Lab, on_redis: bool, scenario: &str, time: Duration) -> Result<Figures> {
    let scraped = scenario == SCRAPED;
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
    // A latch stays fresh for a minute after the last buyer, so the server is not idle yet.
    lab.settle(Duration::from_millis(stampede::limits::LATCH_KEPT_MS))?;
    await_idle(lab, &served)?;
    let mut prometheus = Client::connect(control)?;
    scrape(&mut prometheus)?;
    let pages = if scenario == PAGES { Some(Pages::open(lab, control)?) } else { None };
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
    let elapsed = began.elapsed();
    if let Some(pages) = pages {
        pages.close()?;
    }
    let percent = used_us / elapsed.as_micros() as f64 * 100.0;
    let mut figures = vec![(figure::CORE_PERCENT, percent)];
    if scraped {
        figures.push((figure::SCRAPE_BYTES, bytes as f64));
    }
    Ok(figures)
}

/// Sells the only ticket and gets one rejection, so the server has had buyers.
fn sell_out(served: &Served) -> Result<()> {
    served.expect(Answer::Granted)?;
    served.expect(Answer::SoldOut)
}

/// Requests the metrics once. Returns their length.
fn scrape(prometheus: &mut Client) -> Result<usize> {
    let answer = prometheus.get_with("/metrics", ACCEPT)?;
    let is_whole = answer.status == 200
        && answer.content_type.starts_with("application/openmetrics-text")
        && answer.body.contains("stampede_purchases_total{sale=\"ticket\"")
        && answer.body.ends_with("# EOF\n");
    if is_whole { Ok(answer.body.len()) } else { fail(format!("no metrics: {answer:?}")) }
}
