//! `against`: compares the stampede of another commit with this one, under the same load and within
//! rounds. Ratios within a round show whether a change costs CPU, even on a machine whose speed
//! changes by the minute.

use std::slice;

use clap::{Args, ValueEnum};

use crate::answer::Content;
use crate::builds::Build;
use crate::error::Result;
use crate::full::{measure, stores};
use crate::lab::Lab;
use crate::machine;
use crate::process::Interrupted;
use crate::report::comparison::{self, NEW, OLD};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::servers::Server;
use crate::session::{Common, Session};
use crate::tools::LoadPlan;

const TOOLS: [&str; 3] = ["git", "taskset", "redis-server"];
const CONNECTIONS: u32 = 64;
/// Requests in flight per connection in the pipelined scenario.
const PIPELINE: u32 = 16;

/// The compared figures.
const FIGURES: [(&str, &str); 4] = [
    ("CPU us", figure::SERVER_CPU_US),
    ("requests/s", figure::REQUESTS_PER_S),
    ("p50 us", figure::LATENCY_P50_US),
    ("p99 us", figure::LATENCY_P99_US),
];

/// A scenario, which loads both builds alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Rejections over 64 kept connections.
    Rejections,
    /// Rejections, 16 requests pipelined per connection.
    Pipelined,
    /// Rejections, one connection per request.
    Connections,
    /// Sales from Redis in memory.
    SalesRedis,
    /// Sales from the embedded ledger.
    SalesEmbedded,
}

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Commit (tag, branch or hash) to build and compare with, or path of a built stampede.
    #[arg(value_name = "GITREF|PROGRAM")]
    pub other: String,
    /// Rounds; each measures both builds once per scenario. Rounds alternate which build is first.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of load per measurement, after a second of warm-up.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Run only these scenarios.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub only: Vec<Scenario>,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

impl Scenario {
    /// The scenario's name in `raw.csv`, the same as in a complete run.
    fn name(self) -> &'static str {
        match self {
            Self::Rejections => "rejections_keepalive",
            Self::Pipelined => "rejections_pipelined16",
            Self::Connections => "rejections_connection_each",
            Self::SalesRedis => "sales_redis_memory",
            Self::SalesEmbedded => "sales_embedded",
        }
    }

    fn measure(self, lab: &mut Lab, plan: &LoadPlan<'_>) -> Result<Figures> {
        let cores = [lab.server_core];
        let rejections = |lab: &mut Lab, plan: &LoadPlan<'_>| {
            measure::rejections(lab, Server::Stampede, Content::SoldOut, &cores, plan)
        };
        match self {
            Self::Rejections => rejections(lab, plan),
            Self::Pipelined => rejections(lab, &LoadPlan { pipeline: PIPELINE, ..*plan }),
            Self::Connections => rejections(lab, &LoadPlan { connection_each: true, ..*plan }),
            Self::SalesRedis => {
                let durability = stores::Durability::Memory;
                Ok(stores::in_redis(lab, Server::Stampede, &[], durability, plan)?.0)
            }
            Self::SalesEmbedded => stores::in_embedded(lab, Server::Stampede, plan),
        }
    }
}

/// Builds the other stampede, measures both and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    // Check before the build, which takes minutes, and before this process is pinned to one core.
    machine::check_tools(&TOOLS)?;
    let old = Build::of(&settings.other, &interrupted)?;
    let (common, rounds) = (&settings.common, settings.rounds);
    let mut session = Session::open(common, "against", rounds, &TOOLS, interrupted)?;
    let new = Build::of_this_run(&session.lab.programs.stampede)?;
    session.add_builds(&new, &old)?;
    let plan = LoadPlan {
        cores: slice::from_ref(&common.load_core),
        connections: CONNECTIONS,
        seconds: settings.seconds,
        ..LoadPlan::default()
    };
    let wanted = |scenario| settings.only.is_empty() || settings.only.contains(&scenario);
    for round in 1..=rounds {
        let mut order = [(OLD, &old), (NEW, &new)];
        if round % 2 == 0 {
            order.reverse();
        }
        for &scenario in Scenario::value_variants().iter().filter(|&&scenario| wanted(scenario)) {
            for (name, build) in order {
                session.lab.programs.stampede = build.program.clone();
                session
                    .measure(round, scenario.name(), name, |lab| scenario.measure(lab, &plan))?;
            }
        }
    }
    let text = format!(
        "\nOld: {}. New: {}. CPU is the server's CPU per request, or per sale if each request buys. \
         Ratios are new/old, of the same round.\n\n{}",
        old.what,
        new.what,
        comparison::comparison(session.rows(), &FIGURES)
    );
    session.finish("This stampede and another commit", &text, &[])
}
