//! The command line of a run.

use clap::{Args, ValueEnum};

use crate::report::ROUNDS_MIN;
use crate::servers::Server;
use crate::session::Common;

/// A group of scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Rejections over 64 kept connections.
    Rejections,
    /// Rejections, 16 requests pipelined per connection.
    Pipelined,
    /// Rejections, one connection per request.
    Connections,
    /// TechEmpower's plaintext and JSON tests.
    Techempower,
    /// Sales from every ledger.
    Sales,
    /// Purchases by users with keys, and by anonymous buyers.
    Shops,
    /// Refusals of users with and without new keys, and of anonymous buyers.
    Refusals,
    /// Purchases from 1, 100 and 1,000 hot sales.
    Hot,
    /// Rejections with one purchase per 100 requests.
    Mixed,
    /// 1,000,000 requests for 10,000 tickets from 15,000 connections, without and with users and keys.
    Headline,
    /// One buyer beside 4,000 buyers of another sale.
    Neighbour,
    /// Redis stopped for a second under 15,000 connections.
    Stall,
    /// Stock that returns to a sold-out sale under 15,000 connections.
    Storm,
    /// Rejections over 64 to 15,000 connections.
    Crowd,
    /// Rejections by one core and two.
    Cores,
    /// Open loop: latency at 50, 70 and 90 % of the capacity.
    Open,
    /// Latency of rejections beside purchases that wait for Redis.
    Beside,
    /// Unix sockets and TCP, with and without nginx.
    Unix,
    /// Memory of idle connections.
    Memory,
    /// Sales and probes while strangers attack every port.
    Strangers,
    /// Rejections with 1 and 10,000 sales defined.
    Defined,
    /// The load generator beside wrk.
    Generators,
}

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each measures every server once per scenario. Only the first four rounds measure the
    /// headline, the storm, strangers and idle connections.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of load per measurement, after a second of warm-up.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Measure only these servers.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub servers: Vec<Server>,
    /// Run only these groups.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub only: Vec<Group>,
    /// Leave the table in the project's README as it is. A complete run updates it by default.
    #[arg(long)]
    pub keep_readme: bool,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Settings of the headline alone.
#[derive(Debug, Args)]
pub struct HeadlineSettings {
    /// Rounds; each measures every server once.
    #[arg(long, default_value_t = ROUNDS_MIN, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Measure only these servers.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "floor_sales,stampede"
    )]
    pub servers: Vec<Server>,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

impl HeadlineSettings {
    /// The settings of a complete run that measures only these groups.
    pub fn as_full(&self, only: Vec<Group>) -> Settings {
        Settings {
            rounds: self.rounds,
            seconds: 2,
            servers: self.servers.clone(),
            only,
            keep_readme: true,
            common: self.common.clone(),
        }
    }
}
