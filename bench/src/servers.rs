//! The servers that are compared, and how each one is started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::process::CommandLine;

/// A server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Server {
    /// The bare epoll loop.
    #[value(name = "floor")]
    Floor,
    /// The peer.
    #[value(name = "may_minihttp")]
    MayMinihttp,
    /// What all this is about.
    #[value(name = "stampede")]
    Stampede,
}

impl Server {
    /// Its name in every table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::MayMinihttp => "may_minihttp",
            Self::Stampede => "stampede",
        }
    }
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The folder with our own programs.
    pub folder: PathBuf,
    /// The stampede to measure.
    pub stampede: PathBuf,
}

/// A sale as stampede is told of it.
#[derive(Debug, Clone)]
pub struct Sale {
    /// `embedded:DIR` or `redis://…`.
    pub ledger: String,
    /// Tickets.
    pub total: u64,
}

impl Programs {
    /// The command that starts a server on a core. The floor and the peer sell nothing: they need
    /// no sale.
    pub fn server(
        &self,
        server: Server,
        core: usize,
        address: SocketAddr,
        sale: &Sale,
    ) -> CommandLine {
        let (listen, cores) = (address.to_string(), core.to_string());
        if server != Server::Stampede {
            let program = shown(&self.folder.join(server.name()));
            return CommandLine::on_core(core, [&program, "--listen", &listen, "--core", &cores]);
        }
        let total = format!("ticket={}", sale.total);
        self.stampede_serve(&[core], address, &["--ledger", &sale.ledger, "--sale", &total])
    }

    /// The command that starts a stampede on these cores.
    pub fn stampede_serve(
        &self,
        cores: &[usize],
        listen: SocketAddr,
        options: &[&str],
    ) -> CommandLine {
        let cores = cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let program = shown(&self.stampede);
        // Several may run at a time, and the control port is one.
        let listen = listen.to_string();
        let words = [&*program, "serve", "--cores", &cores, "--listen", &listen];
        let words = words.into_iter().chain(["--control", "off"]);
        CommandLine::on_cores(&cores, words.chain(options.iter().copied()))
    }

    /// The command that writes the orders of a Redis into a database. `once`: until there are none
    /// left.
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

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
