//! One measurement over TLS.

use tempfile::TempDir;

use crate::answer::{Answer, Content};
use crate::error::{Result, fail};
use crate::full::measure::{Measured, by_wrk, load, under_load, warm_up};
use crate::lab::{Lab, Served};
use crate::rows::figure;
use crate::scenarios::{self, Figures, TOTAL_HUGE, TOTAL_TINY};
use crate::secure::Certificate;
use crate::servers::{Ledger, Server, Setup};
use crate::shop;
use crate::tools::LoadPlan;

const USERS: &str = "usr";
/// Prefix of the warm-up's users, which the measurement does not use.
const USERS_OF_WARM_UP: &str = "wrm";

/// A measured server or chain of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The bare epoll loop over the same rustls.
    Floor,
    /// nginx, which answers from its configuration.
    Nginx,
    /// axum over the same rustls.
    Axum,
    /// nginx, which terminates TLS for stampede, over a Unix socket.
    NginxBefore,
    /// nginx, which passes TLS on to stampede with the PROXY protocol.
    NginxStream,
    /// stampede without TLS.
    Plain,
    /// stampede.
    Stampede,
}

impl Subject {
    /// All.
    pub const ALL: [Self; 7] = [
        Self::Floor,
        Self::Nginx,
        Self::Axum,
        Self::NginxBefore,
        Self::NginxStream,
        Self::Plain,
        Self::Stampede,
    ];
    /// Servers that terminate TLS and answer.
    pub const ENDS_TLS: [Self; 4] = [Self::Floor, Self::Nginx, Self::Axum, Self::Stampede];
    /// Subjects that sell.
    pub const SELLING: [Self; 3] = [Self::NginxBefore, Self::Plain, Self::Stampede];

    /// Its name in every table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Nginx => "nginx",
            Self::Axum => "axum",
            Self::NginxBefore => "nginx_before",
            Self::NginxStream => "nginx_stream",
            Self::Plain => "stampede_plain",
            Self::Stampede => "stampede",
        }
    }

    fn server(self) -> Server {
        match self {
            Self::Floor => Server::Floor,
            Self::Nginx => Server::Nginx,
            Self::Axum => Server::Axum,
            Self::NginxBefore | Self::NginxStream | Self::Plain | Self::Stampede => {
                Server::Stampede
            }
        }
    }
}

/// A chain of servers, from front to back.
pub struct Chain {
    /// The server that takes the connections.
    pub front: Served,
    /// The server behind it, if any.
    behind: Option<Served>,
    /// The folder of its socket.
    _folder: Option<TempDir>,
}

/// Starts the subject, with a sale of this number of tickets.
pub fn serve(
    lab: &mut Lab,
    subject: Subject,
    certificate: &Certificate,
    (ledger, total): (Ledger, u64),
    options: &[&str],
) -> Result<Chain> {
    let cores = [lab.server_core];
    let content = Content::SoldOut;
    let setup = Setup { cores: &cores, content, ledger, total, options, tls: Some(certificate) };
    match subject {
        Subject::NginxBefore => {
            // A short path of its own, because the address of a Unix socket is short.
            let folder = TempDir::new()?;
            let socket = format!("unix:{}", folder.path().join("socket").display());
            let options = [&["--listen", &*socket], options].concat();
            let setup = Setup { options: &options, tls: None, ..setup };
            let server = lab.serve(subject.server(), &setup)?;
            let front = lab.proxy(lab.server_core, &socket, Some(certificate))?;
            Ok(Chain { front, behind: Some(server), _folder: Some(folder) })
        }
        Subject::NginxStream => {
            let trust = ["--proxy-protocol", "--trusted-proxies", "127.0.0.1"];
            let options = [&trust[..], options].concat();
            let server = lab.serve(subject.server(), &Setup { options: &options, ..setup })?;
            let front = lab.pass_on(lab.server_core, &server.address.to_string())?;
            Ok(Chain { front, behind: Some(server), _folder: None })
        }
        Subject::Plain => {
            let front = lab.serve(subject.server(), &Setup { tls: None, ..setup })?;
            Ok(Chain { front, behind: None, _folder: None })
        }
        _ => {
            let front = lab.serve(subject.server(), &setup)?;
            Ok(Chain { front, behind: None, _folder: None })
        }
    }
}

impl Chain {
    /// Loads the chain. CPU is that of all its servers.
    pub fn under_load(&self, lab: &mut Lab, plan: &LoadPlan<'_>) -> Result<Measured> {
        let Some(server) = &self.behind else { return under_load(lab, &self.front, plan) };
        let before = self.front.process.cpu()?;
        let mut measured = load(lab, server, &self.front.to(), plan)?;
        let (all_us, user_us) = self.front.process.cpu()?.us_since(before);
        measured.server_us += all_us;
        measured.user_us += user_us;
        Ok(measured)
    }
}

/// Starts the subject with a sold-out sale.
pub fn sold_out(lab: &mut Lab, subject: Subject, certificate: &Certificate) -> Result<Chain> {
    let chain = serve(lab, subject, certificate, (Ledger::None, TOTAL_TINY), &[])?;
    chain.front.expect(Answer::SoldOut)?;
    Ok(chain)
}

/// Rejections.
pub fn rejections(
    lab: &mut Lab,
    subject: Subject,
    certificate: &Certificate,
    plan: &LoadPlan<'_>,
) -> Result<Figures> {
    let chain = sold_out(lab, subject, certificate)?;
    let plan = LoadPlan { expect: Content::SoldOut.name(), ..*plan };
    warm_up(lab, &chain.front, &plan)?;
    let measured = chain.under_load(lab, &plan)?;
    check_handshakes(&measured, subject, &plan)?;
    Ok(measured.figures())
}

/// Checks that handshakes were full or resumed as planned.
fn check_handshakes(measured: &Measured, subject: Subject, plan: &LoadPlan<'_>) -> Result<()> {
    let (made, resumed) = (measured.load.handshakes, measured.load.resumed);
    let wanted = match plan.connection_each {
        _ if subject == Subject::Plain => 0,
        true => measured.load.requests,
        false => u64::from(plan.connections),
    };
    // The first connection of each slot has no ticket.
    let without = u64::from(plan.connections);
    let right = if plan.resume { resumed + without >= made } else { resumed == 0 };
    if made < wanted || !right {
        return fail(format!("{made} handshakes of {wanted} connections, {resumed} resumed"));
    }
    Ok(())
}

/// Measures the floor's rejections with `wrk`, and the CPU of `wrk`.
pub fn rejections_by_wrk(
    lab: &mut Lab,
    certificate: &Certificate,
    plan: &LoadPlan<'_>,
) -> Result<Figures> {
    let Chain { front, .. } = sold_out(lab, Subject::Floor, certificate)?;
    by_wrk(lab, &front, plan)
}

/// Measures purchases by users with keys in a sale with one ticket per user. Checks that Redis has
/// sold what the buyers got.
pub fn sales(
    lab: &mut Lab,
    subject: Subject,
    certificate: &Certificate,
    plan: &LoadPlan<'_>,
) -> Result<Figures> {
    let mut redis = lab.redis()?;
    let ledger = (Ledger::Redis(redis.address), TOTAL_HUGE);
    let chain = serve(lab, subject, certificate, ledger, &[])?;
    chain.front.expect(Answer::Granted)?;
    let (target, expect) = (shop::TARGET, "granted");
    let users = Some(USERS);
    let plan = LoadPlan { target, expect, users, keys: true, ..*plan };
    warm_up(lab, &chain.front, &LoadPlan { users: Some(USERS_OF_WARM_UP), ..plan })?;
    let before = redis.sold()?;
    let redis_before = redis.process.cpu()?;
    let measured = chain.under_load(lab, &plan)?;
    let (redis_us, _) = redis.process.cpu()?.us_since(redis_before);
    let (told, sold) = (measured.load.granted, redis.sold()? - before);
    if told != sold {
        return fail(format!("buyers got {told} tickets, but Redis sold {sold}"));
    }
    let mut figures = measured.sale_figures();
    figures.push((figure::REDIS_CPU_US, redis_us / told as f64));
    Ok(figures)
}

/// Measures the memory of idle connections after one answer each.
pub fn idle(
    lab: &mut Lab,
    subject: Subject,
    certificate: &Certificate,
    connections: u32,
) -> Result<Figures> {
    let Chain { front, .. } = sold_out(lab, subject, certificate)?;
    scenarios::idle_connections(lab, &front, connections)
}
