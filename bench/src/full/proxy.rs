//! The ways to a server: over TCP or a Unix socket, directly or through an nginx on the load's core.

use crate::answer::{Answer, Content};
use crate::error::Result;
use crate::full::measure::{load, warm_up};
use crate::lab::Lab;
use crate::rows::figure;
use crate::scenarios::{Figures, TOTAL_TINY};
use crate::servers::{Ledger, Server, Setup};
use crate::tools::LoadPlan;

/// The ways to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// TCP.
    Tcp,
    /// A Unix socket.
    Unix,
    /// Through nginx, which connects over TCP.
    NginxTcp,
    /// Through nginx, which connects over a Unix socket.
    NginxUnix,
}

/// Measures rejections of a stampede over this way. CPU is the server's. nginx's CPU is a separate
/// figure.
pub fn rejections(lab: &mut Lab, way: Way, plan: &LoadPlan<'_>) -> Result<Figures> {
    // A short path of its own, because the address of a Unix socket is short.
    let folder = tempfile::tempdir()?;
    let socket = format!("unix:{}", folder.path().join("socket").display());
    let (cores, content, ledger) = ([lab.server_core], Content::SoldOut, Ledger::None);
    let options = ["--listen", &*socket];
    let setup =
        Setup { cores: &cores, content, ledger, total: TOTAL_TINY, options: &options, tls: None };
    let served = lab.serve(Server::Stampede, &setup)?;
    served.expect(Answer::SoldOut)?;

    let plan = LoadPlan { expect: content.name(), ..*plan };
    let upstream = match way {
        Way::Tcp | Way::NginxTcp => served.address.to_string(),
        Way::Unix | Way::NginxUnix => socket,
    };
    if matches!(way, Way::Tcp | Way::Unix) {
        warm_up(lab, &served, &plan)?;
        return Ok(load(lab, &served, &upstream, &plan)?.figures());
    }
    let proxy = lab.proxy(lab.load_core, &upstream, None)?;
    warm_up(lab, &proxy, &plan)?;
    let before = proxy.process.cpu()?;
    let measured = load(lab, &served, &proxy.address.to_string(), &plan)?;
    let (proxy_us, _) = proxy.process.cpu()?.us_since(before);
    let mut figures = measured.figures();
    figures.push((figure::PROXY_CPU_US, proxy_us / measured.load.requests as f64));
    Ok(figures)
}
