//! One measurement with the load generator: start a server, see that it answers as it should, warm
//! it up, load it, and read what it used.
//!
//! CPU per request is what the server's processes used from the first request until the last answer was
//! read, divided by the requests that were answered in between, which are all that were sent. The
//! load generator reads it itself (`--watch`): connections are opened before and closed after.

use std::time::Duration;

use crate::answer::{Answer, Content};
use crate::error::{Result, fail};
use crate::lab::{Lab, Redis, Served};
use crate::process;
use crate::rows::figure;
use crate::scenarios::{self, Figures, TOTAL_TINY, WARM_UP_SECONDS};
use crate::servers::{Ledger, Server, Setup};
use crate::tools::{LoadPlan, LoadReport, read_load, read_wrk, wrk};

/// Until a server has done with what the warm-up left behind: connections that were closed, batches.
const SETTLE: Duration = Duration::from_millis(200);
/// A load of so many requests, and not of a time, takes at most this.
const REQUESTS_DEADLINE_SECONDS: u64 = 240;

/// A load, and what the server used in it.
pub struct Measured {
    /// What the load generator saw.
    pub load: LoadReport,
    /// CPU of the server, all of it, in microseconds.
    pub server_us: f64,
    /// The part of it in user space.
    pub user_us: f64,
}

impl Measured {
    /// The figures of requests, whatever their answers.
    pub fn figures(&self) -> Figures {
        let Self { load, server_us, user_us } = self;
        let (requests, latency) = (load.requests as f64, &load.latency_us);
        vec![
            (figure::REQUESTS, requests),
            (figure::REQUESTS_PER_S, load.requests_per_s),
            (figure::SERVER_CPU_US, server_us / requests),
            (figure::SERVER_USER_US, user_us / requests),
            (figure::LATENCY_P50_US, latency.p50),
            (figure::LATENCY_P90_US, latency.p90),
            (figure::LATENCY_P99_US, latency.p99),
            (figure::LATENCY_P999_US, latency.p999),
            (figure::LATENCY_P9999_US, latency.p9999),
            (figure::LATENCY_MAX_US, latency.max),
            (figure::GENERATOR_CPU_US, load.generator_cpu_us),
            (figure::GENERATOR_BUSY, load.generator_busy),
            (figure::LATE_P999_US, load.late_us.p999),
        ]
    }

    /// The figures of sales: of all requests, if each of them bought.
    pub fn sale_figures(&self) -> Figures {
        let sales = self.load.granted as f64;
        let mut figures = self.figures();
        figures.push((figure::SALES, sales));
        figures.push((figure::SALES_PER_S, sales / self.load.seconds));
        figures
    }
}

/// Loads a server that is there.
pub fn under_load(lab: &mut Lab, served: &Served, plan: &LoadPlan<'_>) -> Result<Measured> {
    load(lab, served, &served.to(), plan)
}

/// Loads a server that is there through another address than its own.
pub fn load(lab: &mut Lab, served: &Served, to: &str, plan: &LoadPlan<'_>) -> Result<Measured> {
    let plan = LoadPlan { watch: Some(served.process.id()), ..*plan };
    let line = lab.programs.load(&plan, to);
    let deadline = plan.requests.map_or(plan.seconds, |_| REQUESTS_DEADLINE_SECONDS);
    let load = read_load(&lab.load(&line, deadline)?)?;
    if load.requests == 0 {
        return fail("not one request was answered");
    }
    match (load.watched_cpu_us, load.watched_user_us) {
        (Some(server_us), Some(user_us)) => Ok(Measured { load, server_us, user_us }),
        _ => fail("the load generator did not read what the server used"),
    }
}

/// The same load for a second, as fast as it goes.
pub fn warm_up(lab: &mut Lab, served: &Served, plan: &LoadPlan<'_>) -> Result<()> {
    let plan = LoadPlan { seconds: WARM_UP_SECONDS, requests: None, rate: None, ..*plan };
    under_load(lab, served, &plan)?;
    lab.settle(SETTLE)
}

/// Starts a server that has nothing to sell any more, and what it needs for that.
pub fn serve_sold_out(
    lab: &mut Lab,
    server: Server,
    content: Content,
    cores: &[usize],
) -> Result<(Served, Option<Redis>)> {
    // The article's server is nothing without its Redis, also when it says no.
    let redis = (server == Server::Article).then(|| lab.redis()).transpose()?;
    let ledger = redis.as_ref().map_or(Ledger::None, |redis| Ledger::Redis(redis.address));
    let setup = Setup { cores, content, ledger, total: TOTAL_TINY, options: &[], tls: None };
    let served = lab.serve(server, &setup)?;
    if content == Content::SoldOut {
        served.expect(Answer::SoldOut)?;
    }
    Ok((served, redis))
}

/// A server that has nothing to sell any more (or answers plaintext or JSON), warmed up and loaded.
pub fn rejections(
    lab: &mut Lab,
    server: Server,
    content: Content,
    cores: &[usize],
    plan: &LoadPlan<'_>,
) -> Result<Figures> {
    let (served, _redis) = serve_sold_out(lab, server, content, cores)?;
    let plan = LoadPlan { target: content.target(), expect: content.name(), ..*plan };
    warm_up(lab, &served, &plan)?;
    Ok(under_load(lab, &served, &plan)?.figures())
}

/// The same rejections with `wrk`'s load, and what that used.
pub fn rejections_by_wrk(lab: &mut Lab, server: Server, plan: &LoadPlan<'_>) -> Result<Figures> {
    let served = scenarios::sold_out(lab, server)?;
    by_wrk(lab, &served, plan)
}

/// Loads a server that is there with `wrk`, after a warm-up.
pub fn by_wrk(lab: &mut Lab, served: &Served, plan: &LoadPlan<'_>) -> Result<Figures> {
    scenarios::warm_up(lab, served, plan.connections)?;
    let line = wrk(lab.load_core, plan.connections, plan.seconds, &served.to());
    let (before, used) = (served.process.cpu()?, process::ended_children_us()?);
    let load = read_wrk(&lab.load(&line, plan.seconds)?)?;
    let (server_us, user_us) = served.process.cpu()?.us_since(before);
    let used = process::ended_children_us()? - used;
    let requests = load.requests as f64;
    let mut figures = scenarios::rejection_figures(load, server_us, user_us);
    figures.push((figure::GENERATOR_CPU_US, used / requests));
    Ok(figures)
}
