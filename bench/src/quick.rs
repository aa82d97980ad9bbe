//! `quick`: the short comparison, in interleaved rounds.

use clap::{Args, ValueEnum};

use crate::error::Result;
use crate::pin;
use crate::process::Interrupted;
use crate::report::{Limit, Place, Promise};
use crate::rows::figure;
use crate::scenarios::{
    self, BASELINE, CONNECTIONS, IDLE, ONE_EVALSHA, REJECTIONS, SALES_EMBEDDED, SALES_REDIS_64,
    SALES_REDIS_256,
};
use crate::servers::Server;
use crate::session::{Common, Session};

const IDLE_CONNECTIONS: u32 = 15_000;

/// A group of scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Rejections over kept connections (wrk).
    Rejections,
    /// Rejections, one connection per request (ab).
    Connections,
    /// Sales from Redis over 64 and 256 connections (wrk).
    Redis,
    /// Sales from the embedded ledger (wrk).
    Embedded,
    /// Redis CPU per sale with one EVALSHA per ticket.
    Baseline,
    /// Memory of 15,000 idle connections.
    Memory,
}

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each measures every server once per scenario.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of load per measurement, after a second of warm-up.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Servers to compare.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "floor,may_minihttp,stampede"
    )]
    pub servers: Vec<Server>,
    /// Scenarios to run.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "rejections,connections,redis,embedded,baseline,memory"
    )]
    pub scenarios: Vec<Scenario>,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let common = &settings.common;
    let mut tools = vec!["wrk", "ab", "taskset", "redis-server"];
    tools.extend(settings.servers.iter().flat_map(|server| server.tools()));
    let session = Session::open(common, "quick", settings.rounds, &tools, interrupted)?;
    let idle_connections = pin::connections(IDLE_CONNECTIONS)?;
    let mut quick = Quick { settings, session, idle_connections };
    for round in 1..=settings.rounds {
        quick.round(round)?;
    }
    let what = format!("{} rounds of {} s", settings.rounds, settings.seconds);
    let text = format!(
        "\nServers ran on core {}; load generators and Redis ran on core {}.\n",
        common.server_core, common.load_core
    );
    quick.session.finish(&what, &text, &PROMISES)
}

struct Quick<'a> {
    settings: &'a Settings,
    session: Session,
    idle_connections: u32,
}

impl Quick<'_> {
    fn round(&mut self, round: u32) -> Result<()> {
        let &Settings { seconds, ref servers, ref scenarios, .. } = self.settings;
        // Rounds rotate the order, so no server always follows the same one.
        let mut order = servers.clone();
        order.rotate_left((round as usize - 1) % servers.len());
        let ours = order.contains(&Server::Stampede);
        let wanted = |scenario| scenarios.contains(&scenario);

        if wanted(Scenario::Rejections) {
            for &server in &order {
                self.session.measure(round, scenarios::REJECTIONS, server.name(), |lab| {
                    scenarios::rejections(lab, server, seconds)
                })?;
            }
        }
        if wanted(Scenario::Redis) && ours {
            for (name, connections) in
                [(scenarios::SALES_REDIS_64, 64), (scenarios::SALES_REDIS_256, 256)]
            {
                self.session.measure(round, name, Server::Stampede.name(), |lab| {
                    scenarios::sales_redis(lab, Server::Stampede, connections, seconds)
                })?;
            }
        }
        if wanted(Scenario::Baseline) {
            self.session.measure(round, scenarios::ONE_EVALSHA, scenarios::BASELINE, |lab| {
                scenarios::one_evalsha(lab, seconds)
            })?;
        }
        if wanted(Scenario::Embedded) && ours {
            self.session.measure(
                round,
                scenarios::SALES_EMBEDDED,
                Server::Stampede.name(),
                |lab| scenarios::sales_embedded(lab, Server::Stampede, seconds),
            )?;
        }
        if wanted(Scenario::Connections) {
            // `ab` never finishes with a server that does not close.
            for &server in order.iter().filter(|server| server.closes()) {
                self.session.measure(round, scenarios::CONNECTIONS, server.name(), |lab| {
                    scenarios::connection_each(lab, server)
                })?;
            }
        }
        if wanted(Scenario::Memory) {
            let connections = self.idle_connections;
            for &server in &order {
                self.session.measure(round, scenarios::IDLE, server.name(), |lab| {
                    let served = scenarios::sold_out(lab, server)?;
                    scenarios::idle_connections(lab, &served, connections)
                })?;
            }
        }
        Ok(())
    }
}

const OURS: &str = "stampede";
const REJECTION_CPU: Place = (REJECTIONS, OURS, figure::SERVER_CPU_US);
const REJECTIONS_PER_S: Place = (REJECTIONS, OURS, figure::REQUESTS_PER_S);
const BASELINE_CPU: Place = (ONE_EVALSHA, BASELINE, figure::REDIS_CPU_US);

/// Promises on these scenarios.
pub const PROMISES: [Promise; 13] = [
    Promise::new("CPU per rejection, relative to the floor", Limit::AtMost(1.15), REJECTION_CPU)
        .to((REJECTIONS, "floor", figure::SERVER_CPU_US)),
    Promise::new("CPU per rejection, relative to may_minihttp", Limit::AtMost(1.0), REJECTION_CPU)
        .to((REJECTIONS, "may_minihttp", figure::SERVER_CPU_US)),
    Promise::new(
        "CPU per sale (server, Redis ledger, 64 connections), relative to a rejection",
        Limit::AtMost(1.4),
        (SALES_REDIS_64, OURS, figure::SERVER_CPU_US),
    )
    .to(REJECTION_CPU),
    Promise::new(
        "Sales/s from Redis (64 connections), relative to rejections/s",
        Limit::AtLeast(0.5),
        (SALES_REDIS_64, OURS, figure::SALES_PER_S),
    )
    .to(REJECTIONS_PER_S),
    Promise::new(
        "Redis CPU per sale (64 connections), relative to one EVALSHA per ticket",
        Limit::AtMost(1.0 / 3.0),
        (SALES_REDIS_64, OURS, figure::REDIS_CPU_US),
    )
    .to(BASELINE_CPU),
    Promise::new(
        "Memory per idle connection, KiB",
        Limit::AtMost(12.0),
        (IDLE, OURS, figure::CONNECTION_KIB),
    ),
    Promise::new(
        "CPU per rejection with a connection each, relative to the floor",
        Limit::None,
        (CONNECTIONS, OURS, figure::SERVER_CPU_US),
    )
    .to((CONNECTIONS, "floor", figure::SERVER_CPU_US)),
    Promise::new(
        "CPU per sale (server, Redis ledger, 256 connections), relative to a rejection",
        Limit::None,
        (SALES_REDIS_256, OURS, figure::SERVER_CPU_US),
    )
    .to(REJECTION_CPU),
    Promise::new(
        "CPU per sale (server, embedded ledger, 64 connections), relative to a rejection",
        Limit::None,
        (SALES_EMBEDDED, OURS, figure::SERVER_CPU_US),
    )
    .to(REJECTION_CPU),
    Promise::new(
        "Sales/s from Redis (256 connections), relative to rejections/s",
        Limit::None,
        (SALES_REDIS_256, OURS, figure::SALES_PER_S),
    )
    .to(REJECTIONS_PER_S),
    Promise::new(
        "Sales/s from the embedded ledger, relative to rejections/s",
        Limit::None,
        (SALES_EMBEDDED, OURS, figure::SALES_PER_S),
    )
    .to(REJECTIONS_PER_S),
    Promise::new(
        "Redis CPU per sale (256 connections), relative to one EVALSHA per ticket",
        Limit::None,
        (SALES_REDIS_256, OURS, figure::REDIS_CPU_US),
    )
    .to(BASELINE_CPU),
    Promise::new(
        "CPU per rejection: may_minihttp's, relative to the floor",
        Limit::None,
        (REJECTIONS, "may_minihttp", figure::SERVER_CPU_US),
    )
    .to((REJECTIONS, "floor", figure::SERVER_CPU_US)),
];
