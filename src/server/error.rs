//! Why a server ends.

use std::io;
use std::net::SocketAddr;

use super::watchdog::Stuck;
use crate::config::Listen;
use crate::ledger::embedded::OpenError;
use crate::tls::TlsProblem;

/// Why the server ends other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address or a path can't be listened on.
    #[error("--listen {address}: {error}{hint}")]
    Listen {
        /// The address.
        address: Listen,
        /// What the system says.
        error: io::Error,
        /// What would help.
        hint: &'static str,
    },
    /// A file of TLS can't be used.
    #[error("--{} {}: {}", .0.setting, .0.file.display(), .0.problem)]
    Tls(TlsProblem),
    /// The embedded ledger can't be opened.
    #[error("--ledger embedded: {0}")]
    Embedded(#[from] OpenError),
    /// Redis refuses us.
    #[error("--ledger {url}: {reason}")]
    Redis {
        /// Without its password.
        url: String,
        /// What Redis says.
        reason: String,
    },
    /// The control port can't be had.
    #[error("--control {address}: {error}{hint}")]
    Control {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
        /// What would help.
        hint: &'static str,
    },
    /// The embedded ledger can't commit any more; the log says why.
    #[error(
        "the ledger has failed (the log says why): start again, so that it reads what is on the disk"
    )]
    LedgerFailed,
    /// The embedded ledger is behind its orders.
    #[error("--orders: {0}")]
    Orders(String),
    /// The stat log can't be written.
    #[error("--stat-log: {0}")]
    StatLog(io::Error),
    /// What was passed to this process is not what it can listen on.
    #[error("passed listening sockets: {0}")]
    Passed(io::Error),
    /// The server that was to give way to this one did not.
    #[error("not taken over from the running server: {0}")]
    NotTakenOver(String),
    /// A core can't be started, or the system refuses something else we need.
    #[error("the server can't start: {0}")]
    Start(#[from] io::Error),
    /// A core lacks one of its parts.
    #[error("{0}; the log says why; start again")]
    Failed(io::Error),
    /// A core runs no more.
    #[error("core {0} is stuck: it has not run for {1} s; start again")]
    Stuck(usize, u32),
    /// A second signal came while it drained.
    #[error("ended by a second signal, without waiting for open connections")]
    Interrupted,
}

impl RunError {
    /// Whether something is stuck or broken for which a destructor could wait.
    pub(super) fn is_beyond_repair(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Stuck(..) | Self::LedgerFailed)
    }
}

impl From<Stuck> for RunError {
    fn from(stuck: Stuck) -> Self {
        Self::Stuck(stuck.core, stuck.seconds)
    }
}
