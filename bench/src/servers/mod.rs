//! The compared servers, and their setups.
//!
//! `start` has the command of each server. `nginx` writes nginx's configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::process::CommandLine;
use crate::secure::Certificate;

mod nginx;
mod start;

pub use crate::answer::Content;
pub use nginx::{LUA_MODULE as NGINX_LUA, NDK_MODULE as NGINX_NDK, STREAM_MODULE as NGINX_STREAM};

/// A server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Server {
    /// The bare epoll loop.
    Floor,
    /// The bare io_uring loop.
    FloorUring,
    /// may_minihttp, which uses the same coroutines as stampede.
    MayMinihttp,
    /// axum, a common Rust framework.
    Axum,
    /// nginx, which answers from its configuration.
    Nginx,
    /// nginx with Lua, which sells by one EVALSHA per ticket.
    NginxLua,
    /// axum with PostgreSQL, which sells by one statement per ticket.
    AxumPostgres,
    /// The article's design in Go, which sells by one script call per ticket.
    Article,
    /// The bare epoll loop that sells in batches.
    FloorSales,
    /// HttpArena's entry: stampede's engine without a sale.
    Httparena,
    /// The server of this project.
    Stampede,
}

impl Server {
    /// The server's name in every table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::FloorUring => "floor_uring",
            Self::MayMinihttp => "may_minihttp",
            Self::Axum => "axum",
            Self::Nginx => "nginx",
            Self::NginxLua => "nginx_lua",
            Self::AxumPostgres => "axum_postgres",
            Self::Article => "article",
            Self::FloorSales => "floor_sales",
            Self::Httparena => "httparena",
            Self::Stampede => "stampede",
        }
    }

    /// The server's tools, as [`check_tools`] knows them.
    ///
    /// [`check_tools`]: crate::machine::check_tools
    pub fn tools(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["setpriv", "nginx"],
            Self::NginxLua => &["setpriv", "nginx", NGINX_LUA, NGINX_NDK],
            Self::AxumPostgres => &["setpriv"],
            Self::Article => &["go"],
            _ => &[],
        }
    }

    /// Whether the server can close a connection on request. `may_minihttp` closes neither HTTP/1.0
    /// nor `Connection: close`, so a client that waits for the close waits forever.
    pub fn closes(self) -> bool {
        self != Self::MayMinihttp
    }
}

/// The ledger of a setup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ledger {
    /// None: only rejections. For stampede, whose rejections come from a sold-out sale, the same as
    /// `Embedded`.
    None,
    /// In an embedded ledger with a folder of its own.
    Embedded,
    /// In this Redis.
    Redis(SocketAddr),
    /// In the database of this URL.
    Postgres(String),
}

/// The setup of a server.
#[derive(Debug, Clone)]
pub struct Setup<'a> {
    /// Its cores.
    pub cores: &'a [usize],
    /// The answer of a floor. Other servers answer by target.
    pub content: Content,
    /// The ledger of a setup.
    pub ledger: Ledger,
    /// Tickets of the sale `ticket`, for servers that sell.
    pub total: u64,
    /// More options for stampede, and for the floor of a sale.
    pub options: &'a [&'a str],
    /// The certificate for TLS, if any.
    pub tls: Option<&'a Certificate>,
}

/// Paths of the programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The folder of the bench's programs.
    pub folder: PathBuf,
    /// The stampede to measure.
    pub stampede: PathBuf,
}

impl Programs {
    /// The command of one of the bench's programs on these cores and this address.
    fn ours(&self, name: &str, cores: &str, listen: SocketAddr, more: &[&str]) -> CommandLine {
        let (program, listen) = (shown(&self.folder.join(name)), listen.to_string());
        let words = [&*program, "--listen", &listen, "--cores", cores];
        CommandLine::on_cores(cores, words.into_iter().chain(more.iter().copied()))
    }

    /// The command of a stampede on these cores and this address. Name the ledger: the default is a
    /// folder of the user.
    pub fn stampede_serve(
        &self,
        cores: &[usize],
        listen: &str,
        ledger: &str,
        options: &[&str],
    ) -> CommandLine {
        let cores = list(cores);
        let program = shown(&self.stampede);
        // Several may run at the same time, so the control port must differ.
        let control: &[&str] =
            if options.contains(&"--control") { &[] } else { &["--control", "off"] };
        let words = [&*program, "serve", "--cores", &cores, "--listen", listen];
        let words = words.into_iter().chain(["--ledger", ledger]).chain(control.iter().copied());
        CommandLine::on_cores(&cores, words.chain(options.iter().copied()))
    }

    /// The command of this attack.
    pub fn stranger(&self, cores: &[usize], words: &[&str]) -> CommandLine {
        let program = shown(&self.folder.join("stranger"));
        CommandLine::on_cores(&list(cores), [&*program].into_iter().chain(words.iter().copied()))
    }

    /// The command that writes the orders of a Redis into a database. `once`: ends when none is left.
    pub fn orders(&self, core: usize, from: &str, to: &str, once: bool) -> CommandLine {
        let program = shown(&self.stampede);
        let words = [&*program, "orders", "--from", from, "--to", to];
        CommandLine::on_core(core, words.into_iter().chain(once.then_some("--once")))
    }

    /// The command that starts the one-EVALSHA baseline's driver.
    pub fn one_evalsha(&self, core: usize, redis: SocketAddr, seconds: u64) -> CommandLine {
        let program = shown(&self.folder.join("one_evalsha"));
        let (cores, redis) = (core.to_string(), redis.to_string());
        let words = [&program, "--redis", &redis, "--core", &cores, "--connections", "64"];
        CommandLine::on_core(core, words.into_iter().chain(["--seconds", &seconds.to_string()]))
    }

    /// The command that starts a Redis without snapshots.
    pub fn redis(
        &self,
        core: usize,
        listen: SocketAddr,
        folder: &Path,
        options: &[&str],
    ) -> CommandLine {
        let (ip, port) = (listen.ip().to_string(), listen.port().to_string());
        let network = ["redis-server", "--bind", &ip, "--port", &port, "--dir"];
        let folder = [&*shown(folder), "--save", ""];
        let words = network.into_iter().chain(folder);
        CommandLine::on_core(core, words.chain(options.iter().copied()))
    }
}

/// `0,1`, the form of `taskset` and of all programs here.
pub(crate) fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
