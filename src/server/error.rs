//! Why a server ends.

use std::io;
use std::net::SocketAddr;

use super::watchdog::Stuck;
use crate::config::Listen;
use crate::ledger::embedded::OpenError;
use crate::tls::TlsProblem;

/// Why the server ends, unless it was stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Listening on an address or a path failed.
    #[error("--listen {address}: {error}{hint}")]
    Listen {
        /// The address.
        address: Listen,
        /// The system's error.
        error: io::Error,
        /// Advice.
        hint: &'static str,
    },
    /// A TLS file is not usable.
    #[error("--{} {}: {}", .0.setting, .0.file.display(), .0.problem)]
    Tls(TlsProblem),
    /// The embedded ledger can't be opened.
    #[error("--ledger embedded: {0}")]
    Embedded(#[from] OpenError),
    /// Redis refuses the server.
    #[error("--ledger {url}: {reason}")]
    Redis {
        /// Without its password.
        url: String,
        /// Redis' error.
        reason: String,
    },
    /// The control port failed to start.
    #[error("--control {address}: {error}{hint}")]
    Control {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: io::Error,
        /// Advice.
        hint: &'static str,
    },
    /// The embedded ledger can't commit any more; the log has the reason.
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
    /// An inherited socket is not one to listen on.
    #[error("passed listening sockets: {0}")]
    InheritedSockets(io::Error),
    /// The predecessor did not hand over.
    #[error("not taken over from the running server: {0}")]
    NotTakenOver(String),
    /// A core can't be started, or the system refuses another resource.
    #[error("the server can't start: {0}")]
    Start(#[from] io::Error),
    /// A core has lost one of its coroutines.
    #[error("{0}; the log says why; start again")]
    Failed(io::Error),
    /// A core does not tick.
    #[error("core {0} is stuck: it has not run for {1} s; start again")]
    Stuck(usize, u32),
    /// A second signal came during the drain.
    #[error("ended by a second signal, without waiting for open connections")]
    Interrupted,
}

impl RunError {
    /// Whether a destructor might wait for something stuck or broken.
    pub(super) fn is_beyond_repair(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Stuck(..) | Self::LedgerFailed)
    }
}

impl From<Stuck> for RunError {
    fn from(stuck: Stuck) -> Self {
        Self::Stuck(stuck.core, stuck.seconds)
    }
}
