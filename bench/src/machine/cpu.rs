//! The use of the machine's cores during a measurement, and its foreign share.

use std::fs;

use crate::error::{Because, Failure, Result};
use crate::process::Cpu;
use crate::rows::figure;
use crate::scenarios::Figures;

/// `USER_HZ`: `/proc/stat` counts in hundredths of a second on every Linux that Rust runs on.
const TICK_MS: f64 = 10.0;

/// CPU time of all cores so far, in ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuSample {
    /// All time, with idle and stolen time.
    all: u64,
    /// Time of all programs.
    busy: u64,
    /// Time of the hypervisor's other guests.
    stolen: u64,
    /// Time of this process and its descendants.
    ours: u64,
}

impl CpuSample {
    /// Reads the current times. Take one sample before and one after a measurement, while its
    /// processes run or have been waited for. The time of a waited-for child moves to its parent, so
    /// nothing is lost.
    pub fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").because(|| "reading /proc/stat".into())?;
        let Cores { all, busy, stolen } = Cores::read(&stat)?;
        let ours = Cpu::of_tree(std::process::id())?.ticks();
        Ok(Self { all, busy, stolen, ours })
    }

    /// The figures since an earlier sample. Times are rounded to ticks per process, so the difference
    /// is exact to some tens of milliseconds and never negative.
    pub fn figures_since(&self, before: &Self) -> Figures {
        let busy = self.busy.saturating_sub(before.busy);
        let others = busy.saturating_sub(self.ours.saturating_sub(before.ours));
        let ms = |ticks: u64| ticks as f64 * TICK_MS;
        vec![
            (figure::STEAL_MS, ms(self.stolen.saturating_sub(before.stolen))),
            (figure::OTHER_CPU_MS, ms(others)),
            (figure::CORES_MS, ms(self.all.saturating_sub(before.all))),
        ]
    }
}

/// The first line of `/proc/stat` (proc_stat(5)).
struct Cores {
    all: u64,
    busy: u64,
    stolen: u64,
}

impl Cores {
    fn read(stat: &str) -> Result<Self> {
        let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
        let fields = line.map(|line| line.split_ascii_whitespace().map(str::parse::<u64>));
        let fields: Option<Vec<u64>> =
            fields.and_then(|fields| fields.collect::<std::result::Result<_, _>>().ok());
        let strange = || Failure("/proc/stat does not begin with eight times of all cores".into());
        // Guests' time follows, but user and nice already include it.
        let &[user, nice, system, idle, iowait, irq, softirq, stolen, ..] =
            &fields.ok_or_else(strange)?[..]
        else {
            return Err(strange());
        };
        let busy = user + nice + system + irq + softirq;
        Ok(Self { all: busy + idle + iowait + stolen, busy, stolen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_times_are_read_from_proc_stat() {
        let cores = Cores::read("cpu  10 1 20 300 5 2 3 7 4 0\ncpu0 1 1\n").expect("cores");
        assert_eq!((cores.all, cores.busy, cores.stolen), (348, 36, 7));
        for strange in ["", "cpu  1 2 3\n", "cpu0 1 2 3 4 5 6 7 8\n", "cpu  a 2 3 4 5 6 7 8\n"] {
            assert!(Cores::read(strange).is_err(), "{strange}");
        }
    }

    #[test]
    fn cpu_time_of_others_is_never_negative() {
        let before = CpuSample { all: 100, busy: 50, stolen: 1, ours: 40 };
        let after = CpuSample { all: 300, busy: 150, stolen: 4, ours: 145 };
        let wanted = [("steal_ms", 30.0), ("other_cpu_ms", 0.0), ("cores_ms", 2_000.0)];
        assert_eq!(after.figures_since(&before), wanted);
    }

    #[test]
    fn core_times_of_this_machine_are_read() {
        let before = CpuSample::now().expect("a sample");
        let after = CpuSample::now().expect("another");
        assert!(after.all >= before.all && after.ours >= before.ours);
    }
}
