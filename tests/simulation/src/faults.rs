//! Which faults a run has, and when. Each kind is on in some runs and off in others, since some
//! bugs show only if something does not happen.

use std::fmt;

use crate::chance::Chance;
use crate::net::NetFaults;
use crate::schedule::{Event, Schedule};
use crate::time::{MS, SECOND, Us};

/// Mean time between two crashes of a server.
const CRASH_INTERVAL: Us = 2 * SECOND;
/// Shortest and longest time between a crash and the next start.
const DOWN_MIN: Us = 10 * MS;
/// See [`DOWN_MIN`].
const DOWN_MAX: Us = 2 * SECOND;
/// Mean time between two stalls of a core.
const STALL_INTERVAL: Us = SECOND;
/// Shortest and longest stall.
const STALL_MIN: Us = MS;
/// See [`STALL_MIN`].
const STALL_MAX: Us = 3 * SECOND;
/// Mean time between two cuts of a server from the ledger.
const CUT_INTERVAL: Us = 3 * SECOND;
/// Shortest and longest cut.
const CUT_MIN: Us = 5 * MS;
/// See [`CUT_MIN`].
const CUT_MAX: Us = 3 * SECOND;
/// Mean time between two jumps of a wall clock.
const JUMP_INTERVAL: Us = 3 * SECOND;
/// Longest ordinary jump of a wall clock, in ms.
const JUMP_MS_MAX: u64 = 10_000;
/// One jump in so many is of an hour.
const HOUR_ONE_IN: u64 = 16;
/// An hour, in ms.
const HOUR_MS: u64 = 3_600_000;

/// The kinds of faults of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Those of the network.
    pub net: NetFaults,
    /// Servers crash.
    pub crashes: bool,
    /// Cores get no processor for a while.
    pub stalls: bool,
    /// Rounds of events take long.
    pub long_rounds: bool,
    /// Servers are cut off from the ledger.
    pub cuts: bool,
    /// Wall clocks are set.
    pub clock_jumps: bool,
}

impl Faults {
    /// Draws the kinds of faults of a run.
    pub fn draw(chance: &mut Chance) -> Self {
        Self {
            net: NetFaults {
                late_one_in: *chance.pick(&[0, 100, 500, 2_000]),
                end_one_in: *chance.pick(&[0, 0, 1_000, 5_000]),
            },
            crashes: chance.one_in(2),
            stalls: chance.one_in(2),
            long_rounds: chance.one_in(2),
            cuts: chance.one_in(3),
            clock_jumps: chance.one_in(3),
        }
    }

    /// Schedules the faults of a run with this many servers and cores, until a time.
    pub fn schedule(
        &self,
        seed: u64,
        (servers, cores): (usize, usize),
        until: Us,
        schedule: &mut Schedule,
    ) {
        let times = |kind: &str, interval: Us, is_on: bool| {
            let mut chance = Chance::of(seed, kind);
            let mut at = 0;
            let next = || {
                at += chance.between(1, 2 * interval);
                (is_on && at < until).then_some(at)
            };
            let times: Vec<Us> = std::iter::from_fn(next).collect();
            (chance, times)
        };
        for server in 0..servers {
            let (mut chance, crashes) =
                times(&format!("crash {server}"), CRASH_INTERVAL, self.crashes);
            // It starts again before it crashes again: a start of a running server does nothing.
            for at in crashes {
                schedule.at(at, Event::Crash(server));
                schedule.at(at + chance.spread(DOWN_MIN, DOWN_MAX), Event::Start(server));
            }
            for core in 0..cores {
                let kind = format!("stall {server}.{core}");
                let (mut chance, stalls) = times(&kind, STALL_INTERVAL, self.stalls);
                for at in stalls {
                    let ends = at + chance.spread(STALL_MIN, STALL_MAX);
                    schedule.at(at, Event::Stall(server, core, ends));
                }
            }
            let (mut chance, cuts) = times(&format!("cut {server}"), CUT_INTERVAL, self.cuts);
            for at in cuts {
                let ends = at + chance.spread(CUT_MIN, CUT_MAX);
                schedule.at(at, Event::Cut(server, ends));
            }
        }
        let machines = std::iter::once(None).chain((0..servers).map(Some));
        for machine in machines {
            let kind = format!("clock {machine:?}");
            let (mut chance, jumps) = times(&kind, JUMP_INTERVAL, self.clock_jumps);
            for at in jumps {
                let ms = match chance.one_in(HOUR_ONE_IN) {
                    true => HOUR_MS,
                    false => chance.spread(1, JUMP_MS_MAX),
                } as i64;
                let ms = if chance.one_in(2) { -ms } else { ms };
                schedule.at(at, Event::ClockJump(machine, ms));
            }
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.net.late_one_in > 0, "late"),
            (self.net.end_one_in > 0, "disconnects"),
            (self.crashes, "crashes"),
            (self.stalls, "stalls"),
            (self.long_rounds, "rounds"),
            (self.cuts, "cuts"),
            (self.clock_jumps, "clocks"),
        ];
        let on = names.iter().filter(|(is_on, _)| *is_on);
        let names: Vec<_> = on.map(|(_, name)| *name).collect();
        if names.is_empty() { write!(f, "none") } else { write!(f, "{}", names.join(" ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_scheduled_within_their_time() {
        let on = Faults {
            crashes: true,
            stalls: true,
            cuts: true,
            clock_jumps: true,
            ..Faults::default()
        };
        let mut schedule = Schedule::new(3);
        on.schedule(3, (2, 2), 20 * SECOND, &mut schedule);
        let mut kinds = [0; Event::NAMES.len()];
        while let Some(event) = schedule.pop() {
            kinds[event.kind()] += 1;
            assert!(matches!(event, Event::Start(_)) || schedule.now() < 20 * SECOND);
        }
        let kinds_seen = kinds.iter().filter(|count| **count > 0).count();
        assert_eq!(kinds_seen, 5, "crash, start, stall, cut, clock jump: {kinds:?}");
        let mut none = Schedule::new(3);
        Faults::default().schedule(3, (2, 2), 20 * SECOND, &mut none);
        assert!(none.pop().is_none());
    }
}
