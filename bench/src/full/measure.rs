//! One measurement with the load generator: start a server, check its answer, warm it up, load it, and
//! read its CPU.
//!
//! CPU per request is the CPU of the server's processes from the first request to the last answer,
//! divided by the number of answers in between. The load generator reads the CPU itself (`--watch`).
//! It opens connections before and closes them after.

use std::time::Duration;

use crate::answer::{Answer, Content};
use crate::error::{Result, fail};
use crate::lab::{Lab, Redis, Served};
use crate::process;
use crate::rows::figure;
use crate::scenarios::{self, Figures, TOTAL_TINY, WARM_UP_SECONDS};
use crate::servers::{Ledger, Server, Setup};
use crate::tools::{LoadPlan, LoadReport, read_load, read_wrk, wrk};

/// Time for a server to finish the warm-up's closed connections and batches.
const SETTLE: Duration = Duration::from_millis(200);
/// Deadline of a load that ends by its number of requests.
const REQUESTS_DEADLINE_SECONDS: u64 = 240;

/// A load, and the CPU of the server during it.
pub struct Measured {
    /// The report of the load generator.
    pub load: LoadReport,
    /// CPU of the server in user space and kernel, in microseconds.
    pub server_us: f64,
    /// CPU of the server in user space, in microseconds.
    pub user_us: f64,
}

impl Measured {
    /// The figures of requests, independent of their answers.
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

    /// The figures of sales, if each request bought.
    pub fn sale_figures(&self) -> Figures {
        let sales = self.load.granted as f64;
        let mut figures = self.figures();
        figures.push((figure::SALES, sales));
        figures.push((figure::SALES_PER_S, sales / self.load.seconds));
        figures
    }
}

/// Loads a running server.
pub fn under_load(lab: &mut Lab, served: &Served, plan: &LoadPlan<'_>) -> Result<Measured> {
    load(lab, served, &served.to(), plan)
}

/// Loads a running server through another address.
pub fn load(lab: &mut Lab, served: &Served, to: &str, plan: &LoadPlan<'_>) -> Result<Measured> {
    let plan = LoadPlan { watch: Some(served.process.id()), ..*plan };
    let line = lab.programs.load(&plan, to);
    let deadline = plan.requests.map_or(plan.seconds, |_| REQUESTS_DEADLINE_SECONDS);
    let load = read_load(&lab.load(&line, deadline)?)?;
    if load.requests == 0 {
        return fail("no request got an answer");
    }
    match (load.watched_cpu_us, load.watched_user_us) {
        (Some(server_us), Some(user_us)) => Ok(Measured { load, server_us, user_us }),
        _ => fail("the load generator did not read the CPU of the server"),
    }
}

/// Sends the same load for a second, as fast as possible.
pub fn warm_up(lab: &mut Lab, served: &Served, plan: &LoadPlan<'_>) -> Result<()> {
    let plan = LoadPlan { seconds: WARM_UP_SECONDS, requests: None, rate: None, ..*plan };
    under_load(lab, served, &plan)?;
    lab.settle(SETTLE)
}

/// Starts a sold-out server, and the Redis that it needs.
pub fn serve_sold_out(
    lab: &mut Lab,
    server: Server,
    content: Content,
    cores: &[usize],
) -> Result<(Served, Option<Redis>)> {
    // The article's server needs its Redis even to reject.
    let redis = (server == Server::Article).then(|| lab.redis()).transpose()?;
    let ledger = redis.as_ref().map_or(Ledger::None, |redis| Ledger::Redis(redis.address));
    let setup = Setup { cores, content, ledger, total: TOTAL_TINY, options: &[], tls: None };
    let served = lab.serve(server, &setup)?;
    if content == Content::SoldOut {
        served.expect(Answer::SoldOut)?;
    }
    Ok((served, redis))
}

/// Measures a sold-out server (or plaintext, or JSON) after a warm-up.
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

/// Measures the same rejections with `wrk`, and the CPU of `wrk`.
pub fn rejections_by_wrk(lab: &mut Lab, server: Server, plan: &LoadPlan<'_>) -> Result<Figures> {
    let served = scenarios::sold_out(lab, server)?;
    by_wrk(lab, &served, plan)
}

/// Loads a running server with `wrk` after a warm-up.
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
