//! `sales`: measures the CPU per rejection and per sale with 1, 100 and 10,000 sales defined. It must
//! not depend on their number.

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use clap::Args;

use crate::answer::Answer;
use crate::error::{Because, Result, fail};
use crate::lab::{Lab, Redis, Served};
use crate::process::{CommandLine, Interrupted};
use crate::report::{Limit, Place, Promise, ROUNDS_MIN};
use crate::rows::figure;
use crate::scenarios::{
    Figures, TOTAL_HUGE, TOTAL_TINY, WARM_UP_SECONDS, rejection_figures, sale_figures,
};
use crate::session::{Common, Session};
use crate::tools::{read_wrk, wrk, wrk_with_script};

const CONNECTIONS: u32 = 64;
/// Hot sales in the scenarios with many of them.
const HOT: u32 = 100;

/// A server is idle if it uses less than this share of a core.
const IDLE_SHARE: f64 = 0.08;
const IDLE_LOOK: Duration = Duration::from_millis(500);
const IDLE_DEADLINE: Duration = Duration::from_secs(30);

/// Numbers of defined sales, with their names in the tables.
const DEFINED: [(u32, &str); 3] = [(1, "1_sale"), (100, "100_sales"), (10_000, "10000_sales")];

const REJECTION_EMBEDDED: &str = "rejection_embedded";
const REJECTION_REDIS: &str = "rejection_redis";
const SALE_EMBEDDED: &str = "sale_embedded";
const SALE_REDIS: &str = "sale_redis";
const HOT_EMBEDDED: &str = "sale_embedded_100_hot";
const HOT_REDIS: &str = "sale_redis_100_hot";

const fn cost(scenario: &'static str, sales: usize) -> Place {
    (scenario, DEFINED[sales].1, figure::SERVER_CPU_US)
}

const fn at_most(text: &'static str, scenario: &'static str, of: usize, to: usize) -> Promise {
    let limit = Limit::AtMost(1.1);
    Promise::new(text, limit, cost(scenario, of)).to(cost(scenario, to))
}

/// Promises on these scenarios.
pub const PROMISES: [Promise; 10] = [
    at_most("CPU per rejection (embedded), 100 sales relative to 1", REJECTION_EMBEDDED, 1, 0),
    at_most("CPU per rejection (embedded), 10,000 sales relative to 1", REJECTION_EMBEDDED, 2, 0),
    at_most("CPU per rejection (Redis), 100 sales relative to 1", REJECTION_REDIS, 1, 0),
    at_most("CPU per rejection (Redis), 10,000 sales relative to 1", REJECTION_REDIS, 2, 0),
    at_most("CPU per sale (embedded), 100 sales relative to 1", SALE_EMBEDDED, 1, 0),
    at_most("CPU per sale (embedded), 10,000 sales relative to 1", SALE_EMBEDDED, 2, 0),
    at_most("CPU per sale (Redis), 100 sales relative to 1", SALE_REDIS, 1, 0),
    at_most("CPU per sale (Redis), 10,000 sales relative to 1", SALE_REDIS, 2, 0),
    at_most("CPU per sale (embedded, 100 hot), 10,000 sales relative to 100", HOT_EMBEDDED, 2, 1),
    at_most("CPU per sale (Redis, 100 hot), 10,000 sales relative to 100", HOT_REDIS, 2, 1),
];

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each measures every number of defined sales once.
    #[arg(long, default_value_t = ROUNDS_MIN, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of load per measurement, after a second of warm-up.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let tools = ["wrk", "taskset", "redis-server"];
    let mut session =
        Session::open(&settings.common, "sales", settings.rounds, &tools, interrupted)?;
    let seconds = settings.seconds;
    for round in 1..=settings.rounds {
        // Rounds rotate the order.
        let mut order = DEFINED;
        order.rotate_left((round as usize - 1) % DEFINED.len());
        for (embedded, redis, what) in [
            (REJECTION_EMBEDDED, REJECTION_REDIS, What::Rejections),
            (SALE_EMBEDDED, SALE_REDIS, What::Sales),
            (HOT_EMBEDDED, HOT_REDIS, What::HotSales),
        ] {
            for (scenario, in_redis) in [(embedded, false), (redis, true)] {
                for (sales, name) in order {
                    if what == What::HotSales && sales < HOT {
                        continue;
                    }
                    session.measure(round, scenario, name, |lab| {
                        measure(lab, what, sales, in_redis, seconds)
                    })?;
                }
            }
        }
    }
    let text = format!(
        "\nRejections and sales of `ticket` by GET /buy/ticket; with {HOT} hot sales, purchases of \
         each in turn by POST. Server on core {}; load and Redis on core {}.\n",
        settings.common.server_core, settings.common.load_core
    );
    session.finish("Many sales", &text, &PROMISES)
}

/// The load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Rejections of `ticket`.
    Rejections,
    /// Purchases of `ticket`.
    Sales,
    /// Purchases from many sales in turn.
    HotSales,
}

/// Loads a server with this number of sales, defined in Redis or in its configuration.
pub fn measure(
    lab: &mut Lab,
    what: What,
    sales: u32,
    in_redis: bool,
    seconds: u64,
) -> Result<Figures> {
    let redis: Option<Redis> = if in_redis { Some(lab.redis()?) } else { None };
    let ledger = match &redis {
        Some(redis) => redis.url(),
        None => lab.fresh_ledger(),
    };
    let total = if what == What::Rejections { TOTAL_TINY } else { TOTAL_HUGE };
    let config = lab.data().join("sales.toml");
    fs::write(&config, definitions(sales, total)).because(|| "writing the sales".into())?;
    let options = ["--config", &*config.to_string_lossy()];
    let served = lab.stampede(&[lab.server_core], &ledger, &options)?;
    let wanted = if what == What::Rejections { Answer::SoldOut } else { Answer::Granted };
    served.expect(wanted)?;
    await_idle(lab, &served)?;

    let script = lab.data().join("hot.lua");
    fs::write(&script, HOT_SCRIPT.replace("HOT", &HOT.to_string()))
        .because(|| "writing a script for wrk".into())?;
    let core = lab.load_core;
    let line = |seconds| -> CommandLine {
        match what {
            What::HotSales => wrk_with_script(core, CONNECTIONS, seconds, served.address, &script),
            _ => wrk(core, CONNECTIONS, seconds, &served.to()),
        }
    };
    read_wrk(&lab.load(&line(WARM_UP_SECONDS), WARM_UP_SECONDS)?)?;

    let redis_cpu = |redis: &Option<Redis>| redis.as_ref().map(|r| r.process.cpu()).transpose();
    let (before, redis_before) = (served.process.cpu()?, redis_cpu(&redis)?);
    let load = read_wrk(&lab.load(&line(seconds), seconds)?)?;
    let (all_us, user_us) = served.process.cpu()?.us_since(before);
    let redis_after = redis_cpu(&redis)?;
    // The sale is in the expected state, so every answer was correct.
    served.expect(wanted)?;
    if what == What::Rejections {
        return Ok(rejection_figures(load, all_us, user_us));
    }
    let mut figures = sale_figures(load, load.requests, all_us, user_us);
    if let (Some(before), Some(after)) = (redis_before, redis_after) {
        let (us, _) = after.us_since(before);
        figures.push((figure::REDIS_CPU_US, us / load.requests as f64));
    }
    Ok(figures)
}

/// Waits until a server is idle. A new server still creates and reads its sales, which is not the cost
/// of a request.
pub fn await_idle(lab: &Lab, served: &Served) -> Result<()> {
    let deadline = Instant::now() + IDLE_DEADLINE;
    loop {
        let before = served.process.cpu()?;
        lab.settle(IDLE_LOOK)?;
        let (us, _) = served.process.cpu()?.us_since(before);
        if us < IDLE_LOOK.as_micros() as f64 * IDLE_SHARE {
            return Ok(());
        }
        if Instant::now() > deadline {
            return fail(format!(
                "a server without requests is still busy after {IDLE_DEADLINE:?}"
            ));
        }
    }
}

/// The configuration file: `ticket`, and this number of other sales.
fn definitions(sales: u32, total: u64) -> String {
    let mut out = format!("[[sale]]\nid = \"ticket\"\ntotal = {total}\n");
    for number in 1..sales {
        // Writing to a String can't fail.
        let _ = write!(out, "\n[[sale]]\nid = \"sale-{number}\"\ntotal = {TOTAL_HUGE}\n");
    }
    out
}

/// Purchases from the sales `sale-1` to `sale-99` and `ticket` in turn.
const HOT_SCRIPT: &str = r#"
local requests, n = {}, 0
function init(args)
  for i = 1, HOT do
    local sale = i < HOT and 'sale-' .. i or 'ticket'
    requests[i] = wrk.format('POST', '/v1/sales/' .. sale .. '/reservations',
      {['Content-Type'] = 'application/json'}, '{"user":"buyer"}')
  end
end
function request()
  n = n % HOT + 1
  return requests[n]
end
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requested_number_of_sales_is_defined() {
        for (sales, _) in DEFINED {
            let text = definitions(sales, 1);
            assert_eq!(text.matches("[[sale]]").count(), sales as usize);
        }
    }
}
