//! Starts each server.

use std::net::SocketAddr;

use super::{Content, Ledger, Server, Setup, list, nginx, shown};
use crate::error::{Result, fail};
use crate::lab::{Lab, Served, free_address};
use crate::process::CommandLine;
use crate::resp::Connection;
use crate::secure::Certificate;
use crate::sellers::Source;
use crate::{one_sale, sellers};

/// What sells where a ticket is one EVALSHA and nobody claims it.
const SCRIPT: &str = include_str!("../../peers/sale.lua");
/// What sells where a shop sends a user and a key.
const ORDER_SCRIPT: &str = include_str!("../../peers/article/order.lua");

impl Lab {
    /// Starts a server and waits until it listens.
    ///
    /// # Errors
    /// It can't be what is asked of it, it ended, or nothing listens after a while.
    pub fn serve(&mut self, server: Server, setup: &Setup<'_>) -> Result<Served> {
        let address = free_address()?;
        let line = self.command_line(server, address, setup)?;
        let served = self.serve_line(server.name(), &line, address)?;
        Ok(Served { secure: setup.tls.is_some(), ..served })
    }

    /// Starts an nginx in front of a server, `host:port` or `unix:PATH`.
    pub fn proxy(
        &mut self,
        core: usize,
        upstream: &str,
        tls: Option<&Certificate>,
    ) -> Result<Served> {
        let (address, folder) = (free_address()?, self.fresh_folder("nginx"));
        nginx::write_proxy(&folder, address, core, upstream, tls)?;
        let line = nginx_in(&folder, &core.to_string());
        let served = self.serve_line("nginx", &line, address)?;
        Ok(Served { secure: tls.is_some(), ..served })
    }

    /// Starts an nginx that passes TLS connections on to a server.
    pub fn pass_on(&mut self, core: usize, upstream: &str) -> Result<Served> {
        let (address, folder) = (free_address()?, self.fresh_folder("nginx"));
        nginx::write_stream(&folder, address, core, upstream)?;
        let line = nginx_in(&folder, &core.to_string());
        let served = self.serve_line("nginx", &line, address)?;
        Ok(Served { secure: true, ..served })
    }

    /// The command of a server. Its prerequisites are ready when this returns.
    fn command_line(
        &self,
        server: Server,
        listen: SocketAddr,
        setup: &Setup<'_>,
    ) -> Result<CommandLine> {
        let cores = list(setup.cores);
        let ours = |more: &[&str]| self.programs.ours(server.name(), &cores, listen, more);
        let [certificate, key] = setup.tls.map(Certificate::names).unwrap_or_default();
        let tls = ["--tls-cert", &*certificate, "--tls-key", &*key];
        let tls = if setup.tls.is_some() { &tls[..] } else { &[] };
        match (server, &setup.ledger) {
            (Server::Floor, Ledger::None) => {
                Ok(ours(&[&["--answer", setup.content.name()], tls].concat()))
            }
            (Server::Axum, Ledger::None) => Ok(ours(tls)),
            (Server::Nginx, Ledger::None) => {
                let folder = self.fresh_folder("nginx");
                nginx::write_plain(&folder, listen, setup.cores, setup.tls)?;
                Ok(nginx_in(&folder, &cores))
            }
            (Server::Stampede, ledger) => {
                let ledger = match ledger {
                    Ledger::None | Ledger::Embedded => self.fresh_ledger(),
                    Ledger::Redis(redis) => format!("redis://{redis}/0"),
                    Ledger::Postgres(_) => return cannot(server, setup),
                };
                let sale = format!("ticket={}", setup.total);
                let options = [&["--sale", &*sale], tls, setup.options].concat();
                let listen = match setup.tls {
                    Some(_) => format!("tls:{listen}"),
                    None => listen.to_string(),
                };
                Ok(self.programs.stampede_serve(setup.cores, &listen, &ledger, &options))
            }
            _ if setup.tls.is_some() => cannot(server, setup),
            (Server::FloorUring, Ledger::None) => Ok(ours(&["--answer", setup.content.name()])),
            (Server::MayMinihttp, Ledger::None) => Ok(ours(&[])),
            (Server::Httparena, Ledger::None)
                if matches!(setup.content, Content::Sum | Content::Ok) =>
            {
                Ok(ours(&[]))
            }
            (Server::AxumPostgres, Ledger::Postgres(url)) => {
                Ok(ours(&["--database", url, "--total", &setup.total.to_string()]))
            }
            (Server::NginxLua, Ledger::None | Ledger::Redis(_))
                if setup.content == Content::SoldOut =>
            {
                let folder = self.fresh_folder("nginx");
                let shas = match setup.ledger {
                    Ledger::Redis(at) => {
                        let mut redis = Connection::open(at)?;
                        let sell = one_sale::prepare_with(&mut redis, setup.total, SCRIPT)?;
                        let order = one_sale::load_script(&mut redis, ORDER_SCRIPT)?;
                        Some((at, sell, order))
                    }
                    _ => None,
                };
                let redis = shas.as_ref().map(|(at, sell, order)| (*at, [&**sell, &**order]));
                nginx::write_lua(&folder, listen, setup.cores, redis)?;
                Ok(nginx_in(&folder, &cores))
            }
            (Server::Article, Ledger::Redis(redis)) => {
                self.programs.build_article()?;
                Ok(sellers::article(&self.programs, setup.cores, listen, *redis, setup.total))
            }
            (Server::FloorSales, ledger) => {
                let folder = self.fresh_folder("journal");
                let from = match (ledger, setup.options) {
                    (Ledger::Redis(redis), []) => Source::Redis(*redis),
                    (Ledger::Redis(redis), ["--per-ticket"]) => Source::RedisPerTicket(*redis),
                    (Ledger::Embedded, []) => Source::Journal(&folder),
                    _ => return cannot(server, setup),
                };
                Ok(sellers::floor_sales(&self.programs, setup.cores, listen, from, setup.total))
            }
            _ => cannot(server, setup),
        }
    }
}

fn cannot<T>(server: Server, setup: &Setup<'_>) -> Result<T> {
    let (name, content, ledger) = (server.name(), setup.content.name(), &setup.ledger);
    let over = if setup.tls.is_some() { " over TLS" } else { "" };
    fail(format!("{name} can't answer {content}{over} with the ledger {ledger:?}"))
}

/// nginx in this folder. Its master ends its workers when it is told to end; SIGKILL, which would
/// leave them behind, is what it would get if we died.
fn nginx_in(folder: &std::path::Path, cores: &str) -> CommandLine {
    let folder = format!("{}/", shown(folder));
    let words = ["setpriv", "--pdeathsig", "TERM", "nginx", "-e", "stderr", "-p"];
    CommandLine::on_cores(cores, words.into_iter().chain([&*folder, "-c", "nginx.conf"]))
}
