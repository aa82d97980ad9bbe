//! What the log says of load that was turned away: once in a while for each cause, with how much it was.
//!
//! The cores count, for `/metrics`; nothing here costs whoever is turned away, or who turns him away.

use std::time::{Duration, Instant};

use crate::engine::core::Engine;
use crate::engine::counts::End;
use crate::limits::LOG_REPEAT_MS;
use crate::purchase::Selling;
use crate::status::Status;

/// Why something was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Full,
    AddressLimit,
    GaveWay,
    Handshakes,
    Busy,
}

const CAUSES: [Cause; 5] =
    [Cause::Full, Cause::AddressLimit, Cause::GaveWay, Cause::Handshakes, Cause::Busy];

/// See the module's header.
#[derive(Default)]
pub(super) struct Strain([Seen; CAUSES.len()]);

/// What was logged of one cause.
#[derive(Default)]
struct Seen {
    count: u64,
    next: Option<Instant>,
}

impl Seen {
    /// How much is new, if a line is due for it.
    fn new_since(&mut self, count: u64, now: Instant) -> Option<u64> {
        let new = count.wrapping_sub(self.count);
        if new == 0 || self.next.is_some_and(|next| now < next) {
            return None;
        }
        (self.count, self.next) = (count, Some(now + Duration::from_millis(LOG_REPEAT_MS)));
        Some(new)
    }
}

impl Strain {
    /// Logs what was turned away since the last line about it.
    pub(super) fn look(&mut self, now: Instant, status: &Status) {
        for (seen, cause) in self.0.iter_mut().zip(CAUSES) {
            if let Some(count) = seen.new_since(cause.count(status), now) {
                cause.log(count, status);
            }
        }
    }
}

impl Cause {
    fn count(self, status: &Status) -> u64 {
        let ended = |engine: &Engine, why: End| {
            engine.counts.iter().map(|core| core.ended[why as usize].get()).sum()
        };
        let busy = |selling: &Selling| selling.counts.iter().map(|core| core.busy.get()).sum();
        match self {
            Self::Full => ended(&status.engine, End::Refused),
            Self::AddressLimit => ended(&status.engine, End::AddressLimit),
            Self::GaveWay => ended(&status.engine, End::GaveWay),
            Self::Handshakes => ended(&status.engine, End::Handshakes),
            Self::Busy => busy(&status.selling),
        }
    }

    fn log(self, count: u64, status: &Status) {
        let limits = &status.engine.limits;
        match self {
            Self::Full => {
                let connections_max = limits.connections_max();
                tracing::warn!(count, connections_max, "connections refused");
            }
            Self::AddressLimit => {
                let connections_per_address = limits.connections_per_address();
                tracing::warn!(
                    count,
                    connections_per_address,
                    "connections of one address refused"
                );
            }
            Self::GaveWay => {
                let connections_max = limits.connections_max();
                tracing::warn!(count, connections_max, "connections closed to make room");
            }
            Self::Handshakes => tracing::warn!(count, "TLS handshakes refused"),
            Self::Busy => {
                let waiting_max = status.patience.waiting_max();
                tracing::warn!(count, waiting_max, "requests answered busy");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_logged_once_in_a_while_with_all_that_came_of_it() {
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
