//! What a core counts of its connections, for operators.

use super::http::Kind;
use crate::count::{Counter, Gauge};

/// Why a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client closed it, or it broke.
    Client,
    /// It was closed with an answer: as the client asked, since the request could not be framed, or
    /// since the server leaves.
    Answered,
    /// It was silent between two requests for too long, or when the server drained.
    Idle,
    /// A head, a body or a handshake took too long, or its answers were not taken.
    Timeout,
    /// Places ran out, and its address had most.
    GaveWay,
    /// It got no place.
    Refused,
    /// Its address had as many as it may.
    AddressLimit,
    /// It did not begin as its listener wants: without TLS, or the PROXY protocol.
    Protocol,
    /// More wait for their handshake than can be made in time.
    Handshakes,
    /// It can't be watched, or its handler panicked.
    Internal,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Client,
        Self::Answered,
        Self::Idle,
        Self::Timeout,
        Self::GaveWay,
        Self::Refused,
        Self::AddressLimit,
        Self::Protocol,
        Self::Handshakes,
        Self::Internal,
    ];

    /// That of a connection that is refused for this.
    pub(super) fn refused(kind: &Kind) -> Self {
        if kind == Kind::TOO_MANY_CONNECTIONS { Self::AddressLimit } else { Self::Refused }
    }

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Answered => "answered",
            Self::Idle => "idle",
            Self::Timeout => "timeout",
            Self::GaveWay => "gave_way",
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
    /// Connections that were accepted, those without a place among them.
    pub accepted: Counter,
    /// Requests that were whole, or that could not be framed.
    pub requests: Counter,
    /// Bytes that clients have sent, as they came: with TLS, records.
    pub received_bytes: Counter,
    /// Bytes that clients were sent.
    pub sent_bytes: Counter,
    /// Handshakes that have ended well.
    pub handshakes: Counter,
    /// CPU time that its thread has used, in microseconds, as of the last tick.
    pub cpu_us: Gauge,
    /// Connections by why they ended: see [`End`].
    pub ended: [Counter; End::ALL.len()],
}

impl Counts {
    /// A connection has ended.
    pub(super) fn end(&self, why: End) {
        self.ended[why as usize].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_counter_and_a_name_of_its_own() {
        let counts = Counts::default();
        End::ALL.iter().for_each(|&why| counts.end(why));
        assert!(counts.ended.iter().all(|counter| counter.get() == 1));
        let names: std::collections::HashSet<_> = End::ALL.iter().map(|why| why.name()).collect();
        assert_eq!(names.len(), End::ALL.len());
    }
}
