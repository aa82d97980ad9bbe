//! The servers that sell, by ledger: sales from every ledger, and the headline.

use super::store::Store;
use super::stores::{self, Durability};
use super::{Full, crowd, scenario};
use crate::error::Result;
use crate::scenarios::{self, Figures};
use crate::servers::Server;
use crate::tools::LoadPlan;

/// Few connections, so the disk is the limit and not the server.
const CONNECTIONS_FEW: u32 = 4;
/// Parts of a sale that is split.
const SPLITS: u32 = 4;
/// Servers that sell from Redis in memory.
const SELLING: [Server; 4] =
    [Server::FloorSales, Server::Article, Server::NginxLua, Server::Stampede];

impl Full<'_> {
    pub(super) fn sales(&mut self, round: u32) -> Result<()> {
        let (plan, seconds) = (self.plan(), self.settings.seconds);
        let memory = Durability::Memory;
        let mut batch = None;
        for server in self.order(round, &SELLING) {
            // The floor sells in both ways: in batches like stampede, and one ticket per call.
            let ways: &[(&str, &[&str])] = match server {
                Server::FloorSales => &[("floor_sales", &[]), ("floor_evalsha", &["--per-ticket"])],
                _ => &[(server.name(), &[])],
            };
            for &(name, options) in ways {
                self.session.measure(round, scenario::SALES_MEMORY, name, |lab| {
                    let (figures, size) = stores::in_redis(lab, server, options, memory, &plan)?;
                    if server == Server::Stampede {
                        batch = size;
                    }
                    Ok(figures)
                })?;
            }
        }
        for server in self.order(round, &[Server::Stampede]) {
            self.session.measure(round, scenario::REJECTIONS_REDIS, server.name(), |lab| {
                stores::sold_out_in_redis(lab, &plan)
            })?;
        }
        if let Some(batch) = batch {
            self.session.measure(round, scenario::SALES_MEMORY, scenario::BARE_REDIS, |lab| {
                stores::bare_redis(lab, batch, seconds)
            })?;
        }
        self.session.measure(round, scenario::SALES_MEMORY, scenarios::BASELINE, |lab| {
            scenarios::one_evalsha(lab, seconds)
        })?;
        for server in self.order(round, &[Server::Stampede]) {
            for (name, durability) in [
                (scenario::SALES_EVERYSEC, Durability::Everysec),
                (scenario::SALES_ALWAYS, Durability::Always),
            ] {
                self.session.measure(round, name, server.name(), |lab| {
                    Ok(stores::in_redis(lab, server, &[], durability, &plan)?.0)
                })?;
            }
        }
        for server in self.order(round, &[Server::FloorSales, Server::Stampede]) {
            if server == Server::Stampede {
                self.embedded(round, scenario::SALES_EMBEDDED, &plan)?;
                let few = LoadPlan { connections: CONNECTIONS_FEW, ..plan };
                self.embedded(round, scenario::SALES_EMBEDDED_4, &few)?;
                continue;
            }
            self.session.measure(round, scenario::SALES_EMBEDDED, server.name(), |lab| {
                stores::in_embedded(lab, server, &plan)
            })?;
        }
        for server in self.order(round, &[Server::AxumPostgres]) {
            self.session.measure(round, scenario::SALES_POSTGRES, server.name(), |lab| {
                stores::in_postgres(lab, &plan)
            })?;
        }
        Ok(())
    }

    /// Measures sales from the embedded ledger, then the same bytes on the disk alone.
    fn embedded(&mut self, round: u32, name: &'static str, plan: &LoadPlan<'_>) -> Result<()> {
        let mut alone = Figures::new();
        self.session.measure(round, name, Server::Stampede.name(), |lab| {
            let (figures, bare) = stores::embedded(lab, plan)?;
            alone = bare;
            Ok(figures)
        })?;
        self.session.measure(round, name, scenario::BARE_APPEND, |_| Ok(alone))
    }

    pub(super) fn headline(&mut self, round: u32) -> Result<()> {
        let lab = &self.session.lab;
        let (one, all) = ([lab.server_core], [lab.server_core, lab.load_core]);
        // Without nginx_lua: it opens a connection to Redis per waiting request, and Redis bounds
        // them. With a pool and a queue, thousands of requests got no answer.
        let runs = [
            (scenario::HEADLINE, Server::Article, Store::Redis, &one[..]),
            (scenario::HEADLINE, Server::FloorSales, Store::Redis, &one),
            (scenario::HEADLINE, Server::Stampede, Store::Redis, &one),
            (scenario::HEADLINE_DURABLE, Server::FloorSales, Store::Embedded, &one),
            (scenario::HEADLINE_DURABLE, Server::Stampede, Store::Embedded, &one),
            (scenario::HEADLINE_DURABLE, Server::AxumPostgres, Store::Postgres, &one),
            (scenario::HEADLINE_ALL_CORES, Server::Stampede, Store::Redis, &all),
            (scenario::HEADLINE_DURABLE_ALL_CORES, Server::Stampede, Store::Embedded, &all),
        ];
        let plan = LoadPlan { connections: self.crowd, ..self.plan() };
        let wanted = self.order(round, &runs.map(|(_, server, ..)| server));
        for (name, server, store, cores) in runs {
            if !wanted.contains(&server) {
                continue;
            }
            self.session.measure(round, name, server.name(), |lab| {
                crowd::headline(lab, server, store, cores, &plan)
            })?;
        }
        for server in self.order(round, &[Server::Stampede]) {
            for (name, store, splits) in [
                (scenario::HEADLINE_KEYED, Store::Redis, 1),
                (scenario::HEADLINE_KEYED_SPLIT, Store::Redis, SPLITS),
                (scenario::HEADLINE_KEYED_DURABLE, Store::Embedded, 1),
            ] {
                self.session.measure(round, name, server.name(), |lab| {
                    crowd::keyed(lab, store, splits, &plan)
                })?;
            }
        }
        Ok(())
    }
}
