//! Checks that the cores tick.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

/// Interval of the checks, and the number of them after which a core without ticks is stuck.
pub(super) const WATCHDOG_INTERVAL: Duration = Duration::from_secs(1);
const WATCHDOG_LOOKS: u32 = 15;

/// Detects a core that does not tick. Such a core would never answer its share of the connections;
/// ending the server lets its supervisor restart it.
pub(super) struct Watchdog {
    next_look: Instant,
    cores: Vec<Seen>,
}

/// The ticks of a core at the last check, and for how many checks they were the same.
#[derive(Clone, Default)]
struct Seen {
    ticks: u64,
    still: u32,
}

/// A core that does not tick.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) core: usize,
    pub(super) seconds: u32,
}

impl Watchdog {
    pub(super) fn new(cores: usize) -> Self {
        let cores = vec![Seen::default(); cores];
        Self { next_look: Instant::now() + WATCHDOG_INTERVAL, cores }
    }

    /// Time until the next check.
    pub(super) fn time_left(&self, now: Instant) -> Duration {
        self.next_look.saturating_duration_since(now)
    }

    /// Checks, if it is time to. A core is stuck if it has not ticked for this many checks in a
    /// row. Only checks count, not the time between them, so a process that was stopped for a while
    /// does not appear stuck. `true`: it has checked, and all cores tick.
    pub(super) fn check(
        &mut self,
        now: Instant,
        ticks: &[CachePadded<AtomicU64>],
    ) -> Result<bool, Stuck> {
        if now < self.next_look {
            return Ok(false);
        }
        self.next_look = now + WATCHDOG_INTERVAL;
        for (core, (seen, ticks)) in self.cores.iter_mut().zip(ticks).enumerate() {
            let ticks = ticks.load(Ordering::Relaxed);
            seen.still = if ticks == seen.ticks { seen.still + 1 } else { 0 };
            seen.ticks = ticks;
            if seen.still >= WATCHDOG_LOOKS {
                let seconds = WATCHDOG_LOOKS * WATCHDOG_INTERVAL.as_secs() as u32;
                return Err(Stuck { core, seconds });
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_core_is_found_despite_constant_events() {
        let ticks: Vec<CachePadded<AtomicU64>> = (0..2).map(|_| CachePadded::default()).collect();
        let mut watchdog = Watchdog::new(2);
        let start = Instant::now();
        // An event comes every 10 ms, so a wait of one second without an event never ends.
        for ms in (0..).step_by(10) {
            let now = start + Duration::from_millis(ms);
            ticks[0].fetch_add(1, Ordering::Relaxed);
            assert!(watchdog.time_left(now) <= WATCHDOG_INTERVAL);
            match watchdog.check(now, &ticks) {
                Ok(_) => assert!(ms < 20_000, "core 1 has stood still for 20 s"),
                Err(stuck) => {
                    assert_eq!(stuck, Stuck { core: 1, seconds: 15 });
                    assert!(ms >= 15_000, "after {ms} ms");
                    break;
                }
            }
        }
    }

    #[test]
    fn a_process_that_was_stopped_is_not_stuck() {
        let ticks: Vec<CachePadded<AtomicU64>> = vec![CachePadded::default()];
        let mut watchdog = Watchdog::new(1);
        let hour = Duration::from_secs(3600);
        let woken = Instant::now() + hour;
        for ms in 0..5_000 {
            assert!(watchdog.check(woken + Duration::from_millis(ms), &ticks).is_ok());
        }
    }
}
