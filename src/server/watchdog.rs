//! Whether the cores still tick.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::core::Shared;

/// Time between two looks at whether the cores still tick, and how many a core may stand still.
pub(super) const WATCHDOG_INTERVAL: Duration = Duration::from_secs(1);
const WATCHDOG_LOOKS: u32 = 15;

/// Notices a core that does not tick any more. It would leave its share of the connections without
/// an answer for ever; ending the server lets whoever supervises it start it anew.
pub(super) struct Watchdog(Vec<(u64, u32)>);

impl Watchdog {
    pub(super) fn new(cores: usize) -> Self {
        Self(vec![(0, 0); cores])
    }

    /// One look. A core is stuck that stood still in this many looks in a row: the time between two
    /// does not count, so a process that was stopped for a while is not taken for stuck.
    pub(super) fn look(&mut self, shared: &Shared) -> io::Result<()> {
        for (core, (seen, still)) in self.0.iter_mut().enumerate() {
            let ticks = shared.ticks[core].load(Ordering::Relaxed);
            *still = if ticks == *seen { *still + 1 } else { 0 };
            *seen = ticks;
            if *still >= WATCHDOG_LOOKS {
                return Err(io::Error::other(format!("core {core} is stuck")));
            }
        }
        Ok(())
    }
}
