//! The command line of a run.

use clap::{Args, ValueEnum};

use crate::servers::Server;
use crate::session::Common;

/// A group of measurements that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Rejections over 64 kept connections.
    Rejections,
    /// Rejections with 16 requests on their way on each connection.
    Pipelined,
    /// A connection for each request.
    Connections,
    /// TechEmpower's plaintext and JSON tests.
    Techempower,
    /// Sales from every store.
    Sales,
    /// Purchases by users with keys, beside anonymous ones.
    Shops,
    /// Refusals of users with new keys, beside others.
    Refusals,
    /// Purchases of 1, 100 and 1,000 hot sales.
    Hot,
    /// One request in a hundred buys.
    Mixed,
    /// 1,000,000 requests for 10,000 tickets from 15,000 connections, without and with users and keys.
    Headline,
    /// One buyer beside 4,000 of another sale.
    Neighbour,
    /// Redis stands still for a second under 15,000 connections.
    Stall,
    /// Stock returns to a sale that 15,000 connections ask.
    Storm,
    /// 64 to 15,000 connections.
    Crowd,
    /// One core and two.
    Cores,
    /// Latency at 50, 70 and 90 % of the capacity.
    Open,
    /// Rejections beside purchases that wait for Redis.
    Beside,
    /// A Unix socket against TCP, with and without nginx.
    Unix,
    /// Memory of idle connections.
    Memory,
    /// What strangers at any port cost everybody else.
    Strangers,
    /// 1 and 10,000 sales defined.
    Defined,
    /// The load generator against wrk.
    Generators,
}

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each measures every server once in every scenario, but the headline, the storm,
    /// strangers and idle connections, which only the first three rounds measure.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of load in a measurement, after a second of warm-up.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Leave out every server but these.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub servers: Vec<Server>,
    /// Leave out all but these.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub only: Vec<Group>,
    /// Don't write the summary into the project's README, as is done after a whole run.
    #[arg(long)]
    pub keep_readme: bool,
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// Settings of the headline alone.
#[derive(Debug, Args)]
pub struct HeadlineSettings {
    /// Rounds; each measures every server once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3))]
    pub rounds: u32,
    /// Leave out every server but these.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "floor_sales,stampede"
    )]
    pub servers: Vec<Server>,
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

impl HeadlineSettings {
    /// The same as settings of a whole run that measures these groups only.
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
