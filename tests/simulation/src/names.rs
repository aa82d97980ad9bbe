//! Names of the parts of a world. A part that starts again has another name, so that what was meant
//! for the earlier one does not reach it.

use std::fmt;

use crate::call::CallId;

/// One core of one start of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId {
    /// The number of the server, from 0.
    pub server: usize,
    /// The number of this start of the server, from 1.
    pub start: u32,
    /// The number of the core, from 0.
    pub core: usize,
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {}.{} (start {})", self.server, self.core, self.start)
    }
}

/// Who sends commands to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sender {
    /// The link of a core.
    Link(CoreId),
    /// The sweep of a server.
    Sweep {
        /// The number of the server.
        server: usize,
        /// The number of this start of the server, from 1.
        start: u32,
    },
    /// An operator, for one command. The number is that of the command, from 1.
    Operator(u32),
}

impl Sender {
    /// The server that it belongs to. `None`: it is on another machine.
    pub fn server(self) -> Option<usize> {
        match self {
            Self::Link(core) => Some(core.server),
            Self::Sweep { server, .. } => Some(server),
            Self::Operator(_) => None,
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(core) => write!(f, "link of {core}"),
            Self::Sweep { server, start } => write!(f, "sweep of server {server} (start {start})"),
            Self::Operator(number) => write!(f, "operator {number}"),
        }
    }
}

/// A connection to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Line {
    /// Who opened it.
    pub sender: Sender,
    /// Its number among the connections of its sender.
    pub session: u32,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, session {}", self.sender, self.session)
    }
}

/// A connection. Each attempt of a client has one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    /// From a client to a core.
    Call(CallId),
    /// To the ledger.
    Line(Line),
}
