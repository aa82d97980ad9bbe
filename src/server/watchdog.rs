//! Whether the cores still tick.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

/// Time between two looks at whether the cores still tick, and how many a core may stand still.
pub(super) const WATCHDOG_INTERVAL: Duration = Duration::from_secs(1);
const WATCHDOG_LOOKS: u32 = 15;

/// Notices a core that does not tick any more. It would leave its share of the connections without
/// an answer for ever; ending the server lets whoever supervises it start it anew.
pub(super) struct Watchdog {
    next_look: Instant,
    cores: Vec<Seen>,
}

/// What was seen of a core: its ticks at the last look, and for how many looks they were the same.
#[derive(Clone, Default)]
struct Seen {
    ticks: u64,
    still: u32,
}

/// A core that does not tick any more.
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

    /// Time until it is to look again.
    pub(super) fn time_left(&self, now: Instant) -> Duration {
        self.next_look.saturating_duration_since(now)
    }

    /// Looks, if it is time to. A core is stuck that stood still in this many looks in a row: the
    /// time between two does not count, so a process that was stopped for a while is not taken for
    /// stuck. `true`: it has looked, and all is well.
    pub(super) fn look(
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
    fn it_looks_on_time_whatever_there_is_to_hear() {
        let ticks: Vec<CachePadded<AtomicU64>> = (0..2).map(|_| CachePadded::default()).collect();
        let mut watchdog = Watchdog::new(2);
        let start = Instant::now();
        // Something comes every 10 ms, so a wait of a second for nothing never ends.
        for ms in (0..).step_by(10) {
            let now = start + Duration::from_millis(ms);
            ticks[0].fetch_add(1, Ordering::Relaxed);
            assert!(watchdog.time_left(now) <= WATCHDOG_INTERVAL);
            match watchdog.look(now, &ticks) {
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
            assert!(watchdog.look(woken + Duration::from_millis(ms), &ticks).is_ok());
        }
    }
}
