//! What a run with the embedded ledger is like: its disk, and what goes wrong with it.

use std::fmt;

use crate::chance::Chance;
use crate::schedule::{Event, Schedule};
use crate::time::{MS, SECOND, Us};

/// One run in so many has the embedded ledger.
const EMBEDDED_ONE_IN: u64 = 3;
/// Mean time between two losses of power.
const POWER_INTERVAL: Us = SECOND;
/// Mean time between two times without space.
const FULL_INTERVAL: Us = SECOND;
/// Mean time between two planned restarts.
const RESTART_INTERVAL: Us = SECOND;
/// Shortest and longest time until the next start.
pub const DOWN_MIN: Us = 5 * MS;
/// See [`DOWN_MIN`].
pub const DOWN_MAX: Us = SECOND;

/// What goes wrong with a disk, and how fast it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// Shortest and longest time of a sync.
    pub sync: (Us, Us),
    /// One sync in so many hangs. 0: none does.
    pub hang_one_in: u64,
    /// The disk writes so many bytes wholly or not at all.
    pub sector_bytes: u64,
    /// One call in so many fails. 0: none does.
    pub fail_one_in: u64,
    /// One write in so many is short. 0: none is.
    pub short_one_in: u64,
    /// The mean number of calls after which the machine dies. 0: it does not.
    pub dies_in_calls: u64,
}

/// See the module's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedPlan {
    /// Changes after which the journal is compacted.
    pub compaction_changes_min: u64,
    /// Its disk.
    pub disk: DiskFaults,
    /// The machine loses power now and then.
    power: bool,
    /// The disk is full now and then.
    full: bool,
    /// Somebody restarts the server now and then.
    restarts: bool,
}

impl EmbeddedPlan {
    /// Draws whether a run has the embedded ledger, and what it is like then.
    pub fn draw(seed: u64) -> Option<Self> {
        let chance = &mut Chance::of(seed, "embedded");
        if !chance.one_in(EMBEDDED_ONE_IN) {
            return None;
        }
        Some(Self {
            compaction_changes_min: *chance.pick(&[20, 100, 1_000, 1_000_000]),
            disk: DiskFaults {
                sync: *chance.pick(&[(20, 200), (100, 2 * MS), (MS, 20 * MS)]),
                hang_one_in: *chance.pick(&[0, 0, 500]),
                sector_bytes: *chance.pick(&[64, 512, 4_096]),
                fail_one_in: *chance.pick(&[0, 0, 60, 400]),
                short_one_in: *chance.pick(&[0, 20]),
                dies_in_calls: *chance.pick(&[0, 60, 400]),
            },
            power: chance.one_in(2),
            full: chance.one_in(2),
            restarts: chance.one_in(2),
        })
    }

    /// Schedules what happens to the machine of server 0, until a time.
    pub fn schedule(&self, seed: u64, until: Us, schedule: &mut Schedule) {
        let kinds = [
            ("power", self.power, POWER_INTERVAL),
            ("full", self.full, FULL_INTERVAL),
            ("restart", self.restarts, RESTART_INTERVAL),
        ];
        for (kind, is_on, interval) in kinds {
            let mut chance = Chance::of(seed, kind);
            let mut at = 0;
            loop {
                at += chance.between(1, 2 * interval);
                if !is_on || at >= until {
                    break;
                }
                let lasts = chance.spread(DOWN_MIN, DOWN_MAX);
                match kind {
                    "power" => {
                        schedule.at(at, Event::PowerLoss(0));
                        schedule.at(at + lasts, Event::Start(0));
                    }
                    "full" => schedule.at(at, Event::DiskFull(at + lasts)),
                    _ => {
                        schedule.at(at, Event::Stop(0));
                        schedule.at(at + lasts, Event::Start(0));
                    }
                }
            }
        }
    }
}

impl fmt::Display for EmbeddedPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { compaction_changes_min, disk, power, full, restarts } = self;
        let names = [
            (disk.hang_one_in > 0, "hangs"),
            (disk.fail_one_in > 0, "errors"),
            (disk.short_one_in > 0, "short"),
            (disk.dies_in_calls > 0, "dies"),
            (*power, "power"),
            (*full, "full"),
            (*restarts, "restarts"),
        ];
        write!(f, "compaction after {compaction_changes_min}, disk:")?;
        names.iter().filter(|(is_on, _)| *is_on).try_for_each(|(_, name)| write!(f, " {name}"))
    }
}
