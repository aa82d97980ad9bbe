//! `hand-over`: measures what buyers notice when a new process takes over from a server (SIGUSR2),
//! repeatedly. With an embedded ledger, one process after the other has the ledger. On Redis, both
//! sell side by side for a while. [`takeover`] is one hand-over, [`buyers`] are the purchases during
//! it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;

use crate::answer::Answer;
use crate::error::{Because, Result};
use crate::lab::{Lab, Redis, Served};
use crate::memory;
use crate::process::Interrupted;
use crate::report::spread::{self, Spread};
use crate::report::{Limit, Promise};
use crate::rows::{Row, figure};
use crate::scenarios::Figures;
use crate::session::{Common, Session};
use crate::shop;
use crate::tools::LoadPlan;

pub mod buyers;
pub mod takeover;

use buyers::{Purchase, Tally, while_they_buy};
use takeover::{Takeover, take_over};

const SCENARIO: &str = "hand_over";
/// Enough stock and a long hold, so no reservation expires.
const SALE: &str = "ticket=100000000,hold=1d";
/// Prefix of the users whose reservations fill the ledger.
const USERS: &str = "usr";
/// Purchases before the first hand-over.
const BEFORE: Duration = Duration::from_secs(3);
/// A purchase that comes later than this after a new process is ready does not count to the hand-over.
const AFTERMATH: Duration = Duration::from_secs(1);
const QUICK_TIMES: u32 = 5;
const QUICK_RESERVATIONS: u64 = 100_000;
/// Enough to fill a ledger on a slow disk.
const FILL_SECONDS: u64 = 1_200;
/// The shown counts of the ledger may be slightly old.
const COUNT_DEADLINE: Duration = Duration::from_secs(10);

/// The ledger of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Embedded,
    EmbeddedFilled,
    Redis,
}

const STORES: [Store; 3] = [Store::Embedded, Store::EmbeddedFilled, Store::Redis];
const EMBEDDED: &str = "embedded";
const EMBEDDED_FILLED: &str = "embedded_filled";
const REDIS: &str = "redis";

impl Store {
    fn name(self) -> &'static str {
        match self {
            Self::Embedded => EMBEDDED,
            Self::EmbeddedFilled => EMBEDDED_FILLED,
            Self::Redis => REDIS,
        }
    }
}

const fn never(text: &'static str, store: &'static str, figure: &'static str) -> Promise {
    Promise::new(text, Limit::Never, (SCENARIO, store, figure))
}

/// Promises on a hand-over.
pub const PROMISES: [Promise; 9] = [
    never("Refused connections, embedded ledger", EMBEDDED, figure::REFUSED_CONNECTIONS),
    never("Reset connections, embedded ledger", EMBEDDED, figure::RESET_CONNECTIONS),
    never("Lost tickets, embedded ledger", EMBEDDED, figure::LOST_SALES),
    never(
        "Refused connections, filled embedded ledger",
        EMBEDDED_FILLED,
        figure::REFUSED_CONNECTIONS,
    ),
    never("Reset connections, filled embedded ledger", EMBEDDED_FILLED, figure::RESET_CONNECTIONS),
    never("Lost tickets, filled embedded ledger", EMBEDDED_FILLED, figure::LOST_SALES),
    never("Refused connections, Redis", REDIS, figure::REFUSED_CONNECTIONS),
    never("Reset connections, Redis", REDIS, figure::RESET_CONNECTIONS),
    never("Lost tickets, Redis", REDIS, figure::LOST_SALES),
];

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Hand-overs per ledger.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub times: u32,
    /// Seconds between the readiness of a new process and the next hand-over.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=600))]
    pub every: u64,
    /// Purchases per second, evenly spaced.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(500..=10_000))]
    pub rate: u32,
    /// Reservations in the filled embedded ledger.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=20_000_000))]
    pub reservations: u64,
    /// Run 5 hand-overs per ledger with 100,000 reservations: 2 minutes.
    #[arg(long, conflicts_with_all = ["times", "reservations"])]
    pub quick: bool,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

impl Settings {
    fn times(&self) -> u32 {
        if self.quick { QUICK_TIMES } else { self.times }
    }

    fn reservations(&self) -> u64 {
        if self.quick { QUICK_RESERVATIONS } else { self.reservations }
    }
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let tools = ["taskset", "redis-server"];
    let mut session = Session::open(&settings.common, "hand-over", 1, &tools, interrupted)?;
    let path = session.out.join("hand_over.csv");
    let mut raw = File::create(&path).because(|| format!("creating {}", path.display()))?;
    writeln!(raw, "server,hand_over,{}", OF_EACH.join(","))?;

    for store in STORES {
        let mut seen = None;
        session.measure(1, SCENARIO, store.name(), |lab| {
            let world = World::open(lab, store, settings)?;
            let measured = seen.insert(world.hand_over(lab, settings)?);
            Ok(measured.figures())
        })?;
        if let Some(measured) = seen {
            keep(&mut session, store, &measured, &mut raw)?;
        }
    }
    let text = format!(
        "\nA server on one core, {} purchases per second by {} buyers on the other: half of them on kept \
         connections, half on a new one for each purchase. SIGUSR2 {} times with each ledger, {} s after \
         the last new process was ready; `{EMBEDDED_FILLED}` began with {} reservations. Waits \
         count from the due time of a purchase. Every hand-over: `hand_over.csv`.\n{}",
        settings.rate,
        buyers::BUYERS,
        settings.times(),
        settings.every,
        settings.reservations(),
        table(session.rows()),
    );
    session.finish("A new process takes over", &text, &PROMISES)
}

/// The figures per hand-over. Only an embedded ledger has a pause.
const OF_EACH: [&str; 3] = [figure::PAUSED_MS, figure::LONGEST_WAIT_MS, figure::OLD_ENDED_MS];

/// Keeps the figures of each hand-over, and the errors.
fn keep(session: &mut Session, store: Store, measured: &Measured, raw: &mut File) -> Result<()> {
    for (takeover, number) in measured.takeovers.iter().zip(1..) {
        let of_it = [
            takeover.paused_ms.map(|ms| ms as f64),
            measured.longest_wait(takeover).map(ms),
            Some(ms(takeover.old_ended - takeover.signalled)),
        ];
        let known = OF_EACH.into_iter().zip(of_it).filter_map(|(name, value)| Some((name, value?)));
        session.keep(number, SCENARIO, store.name(), &known.collect())?;
        let shown = of_it.map(|value| value.map(|ms| format!("{ms:.3}")).unwrap_or_default());
        writeln!(raw, "{},{number},{}", store.name(), shown.join(","))?;
    }
    match measured.wrong() {
        None => Ok(()),
        Some(wrong) => session.note_failure(format!("{SCENARIO}, {}: {wrong}", store.name())),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A server with its ledger.
struct World {
    redis: Option<Redis>,
    served: Served,
}

impl World {
    fn open(lab: &mut Lab, store: Store, settings: &Settings) -> Result<Self> {
        let redis = if store == Store::Redis { Some(lab.redis()?) } else { None };
        let ledger = redis.as_ref().map_or_else(|| lab.fresh_ledger(), Redis::url);
        let served = lab.stampede(&[lab.server_core], &ledger, &["--sale", SALE])?;
        served.expect(Answer::Granted)?;
        if store == Store::EmbeddedFilled {
            let plan = LoadPlan {
                cores: &[lab.load_core],
                requests: Some(settings.reservations()),
                expect: "granted",
                target: shop::TARGET,
                users: Some(USERS),
                keys: true,
                ..LoadPlan::default()
            };
            let line = lab.programs.load(&plan, &served.to());
            lab.load(&line, FILL_SECONDS)?;
        }
        Ok(Self { redis, served })
    }

    /// Runs the hand-overs while buyers buy.
    fn hand_over(mut self, lab: &mut Lab, settings: &Settings) -> Result<Measured> {
        let sold_before = self.sold(lab)?;
        let address = self.served.address;
        let (tally, takeovers) = while_they_buy(address, settings.rate, || {
            lab.settle(BEFORE)?;
            let mut takeovers = Vec::new();
            for number in 1..=settings.times() {
                let takeover = take_over(lab, &mut self.served.process, self.redis.is_none())?;
                lab.remark(&format!("hand-over {number}: SIGUSR2 to {}", takeover.from))?;
                takeovers.push(takeover);
                lab.settle(Duration::from_secs(settings.every))?;
            }
            Ok(takeovers)
        })?;
        let mut measured = Measured { tally, takeovers, sold: 0 };
        let since = Instant::now();
        loop {
            self.served.process.check_alive()?;
            measured.sold = self.sold(lab)?.saturating_sub(sold_before);
            if measured.sold == measured.tally.granted || since.elapsed() > COUNT_DEADLINE {
                return Ok(measured);
            }
        }
    }

    /// Tickets sold, from the ledger.
    fn sold(&mut self, lab: &Lab) -> Result<u64> {
        match &mut self.redis {
            Some(redis) => redis.sold(),
            None => memory::held(lab, &self.served),
        }
    }
}

/// The observations with one ledger.
struct Measured {
    tally: Tally,
    takeovers: Vec<Takeover>,
    /// Tickets sold, from the ledger.
    sold: u64,
}

impl Measured {
    fn figures(&self) -> Figures {
        let Tally { granted, refused, reset, other, .. } = self.tally;
        let mut calm: Vec<_> = self.calm().collect();
        calm.sort();
        let percentile = |percent: usize| {
            let at = (calm.len() * percent / 100).min(calm.len().saturating_sub(1));
            calm.get(at).copied().unwrap_or_default().as_secs_f64() * 1e6
        };
        vec![
            (figure::HAND_OVERS, self.takeovers.len() as f64),
            (figure::GRANTED, granted as f64),
            (figure::LATENCY_P50_US, percentile(50)),
            (figure::LATENCY_P99_US, percentile(99)),
            (figure::LATENCY_MAX_US, percentile(100)),
            (figure::REFUSED_CONNECTIONS, refused as f64),
            (figure::RESET_CONNECTIONS, reset as f64),
            (figure::OTHER_ANSWERS, other as f64),
            (figure::LOST_SALES, granted.saturating_sub(self.sold) as f64),
            (figure::UNTOLD_SALES, self.sold.saturating_sub(granted) as f64),
        ]
    }

    /// Waits of purchases outside of hand-overs.
    fn calm(&self) -> impl Iterator<Item = Duration> {
        let is_calm = |one: &&Purchase| !self.takeovers.iter().any(|takeover| is_of(one, takeover));
        self.tally.purchases.iter().filter(is_calm).map(|one| one.waited)
    }

    /// The longest wait of the purchases during one hand-over.
    fn longest_wait(&self, takeover: &Takeover) -> Option<Duration> {
        let of_it = self.tally.purchases.iter().filter(|one| is_of(one, takeover));
        of_it.map(|one| one.waited).max()
    }

    /// The errors, if any.
    fn wrong(&self) -> Option<String> {
        let Tally { granted, refused, reset, other, wrong, .. } = &self.tally;
        if (refused, reset, other, granted) == (&0, &0, &0, &self.sold) {
            return None;
        }
        Some(format!(
            "{refused} connections were refused, {reset} reset, {other} purchases got unexpected \
             answers; {granted} tickets were granted, {} sold\n{}",
            self.sold,
            wrong.join("\n")
        ))
    }
}

fn is_of(purchase: &Purchase, takeover: &Takeover) -> bool {
    (takeover.signalled..takeover.ready + AFTERMATH).contains(&purchase.due)
}

/// Medians and worst of each ledger's hand-overs.
fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "\n| ledger | hand-overs | pause ms, median (worst) | longest wait ms | old process ended after ms \
         | tickets granted | waits between hand-overs ms, p50, p99 (worst) |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for store in STORES {
        let of = |figure| spread::spread(rows, (SCENARIO, store.name(), figure));
        let Some(count) = of(figure::HAND_OVERS) else { continue };
        let both = |figure| match of(figure) {
            Some(Spread { median, max, .. }) => format!("{median:.0} ({max:.0})"),
            None => "–".into(),
        };
        let one = |figure| of(figure).map_or(f64::NAN, |spread| spread.median);
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "| {} | {:.0} | {} | {} | {} | {:.0} | {:.2}, {:.1} ({:.0}) |",
            store.name(),
            count.median,
            both(figure::PAUSED_MS),
            both(figure::LONGEST_WAIT_MS),
            both(figure::OLD_ENDED_MS),
            one(figure::GRANTED),
            one(figure::LATENCY_P50_US) / 1e3,
            one(figure::LATENCY_P99_US) / 1e3,
            one(figure::LATENCY_MAX_US) / 1e3,
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purchases_during_a_hand_over_are_counted_to_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let purchase =
            |due, waited| Purchase { due: at(due), waited: Duration::from_millis(waited) };
        let takeover = |from| Takeover {
            from: 1,
            signalled: at(from),
            old_ended: at(from + 900),
            ready: at(from + 1_000),
            paused_ms: Some(100),
        };
        let purchases = vec![
            purchase(0, 1),
            purchase(5_000, 7),
            purchase(6_500, 300),
            purchase(7_000, 2),
            purchase(10_500, 40),
        ];
        let tally = Tally { purchases, granted: 5, ..Tally::default() };
        let takeovers = vec![takeover(5_000), takeover(10_000)];
        let mut measured = Measured { tally, takeovers, sold: 5 };
        let longest = [0, 1].map(|at| measured.longest_wait(&measured.takeovers[at]).map(ms));
        assert_eq!(longest, [Some(300.0), Some(40.0)]);
        assert_eq!(measured.calm().map(ms).collect::<Vec<_>>(), [1.0, 2.0]);
        assert_eq!(measured.wrong(), None);
        measured.sold = 3;
        assert!(
            measured.wrong().is_some_and(|wrong| wrong.contains("5 tickets were granted, 3 sold"))
        );
        let figures = measured.figures();
        let of = |name| figures.iter().find(|(figure, _)| *figure == name).map(|(_, value)| *value);
        assert_eq!((of(figure::LOST_SALES), of(figure::UNTOLD_SALES)), (Some(2.0), Some(0.0)));
        assert_eq!(of(figure::LATENCY_MAX_US), Some(2_000.0));
        measured.takeovers.clear();
        measured.tally.reset = 1;
        assert!(measured.wrong().is_some_and(|wrong| wrong.contains("1 reset")));
    }
}
