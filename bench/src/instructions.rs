//! `instructions`: counts the server's instructions in user space per rejection and per sale. They
//! hardly depend on other programs, so a change of one percent shows on a busy machine.
//!
//! Every measurement starts a server under callgrind twice, with few and with more requests. The
//! difference of the instructions, divided by the difference of the requests, excludes start and end.

mod callgrind;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use stampede::admission::Algorithm;

use crate::admission::Shop;
use crate::answer::{self, Answer, TARGET};
use crate::builds::Build;
use crate::client::{Client, Response};
use crate::error::{Because, Result, fail};
use crate::lab::{Lab, Served, free_address_on, unexpected};
use crate::machine;
use crate::process::Interrupted;
use crate::report::Spread;
use crate::report::comparison::{self, NEW, OLD};
use crate::report::spread::values;
use crate::report::tables::shown;
use crate::rows::figure;
use crate::scenarios::{Figures, TOTAL_HUGE, TOTAL_TINY};
use crate::session::{Common, Session};

const TOOLS: [&str; 3] = ["taskset", "redis-server", "valgrind"];
/// Address of the servers. Under callgrind, a server takes a second to start. On 127.0.0.1, another
/// program of a busy machine could take its port meanwhile. Few programs listen on this address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Requests per write in the pipelined scenario.
const PIPELINE: usize = 16;
/// Rejections in the short and in the long run.
const REJECTIONS: (usize, usize) = (1_600, 16_000);
const _: () =
    assert!(REJECTIONS.0.is_multiple_of(PIPELINE) && REJECTIONS.1.is_multiple_of(PIPELINE));
/// Sales in the short and in the long run, each of which waits for the disk.
const SALES: (usize, usize) = (400, 2_000);
/// Deadline of a server under callgrind to end and write its profile.
const END_DEADLINE: Duration = Duration::from_secs(60);
/// Deadline of a server to accept connections.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two attempts.
const SETTLE: Duration = Duration::from_millis(500);
/// Rounds that differ by more than this share are inexact.
const EXACT: f64 = 0.01;

/// A limit that no client reaches.
const NO_LIMIT: &str = "10000/10000";

/// Path of a refused order.
const ORDERS: &str = "/v1/sales/ticket/reservations";
const ORDER: &str = r#"{"user":"load","quantity":1}"#;

/// A counted scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// GET /buy/ticket of a sold-out sale, one request at a time.
    Rejection,
    /// GET /buy/ticket of a sold-out sale, 16 requests per write.
    Pipelined,
    /// POST of an order with a user to a sold-out sale, one request at a time.
    Post,
    /// GET /buy/ticket that buys from the embedded ledger, one request at a time.
    SaleEmbedded,
    /// GET /buy/ticket that buys from Redis, one request at a time.
    SaleRedis,
    /// `rejection` with limits per user and per address that no client reaches.
    Limited,
    /// `post` with limits per user and per address that no client reaches.
    PostLimited,
    /// `sale-embedded` with admission, and an HS256 token per purchase.
    SaleAdmitted,
}

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Count another build too, and print the ratios: a commit (tag, branch or hash) to build, or the
    /// path of a built stampede.
    #[arg(long, value_name = "GITREF|PROGRAM")]
    pub against: Option<String>,
    /// Rounds; each counts every scenario once per build.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Run only these scenarios.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub only: Vec<Scenario>,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

impl Scenario {
    /// The scenario's name in `raw.csv`.
    fn name(self) -> &'static str {
        match self {
            Self::Rejection => "rejection",
            Self::Pipelined => "rejection_pipelined16",
            Self::Post => "rejection_post",
            Self::SaleEmbedded => "sale_embedded",
            Self::SaleRedis => "sale_redis",
            Self::Limited => "rejection_limited",
            Self::PostLimited => "rejection_post_limited",
            Self::SaleAdmitted => "sale_admitted",
        }
    }

    fn sells(self) -> bool {
        matches!(self, Self::SaleEmbedded | Self::SaleRedis | Self::SaleAdmitted)
    }

    /// Requests in the short and in the long run.
    fn requests(self) -> (usize, usize) {
        if self.sells() { SALES } else { REJECTIONS }
    }

    fn expected(self) -> Answer {
        if self.sells() { Answer::Granted } else { Answer::SoldOut }
    }

    /// Sends this number of requests over one connection, and checks every answer.
    fn ask(self, address: SocketAddr, requests: usize, shop: Option<&Shop>) -> Result<()> {
        let mut client = Client::connect(address)?;
        match self {
            Self::Pipelined => {
                for _ in 0..requests / PIPELINE {
                    let responses = client.get_together(TARGET, PIPELINE)?;
                    responses.iter().try_for_each(|response| self.check(response))?;
                }
            }
            Self::Post | Self::PostLimited => {
                for _ in 0..requests {
                    let response = client.post(ORDERS, ORDER)?;
                    if response.status != 409 || !response.body.contains(r#""code":"sold_out""#) {
                        return fail(unexpected(Answer::SoldOut, &response));
                    }
                }
            }
            Self::Rejection | Self::Limited | Self::SaleEmbedded | Self::SaleRedis => {
                for _ in 0..requests {
                    self.check(&client.get(TARGET)?)?;
                }
            }
            Self::SaleAdmitted => {
                for number in 0..requests {
                    let Some(shop) = shop else {
                        return fail("the admission settings have no token issuer");
                    };
                    let token = shop.header(&format!("buyer-{number:08}"))?;
                    self.check(&client.get_with(TARGET, &token)?)?;
                }
            }
        }
        Ok(())
    }

    fn check(self, response: &Response) -> Result<()> {
        match answer::read(response) {
            Some(answer) if answer == self.expected() => Ok(()),
            _ => fail(unexpected(self.expected(), response)),
        }
    }

    fn measure(self, lab: &mut Lab) -> Result<Figures> {
        let (before, requests) = self.requests();
        let start = self.count(lab, before)?;
        let all = self.count(lab, before + requests)?;
        let Some(counted) = all.checked_sub(start) else {
            return fail(format!("more requests used fewer instructions: {start}, then {all}"));
        };
        let requests = requests as f64;
        Ok(vec![(figure::INSTRUCTIONS, counted as f64 / requests), (figure::REQUESTS, requests)])
    }

    /// All instructions of a server that answers this number of requests, from its start to its end.
    fn count(self, lab: &mut Lab, requests: usize) -> Result<u64> {
        let redis = (self == Self::SaleRedis).then(|| lab.redis()).transpose()?;
        let ledger = redis.as_ref().map_or_else(|| lab.fresh_ledger(), |redis| redis.url());
        let sale = format!("ticket={}", if self.sells() { TOTAL_HUGE } else { TOTAL_TINY });
        let (address, profile) = (free_address_on(ADDRESS)?, lab.fresh_folder("callgrind"));
        let cores = [lab.server_core];
        let admits = self == Self::SaleAdmitted;
        let shop = admits.then(|| Shop::open(lab.data(), Algorithm::Hs256, 1)).transpose()?;
        let keys = shop.as_ref().map(|shop| shop.file.display().to_string());
        let mut options = vec!["--sale", &*sale];
        if matches!(self, Self::Limited | Self::PostLimited) {
            options.extend(["--rate-per-user", NO_LIMIT, "--rate-per-address", NO_LIMIT]);
        }
        options.extend(keys.iter().flat_map(|keys| ["--admission-keys", keys]));
        let line = lab.programs.stampede_serve(&cores, &address.to_string(), &ledger, &options);
        let line = lab.programs.under_callgrind(line, &profile);
        let mut served = lab.serve_line("stampede", &line, address)?;
        lab.remark(&format!("{requests} requests to {address}"))?;
        let started = Instant::now();
        let is_ready = |served: &Served| match &shop {
            Some(shop) => {
                let header = shop.header("first")?;
                self.check(&served.client()?.get_with(TARGET, &header)?)
            }
            None => served.expect(self.expected()),
        };
        while let Err(failure) = is_ready(&served) {
            // Under callgrind, a server listens for a moment before it serves, and refuses early
            // connections. If it has ended, its own output says more.
            lab.settle(SETTLE)?;
            served.process.check_alive()?;
            if started.elapsed() > START_DEADLINE {
                return Err(failure);
            }
        }
        self.ask(address, requests, shop.as_ref())?;
        served.process.end(libc::SIGTERM, END_DEADLINE)?;
        let text = fs::read_to_string(&profile)
            .because(|| format!("reading callgrind's profile {}", profile.display()))?;
        callgrind::total(&text)
    }
}

/// Counts everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    // Check before the build, which takes minutes, and before this process is pinned to one core.
    machine::check_tools(&TOOLS)?;
    let against = settings.against.as_deref();
    let old = against.map(|other| Build::of(other, &interrupted)).transpose()?;
    let (common, rounds) = (&settings.common, settings.rounds);
    let mut session = Session::open(common, "instructions", rounds, &TOOLS, interrupted)?;
    let new = Build::of_this_run(&session.lab.programs.stampede)?;
    if let Some(old) = &old {
        session.add_builds(&new, old)?;
    }
    let wanted = |scenario| settings.only.is_empty() || settings.only.contains(&scenario);
    let scenarios = Scenario::value_variants().iter().copied();
    let scenarios: Vec<Scenario> = scenarios.filter(|&scenario| wanted(scenario)).collect();
    for round in 1..=rounds {
        for &scenario in &scenarios {
            for (name, build) in old.iter().map(|old| (OLD, old)).chain([(NEW, &new)]) {
                session.lab.programs.stampede = build.program.clone();
                session.measure(round, scenario.name(), name, |lab| scenario.measure(lab))?;
            }
        }
    }
    let text = summary(&session, &scenarios, &new, old.as_ref());
    session.finish("Instructions", &text, &[])
}

fn summary(session: &Session, scenarios: &[Scenario], new: &Build, old: Option<&Build>) -> String {
    let rows = session.rows();
    let mut text = format!(
        "\nInstructions of the server in user space, per rejection or sale, as callgrind counts them. \
         New: {}.{}\n\n",
        new.what,
        old.map(|old| format!(" Old: {}.", old.what)).unwrap_or_default(),
    );
    let spread = |scenario: Scenario, name| {
        let values = values(rows, (scenario.name(), name, figure::INSTRUCTIONS));
        Spread::of(values.into_iter().map(|(_, value)| value))
    };
    text.push_str("| scenario | build | instructions | min–max | spread | rounds |\n");
    text.push_str("|---|---|---:|---|---:|---:|\n");
    let mut inexact = Vec::new();
    for &scenario in scenarios {
        for name in [OLD, NEW] {
            let Some(spread) = spread(scenario, name) else { continue };
            let Spread { median, min, max, count, .. } = spread;
            let share = (max - min) / median;
            if share > EXACT && !scenario.sells() {
                inexact.push(format!("{} ({name})", scenario.name()));
            }
            text.push_str(&format!(
                "| {} | {name} | {} | {}–{} | {:.2} % | {count} |\n",
                scenario.name(),
                shown(median),
                shown(min),
                shown(max),
                share * 100.0,
            ));
        }
    }
    if !inexact.is_empty() {
        text.push_str(&format!(
            "\n**Inexact, because rounds differ by more than 1 %: {}.**\n",
            inexact.join(", ")
        ));
    }
    if old.is_some() {
        let figures = [("instructions", figure::INSTRUCTIONS)];
        text.push_str(&format!("\n{}", comparison::comparison(rows, &figures)));
    }
    text
}
