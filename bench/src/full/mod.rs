//! `bench/run`, or `bench/run full`: the complete comparison, in interleaved rounds.
//!
//! `settings` has the options and `scenario` the names. `measure` is one measurement. `stores`,
//! `crowd`, `shops`, `proxy` and `strangers` are the measurements with more than a server and a load.
//! `store` has the ledgers, `selling` the servers that sell, and `promises` the promises.

mod crowd;
pub(crate) mod measure;
mod neighbour;
pub(crate) mod places;
mod promises;
mod proxy;
mod scenario;
mod selling;
mod settings;
mod shop_promises;
mod shops;
mod store;
pub(crate) mod stores;
pub(crate) mod strangers;

use std::path::Path;
use std::slice;

use clap::ValueEnum;

pub use settings::{Group, HeadlineSettings, Settings};

use crate::answer::Content;
use crate::error::{Result, fail};
use crate::full::crowd::Beside;
use crate::full::promises::RUN_PROMISES;
use crate::full::proxy::Way;
use crate::full::shop_promises::SHOP_PROMISES;
use crate::process::Interrupted;
use crate::report::{Promise, ROUNDS_MIN, Spread, readme};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::servers::Server;
use crate::session::Session;
use crate::tools::LoadPlan;
use crate::{pin, sales, scenarios};

/// The project's README, whose table of results the run updates.
const README: &str = "README.md";
/// Connections of the crowd: the number that known machines allow per process.
const CROWD: u32 = 15_000;
const CONNECTIONS: u32 = 64;
/// Requests in flight per connection in the pipelined scenarios, as in TechEmpower's test.
const PIPELINE: u32 = 16;
/// One in this number of requests of the mix buys.
const MIX_EVERY: u64 = 100;
/// Microseconds of polling before a due time in an open loop, where the generator has its own core.
const SPIN_US: u64 = 100;
/// Measurements of the capacity.
const CAPACITY_MEASUREMENTS: u32 = 5;
/// Rates of the open loops, as shares of the capacity.
const SHARES: [(f64, &str); 3] =
    [(0.5, scenario::OPEN_50), (0.7, scenario::OPEN_70), (0.9, scenario::OPEN_90)];
/// Rounds with the scenarios that take long and hardly vary.
const LONG_ROUNDS: u32 = ROUNDS_MIN;

/// Servers that answer rejections.
const REJECTING: [Server; 8] = [
    Server::Floor,
    Server::FloorUring,
    Server::MayMinihttp,
    Server::Axum,
    Server::Nginx,
    Server::NginxLua,
    Server::Article,
    Server::Stampede,
];
/// Servers of TechEmpower's tests.
const TECHEMPOWER: [Server; 6] = [
    Server::Floor,
    Server::FloorUring,
    Server::MayMinihttp,
    Server::Axum,
    Server::Nginx,
    Server::Stampede,
];
/// The floor and stampede.
const TWO: [Server; 2] = [Server::Floor, Server::Stampede];

/// The promises. Those on a shop's buyers come first.
pub static PROMISES: [Promise; SHOP_PROMISES.len() + RUN_PROMISES.len()] = {
    let mut all = [SHOP_PROMISES[0]; SHOP_PROMISES.len() + RUN_PROMISES.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = match at < SHOP_PROMISES.len() {
            true => SHOP_PROMISES[at],
            false => RUN_PROMISES[at - SHOP_PROMISES.len()],
        };
        at += 1;
    }
    all
};

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let common = &settings.common;
    let mut tools = vec!["wrk", "taskset", "redis-server"];
    tools.extend(chosen(settings, Server::value_variants()).flat_map(|server| server.tools()));
    let session = Session::open(common, "", settings.rounds, &tools, interrupted)?;
    let crowd = pin::connections(CROWD)?;
    let mut full = Full { settings, session, crowd, capacity: None };
    for round in 1..=settings.rounds {
        full.round(round)?;
    }
    full.finish()
}

/// `bench/run headline`: the crowd at default settings, with its stall and its neighbour.
pub fn headline(settings: &HeadlineSettings, interrupted: Interrupted) -> Result<()> {
    let groups = vec![Group::Headline, Group::Stall, Group::Neighbour];
    run(&settings.as_full(groups), interrupted)
}

/// The servers that the settings include.
fn chosen<'a>(settings: &'a Settings, servers: &'a [Server]) -> impl Iterator<Item = Server> + 'a {
    let wanted = &settings.servers;
    servers.iter().copied().filter(|server| wanted.is_empty() || wanted.contains(server))
}

struct Full<'a> {
    settings: &'a Settings,
    session: Session,
    crowd: u32,
    /// Last measured rejections/s of stampede on one core.
    capacity: Option<f64>,
}

impl<'a> Full<'a> {
    fn round(&mut self, round: u32) -> Result<()> {
        let wanted = |group| self.settings.only.is_empty() || self.settings.only.contains(&group);
        let long = round <= LONG_ROUNDS;
        let groups = Group::value_variants().iter().copied();
        for group in groups.filter(|&group| wanted(group)).collect::<Vec<_>>() {
            match group {
                Group::Rejections => self.rejections(round)?,
                Group::Pipelined => self.pipelined(round)?,
                Group::Connections => self.connection_each(round)?,
                Group::Techempower => self.techempower(round)?,
                Group::Sales => self.sales(round)?,
                Group::Shops => self.shops(round)?,
                Group::Refusals => self.refusals(round)?,
                Group::Hot => self.hot(round)?,
                Group::Mixed => self.mixed(round)?,
                Group::Headline if long => self.headline(round)?,
                Group::Neighbour => self.neighbour(round)?,
                Group::Stall if long => self.stall(round)?,
                Group::Storm if long => self.storm(round)?,
                Group::Crowd => self.crowd(round)?,
                Group::Cores => self.cores(round)?,
                Group::Open => self.open_loop(round)?,
                Group::Beside => self.beside(round)?,
                Group::Unix => self.unix(round)?,
                Group::Memory if long => self.memory(round)?,
                Group::Strangers if long => self.strangers(round)?,
                Group::Headline
                | Group::Stall
                | Group::Storm
                | Group::Memory
                | Group::Strangers => {}
                Group::Defined => self.defined(round)?,
                Group::Generators => self.generators(round)?,
            }
        }
        Ok(())
    }

    /// The servers that the settings include. Rounds rotate the order, so no server always follows the
    /// same one.
    fn order(&self, round: u32, servers: &[Server]) -> Vec<Server> {
        let mut order: Vec<Server> = chosen(self.settings, servers).collect();
        if !order.is_empty() {
            let first = (round as usize - 1) % order.len();
            order.rotate_left(first);
        }
        order
    }

    fn plan(&self) -> LoadPlan<'a> {
        let settings = self.settings;
        LoadPlan {
            cores: slice::from_ref(&settings.common.load_core),
            connections: CONNECTIONS,
            seconds: settings.seconds,
            ..LoadPlan::default()
        }
    }

    /// Measures rejections or another content by each server on its core.
    fn each(
        &mut self,
        round: u32,
        scenario: &'static str,
        servers: &[Server],
        content: Content,
        plan: &LoadPlan<'_>,
    ) -> Result<()> {
        for server in self.order(round, servers) {
            self.session.measure(round, scenario, server.name(), |lab| {
                let cores = [lab.server_core];
                measure::rejections(lab, server, content, &cores, plan)
            })?;
        }
        Ok(())
    }

    fn rejections(&mut self, round: u32) -> Result<()> {
        let plan = self.plan();
        self.each(round, scenario::KEEPALIVE, &REJECTING, Content::SoldOut, &plan)
    }

    fn pipelined(&mut self, round: u32) -> Result<()> {
        let plan = LoadPlan { pipeline: PIPELINE, ..self.plan() };
        self.each(round, scenario::PIPELINED, &REJECTING, Content::SoldOut, &plan)
    }

    fn connection_each(&mut self, round: u32) -> Result<()> {
        // `may_minihttp` never closes a connection on request.
        let servers: Vec<_> =
            REJECTING.into_iter().filter(|&server| server != Server::MayMinihttp).collect();
        let plan = LoadPlan { connection_each: true, ..self.plan() };
        self.each(round, scenario::CONNECTION_EACH, &servers, Content::SoldOut, &plan)
    }

    fn techempower(&mut self, round: u32) -> Result<()> {
        let pipelined = LoadPlan { pipeline: PIPELINE, ..self.plan() };
        self.each(round, scenario::PLAINTEXT, &TECHEMPOWER, Content::Plaintext, &pipelined)?;
        let plan = self.plan();
        self.each(round, scenario::JSON, &TECHEMPOWER, Content::Json, &plan)
    }

    fn mixed(&mut self, round: u32) -> Result<()> {
        let plan = self.plan();
        for server in self.order(round, &[Server::Stampede]) {
            self.session.measure(round, scenario::MIXED, server.name(), |lab| {
                crowd::mixed(lab, MIX_EVERY, &plan)
            })?;
        }
        Ok(())
    }

    fn stall(&mut self, round: u32) -> Result<()> {
        let plan = LoadPlan { connections: self.crowd, ..self.plan() };
        for server in self.order(round, &[Server::Stampede]) {
            let name = server.name();
            self.session.measure(round, scenario::STALL, name, |lab| crowd::stall(lab, &plan))?;
        }
        Ok(())
    }

    fn neighbour(&mut self, round: u32) -> Result<()> {
        use neighbour::Store;
        let plan = self.plan();
        for server in self.order(round, &[Server::Stampede]) {
            for (name, store) in [
                (scenario::NEIGHBOUR, Store::Redis),
                (scenario::NEIGHBOUR_EMBEDDED, Store::Embedded),
            ] {
                self.session.measure(round, name, server.name(), |lab| {
                    neighbour::measure(lab, store, &plan)
                })?;
            }
        }
        Ok(())
    }

    fn storm(&mut self, round: u32) -> Result<()> {
        let plan = LoadPlan { connections: self.crowd, ..self.plan() };
        for server in self.order(round, &[Server::Stampede]) {
            let name = server.name();
            self.session.measure(round, scenario::STORM, name, |lab| crowd::storm(lab, &plan))?;
        }
        Ok(())
    }

    fn crowd(&mut self, round: u32) -> Result<()> {
        for (name, connections) in [
            (scenario::CONNECTIONS_64, 64),
            (scenario::CONNECTIONS_1024, 1024),
            (scenario::CONNECTIONS_15000, self.crowd),
        ] {
            let plan = LoadPlan { connections, ..self.plan() };
            self.each(
                round,
                name,
                &[Server::Floor, Server::Nginx, Server::Stampede],
                Content::SoldOut,
                &plan,
            )?;
        }
        Ok(())
    }

    fn cores(&mut self, round: u32) -> Result<()> {
        let (server_core, load_core) = (self.session.lab.server_core, self.session.lab.load_core);
        let both = [server_core, load_core];
        for server in self.order(round, &[Server::Floor, Server::Nginx, Server::Stampede]) {
            for (name, cores) in [(scenario::CORES_1, &both[..1]), (scenario::CORES_2, &both[..])] {
                // The load uses both cores also with one server core, so it shares a core with the
                // server in both cases.
                let plan = LoadPlan { cores: &both, ..self.plan() };
                self.session.measure(round, name, server.name(), |lab| {
                    measure::rejections(lab, server, Content::SoldOut, cores, &plan)
                })?;
            }
        }
        Ok(())
    }

    fn open_loop(&mut self, round: u32) -> Result<()> {
        for (share, name) in SHARES {
            let rate = Some(self.capacity()? * share);
            let plan = LoadPlan { rate, spin_us: SPIN_US, ..self.plan() };
            self.each(round, name, &TWO, Content::SoldOut, &plan)?;
        }
        Ok(())
    }

    fn beside(&mut self, round: u32) -> Result<()> {
        for server in self.order(round, &[Server::Stampede]) {
            let rate = Some(self.capacity()? / 2.0);
            let plan = LoadPlan { rate, ..self.plan() };
            for (name, beside) in [
                (scenario::BESIDE_NOTHING, Beside::Nothing),
                (scenario::BESIDE_WAITING, Beside::Waiting),
            ] {
                self.session
                    .measure(round, name, server.name(), |lab| crowd::beside(lab, beside, &plan))?;
            }
        }
        Ok(())
    }

    /// Rejections/s of stampede on one core, measured once per run, so every round of an open loop has
    /// the same rate.
    fn capacity(&mut self) -> Result<f64> {
        if let Some(capacity) = self.capacity {
            return Ok(capacity);
        }
        let (plan, mut all) = (self.plan(), Vec::new());
        for _ in 0..CAPACITY_MEASUREMENTS {
            let lab = &mut self.session.lab;
            let cores = [lab.server_core];
            let figures =
                measure::rejections(lab, Server::Stampede, Content::SoldOut, &cores, &plan)?;
            let per_s = figures.into_iter().find(|(name, _)| *name == figure::REQUESTS_PER_S);
            all.extend(per_s.map(|(_, per_s)| per_s));
        }
        let Some(Spread { median, .. }) = Spread::of(all) else {
            return fail("no capacity was measured");
        };
        println!("capacity: {median:.0} rejections/s");
        self.capacity = Some(median);
        Ok(median)
    }

    fn unix(&mut self, round: u32) -> Result<()> {
        let plan = self.plan();
        for server in self.order(round, &[Server::Stampede]) {
            for (name, way) in [
                (scenario::TCP, Way::Tcp),
                (scenario::UNIX, Way::Unix),
                (scenario::NGINX_TCP, Way::NginxTcp),
                (scenario::NGINX_UNIX, Way::NginxUnix),
            ] {
                self.session.measure(round, name, server.name(), |lab| {
                    proxy::rejections(lab, way, &plan)
                })?;
            }
        }
        Ok(())
    }

    fn memory(&mut self, round: u32) -> Result<()> {
        let connections = self.crowd;
        for server in self.order(round, &REJECTING) {
            self.session.measure(round, scenario::IDLE, server.name(), |lab| {
                let (content, cores) = (Content::SoldOut, [lab.server_core]);
                let (served, _redis) = measure::serve_sold_out(lab, server, content, &cores)?;
                scenarios::idle_connections(lab, &served, connections)
            })?;
        }
        Ok(())
    }

    fn strangers(&mut self, round: u32) -> Result<()> {
        let plan = self.plan();
        for server in self.order(round, &[Server::Stampede]) {
            let (name, mut sink) = (server.name(), Figures::new());
            self.session.measure(round, scenario::STRANGERS, name, |lab| {
                let (figures, against_sink) = strangers::attacked(lab, round % 2 == 1, &plan)?;
                sink = against_sink;
                Ok(figures)
            })?;
            self.session.measure(round, scenario::STRANGERS, scenario::SINK, |_| Ok(sink))?;
            self.session.measure(round, scenario::LIVEZ_BUSY, name, |lab| {
                strangers::livez_busy(lab, &plan)
            })?;
            for (scenario, beside) in
                [(scenario::PIPELINERS_NONE, false), (scenario::PIPELINERS_500, true)]
            {
                self.session.measure(round, scenario, name, |lab| {
                    strangers::pipeliners(lab, beside, &plan)
                })?;
            }
        }
        Ok(())
    }

    fn defined(&mut self, round: u32) -> Result<()> {
        let seconds = self.settings.seconds;
        if self.order(round, &[Server::Stampede]).is_empty() {
            return Ok(());
        }
        for (sales, name) in [(1, "1_sale"), (10_000, "10000_sales")] {
            self.session.measure(round, scenario::DEFINED, name, |lab| {
                sales::measure(lab, sales::What::Rejections, sales, true, seconds)
            })?;
        }
        Ok(())
    }

    /// Measures both load generators against the floor, which has the highest limit.
    fn generators(&mut self, round: u32) -> Result<()> {
        let plan = self.plan();
        for server in self.order(round, &[Server::Floor]) {
            self.session.measure(round, scenario::GENERATORS, "load", |lab| {
                let cores = [lab.server_core];
                measure::rejections(lab, server, Content::SoldOut, &cores, &plan)
            })?;
            self.session.measure(round, scenario::GENERATORS, "wrk", |lab| {
                measure::rejections_by_wrk(lab, server, &plan)
            })?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        let Settings { rounds, seconds, common, .. } = self.settings;
        let text = format!(
            "\nServers ran on core {}; the load generator, Redis and PostgreSQL ran on core {}.{}\n",
            common.server_core,
            common.load_core,
            self.capacity.map_or_else(String::new, |capacity| format!(
                " The capacity for the open loops is {capacity:.0} requests/s."
            ))
        );
        let what = format!("{rounds} rounds of {seconds} s");
        self.session.finish(&what, &text, &PROMISES)?;
        // A partial run would leave lines out of the README's table.
        let whole = self.settings.only.is_empty() && self.settings.servers.is_empty();
        if whole && !self.settings.keep_readme {
            let (rows, layout) = (self.session.rows(), &self.session.layout);
            readme::refresh(Path::new(README), rows, layout, &self.session.out)?;
        }
        Ok(())
    }
}
