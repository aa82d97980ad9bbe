//! What the machine's cores did during a measurement, and how much of it was not for us.

use std::fs;

use crate::error::{Because, Failure, Result};
use crate::rows::figure;
use crate::scenarios::Figures;

/// `USER_HZ`: `/proc/stat` counts in hundredths of a second on every Linux that Rust runs on.
const TICK_MS: f64 = 10.0;

/// The cores' time so far, in ticks, over all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuSample {
    /// Of everything, idling and stolen time included.
    all: u64,
    /// Of whatever ran here.
    busy: u64,
    /// Of the hypervisor's other guests.
    stolen: u64,
    /// Of this process and all that it started.
    ours: u64,
}

impl CpuSample {
    /// As it stands now. Take one before and one after a measurement, while the processes that were
    /// started for it are there or have been waited for: what a child used goes to its parent then,
    /// so nothing is lost.
    pub fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").because(|| "reading /proc/stat".into())?;
        let Cores { all, busy, stolen } = Cores::read(&stat)?;
        Ok(Self { all, busy, stolen, ours: ours()? })
    }

    /// What happened since an earlier one. Each of the two is rounded to ticks for each process, and
    /// so is their difference: good to some tens of milliseconds, never below nothing.
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
        // Guests' time stands behind these, but is in that of user and nice already.
        let &[user, nice, system, idle, iowait, irq, softirq, stolen, ..] =
            &fields.ok_or_else(strange)?[..]
        else {
            return Err(strange());
        };
        let busy = user + nice + system + irq + softirq;
        Ok(Self { all: busy + idle + iowait + stolen, busy, stolen })
    }
}

/// A process: its parent, and the time of it and of the children that it has waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Process {
    id: u32,
    parent: u32,
    ticks: u64,
}

impl Process {
    /// Reads `/proc/PID/stat`. The name is in brackets and may have anything in it, so what counts
    /// is the last bracket.
    fn read(id: u32, stat: &str) -> Option<Self> {
        let (_, behind) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
        // Fields 4 (parent) and 14 to 17 (utime, stime, cutime, cstime), the state being the third.
        let parent = fields.get(1)?.parse().ok()?;
        let times = fields.get(11..15)?.iter().map(|time| time.parse::<u64>());
        let ticks = times.sum::<std::result::Result<u64, _>>().ok()?;
        Some(Self { id, parent, ticks })
    }
}

/// The time of this process and of everything below it.
fn ours() -> Result<u64> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").because(|| "reading /proc".into())? {
        let name = entry.because(|| "reading /proc".into())?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile is no error.
        let stat = fs::read(format!("/proc/{id}/stat")).unwrap_or_default();
        processes.extend(Process::read(id, &String::from_utf8_lossy(&stat)));
    }
    Ok(tree(&processes, std::process::id()))
}

fn tree(processes: &[Process], root: u32) -> u64 {
    let (mut sum, mut open, mut seen) = (0, vec![root], Vec::new());
    while let Some(id) = open.pop() {
        // Ids are given anew while we read: nothing may be counted twice, or in a circle.
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        sum += processes.iter().find(|process| process.id == id).map_or(0, |found| found.ticks);
        open.extend(processes.iter().filter(|process| process.parent == id).map(|child| child.id));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cores_times_are_read() {
        let cores = Cores::read("cpu  10 1 20 300 5 2 3 7 4 0\ncpu0 1 1\n").expect("cores");
        assert_eq!((cores.all, cores.busy, cores.stolen), (348, 36, 7));
        for strange in ["", "cpu  1 2 3\n", "cpu0 1 2 3 4 5 6 7 8\n", "cpu  a 2 3 4 5 6 7 8\n"] {
            assert!(Cores::read(strange).is_err(), "{strange}");
        }
    }

    #[test]
    fn what_we_started_is_ours() {
        let stat = "12 (a ) b) S 10 12 12 0 -1 4194304 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7";
        assert_eq!(Process::read(12, stat), Some(Process { id: 12, parent: 10, ticks: 127 }));
        assert_eq!(Process::read(12, "12 (a) S 10"), None);
        let process = |id, parent, ticks| Process { id, parent, ticks };
        let all = [process(1, 0, 1_000), process(10, 1, 1), process(11, 10, 2), process(12, 11, 4)];
        assert_eq!(tree(&all, 10), 7);
        assert_eq!(tree(&[process(10, 11, 1), process(11, 10, 2)], 10), 3);
    }

    #[test]
    fn others_never_used_less_than_nothing() {
        let before = CpuSample { all: 100, busy: 50, stolen: 1, ours: 40 };
        let after = CpuSample { all: 300, busy: 150, stolen: 4, ours: 145 };
        let wanted = [("steal_ms", 30.0), ("other_cpu_ms", 0.0), ("cores_ms", 2_000.0)];
        assert_eq!(after.figures_since(&before), wanted);
    }

    #[test]
    fn this_machine_has_times_too() {
        let before = CpuSample::now().expect("a sample");
        let after = CpuSample::now().expect("another");
        assert!(after.all >= before.all && after.ours >= before.ours);
    }
}
