//! Logs load that was turned away: one line per cause and interval, with the count.
//!
//! The cores count for `/metrics`; the log reads these counters, so it costs the cores nothing.

use std::time::{Duration, Instant};

use crate::engine::core::Engine;
use crate::engine::counts::CloseReason;
use crate::limits::LOG_REPEAT_MS;
use crate::purchase::Selling;
use crate::status::Status;

/// Why load was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Full,
    AddressLimit,
    Evicted,
    Handshakes,
    Busy,
}

const CAUSES: [Cause; 5] =
    [Cause::Full, Cause::AddressLimit, Cause::Evicted, Cause::Handshakes, Cause::Busy];

/// See the module's header.
#[derive(Default)]
pub(super) struct OverloadLog([Seen; CAUSES.len()]);

/// The logged count of one cause.
#[derive(Default)]
struct Seen {
    count: u64,
    next: Option<Instant>,
}

impl Seen {
    /// The increase since the last line, if a line is due.
    fn new_since(&mut self, count: u64, now: Instant) -> Option<u64> {
        let new = count.wrapping_sub(self.count);
        if new == 0 || self.next.is_some_and(|next| now < next) {
            return None;
        }
        (self.count, self.next) = (count, Some(now + Duration::from_millis(LOG_REPEAT_MS)));
        Some(new)
    }
}

impl OverloadLog {
    /// Logs the load that was turned away since the last line.
    pub(super) fn check(&mut self, now: Instant, status: &Status) {
        for (seen, cause) in self.0.iter_mut().zip(CAUSES) {
            if let Some(count) = seen.new_since(cause.count(status), now) {
                cause.log(count, status);
            }
        }
    }
}

impl Cause {
    fn count(self, status: &Status) -> u64 {
        let ended = |engine: &Engine, why: CloseReason| {
            engine.counts.iter().map(|core| core.ended[why as usize].get()).sum()
        };
        let busy = |selling: &Selling| selling.counts.iter().map(|core| core.busy.get()).sum();
        match self {
            Self::Full => ended(&status.engine, CloseReason::Refused),
            Self::AddressLimit => ended(&status.engine, CloseReason::AddressLimit),
            Self::Evicted => ended(&status.engine, CloseReason::Evicted),
            Self::Handshakes => ended(&status.engine, CloseReason::Handshakes),
            Self::Busy => busy(&status.selling),
        }
    }

    fn log(self, count: u64, status: &Status) {
        let limits = &status.engine.limits;
        match self {
            Self::Full => {
                let connections_max = limits.connections_max();
                tracing::warn!(count, connections_max, "connections refused: limit reached");
            }
            Self::AddressLimit => {
                let connections_per_address = limits.connections_per_address();
                tracing::warn!(
                    count,
                    connections_per_address,
                    "connections refused: too many from one address"
                );
            }
            Self::Evicted => {
                let connections_max = limits.connections_max();
                tracing::warn!(count, connections_max, "connections closed to make room");
            }
            Self::Handshakes => tracing::warn!(count, "TLS handshakes refused"),
            Self::Busy => {
                let waiting_max = status.queue_limits.waiting_max();
                tracing::warn!(count, waiting_max, "requests answered busy");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_logged_once_per_interval_with_its_count() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(seen.new_since(0, at(0)), None);
        assert_eq!(seen.new_since(3, at(1)), Some(3));
        assert_eq!(seen.new_since(5, at(2)), None);
        assert_eq!(seen.new_since(9, at(LOG_REPEAT_MS + 1)), Some(6));
        assert_eq!(seen.new_since(9, at(3 * LOG_REPEAT_MS)), None);
        assert_eq!(seen.new_since(10, at(3 * LOG_REPEAT_MS + 1)), Some(1));
    }
}
