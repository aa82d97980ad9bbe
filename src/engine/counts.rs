//! Counters of a core's connections, for operators.

use super::http::Kind;
use crate::count::{Counter, Gauge};

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed it, or it broke.
    Client,
    /// It was closed after an answer: the client asked for that, the request could not be framed,
    /// or the server is leaving.
    Answered,
    /// It was idle between two requests for too long, or when the server drained.
    Idle,
    /// A head, a body or a handshake took too long, or the client did not read its answers.
    Timeout,
    /// Connections ran out, and its address had most.
    Evicted,
    /// All connections were taken when it came.
    Refused,
    /// Its address had the maximum number of connections.
    AddressLimit,
    /// It did not begin as its listener requires: with TLS, or the PROXY protocol.
    Protocol,
    /// More connections waited for their handshake than the core can serve in time.
    Handshakes,
    /// It can't be watched, or its handler panicked.
    Internal,
}

impl CloseReason {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::Client,
        Self::Answered,
        Self::Idle,
        Self::Timeout,
        Self::Evicted,
        Self::Refused,
        Self::AddressLimit,
        Self::Protocol,
        Self::Handshakes,
        Self::Internal,
    ];

    /// The reason for a connection that was refused with this problem.
    pub(super) fn refused(kind: &Kind) -> Self {
        if kind == Kind::TOO_MANY_CONNECTIONS { Self::AddressLimit } else { Self::Refused }
    }

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Answered => "answered",
            Self::Idle => "idle",
            Self::Timeout => "timeout",
            Self::Evicted => "gave_way",
            Self::Refused => "refused",
            Self::AddressLimit => "address_limit",
            Self::Protocol => "protocol",
            Self::Handshakes => "handshakes",
            Self::Internal => "internal",
        }
    }
}

/// See the module's header.
#[derive(Debug, Default)]
pub struct Counts {
    /// Accepted connections, including the refused ones.
    pub accepted: Counter,
    /// Requests that were complete, or that could not be framed.
    pub requests: Counter,
    /// Bytes received from clients as they came: with TLS, records.
    pub received_bytes: Counter,
    /// Bytes sent to clients.
    pub sent_bytes: Counter,
    /// Completed TLS handshakes.
    pub handshakes: Counter,
    /// CPU time that the core's thread has used, in microseconds, as of the last tick.
    pub cpu_us: Gauge,
    /// Closed connections by reason: see [`CloseReason`].
    pub ended: [Counter; CloseReason::ALL.len()],
}

impl Counts {
    /// Counts a closed connection.
    pub(super) fn end(&self, why: CloseReason) {
        self.ended[why as usize].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_close_reason_has_its_own_counter_and_name() {
        let counts = Counts::default();
        CloseReason::ALL.iter().for_each(|&why| counts.end(why));
        assert!(counts.ended.iter().all(|counter| counter.get() == 1));
        let names: std::collections::HashSet<_> =
            CloseReason::ALL.iter().map(|why| why.name()).collect();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}
