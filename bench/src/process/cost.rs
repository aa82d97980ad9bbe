//! CPU time and memory of processes, from `/proc`.

use std::fs;

use crate::error::{Because, Result, fail};

/// `USER_HZ`: the unit of `/proc/PID/stat`, 100 on every Linux that Rust runs on.
const TICK_NS: u64 = 10_000_000;

/// CPU time of all ended children and their descendants, in microseconds.
pub fn ended_children_us() -> Result<f64> {
    // SAFETY: an `rusage` is integers, for which all zeros is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one `rusage` to a place that is one.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) } != 0 {
        return Err(std::io::Error::last_os_error())
            .because(|| "reading our children's time".into());
    }
    let us = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
    Ok(us(usage.ru_utime) + us(usage.ru_stime))
}

/// All descendants of a process.
pub fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").because(|| "reading /proc".into())? {
        let name = entry.because(|| "reading /proc".into())?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process that has ended meanwhile has no parent.
        let Ok(fields) = stat_fields(pid) else { continue };
        if let Some(parent) = fields.get(PARENT).and_then(|parent| parent.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut family = family(pid, &parents);
    family.remove(0);
    Ok(family)
}

/// A process and its descendants, from pairs of a process and its parent. Process ids are reused
/// meanwhile, so each counts once, and the search can't loop.
fn family(root: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let (mut found, mut at) = (vec![root], 0);
    while let Some(&of) = found.get(at) {
        for &(pid, _) in parents.iter().filter(|(_, parent)| *parent == of) {
            if !found.contains(&pid) {
                found.push(pid);
            }
        }
        at += 1;
    }
    found
}

// Places of fields after the name in `/proc/PID/stat`: state is the 3rd field of all
// (proc_pid_stat(5)).
const PARENT: usize = 1;
const USER: usize = 11;
const SYSTEM: usize = 12;
const CHILDREN_USER: usize = 13;
const CHILDREN_SYSTEM: usize = 14;

/// The fields of `/proc/PID/stat` after the name; the first is the state.
pub fn stat_fields(pid: u32) -> Result<Vec<String>> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read(&path).because(|| format!("reading {path}"))?;
    Ok(fields_after_name(&String::from_utf8_lossy(&stat)))
}

/// The name is in brackets and may contain brackets, so search the last one.
fn fields_after_name(stat: &str) -> Vec<String> {
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    after_name.split_whitespace().map(str::to_owned).collect()
}

/// Ticks of a process and of the children that it has waited for.
fn user_and_system(fields: &[String]) -> Option<(u64, u64)> {
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(USER)? + ticks(CHILDREN_USER)?, ticks(SYSTEM)? + ticks(CHILDREN_SYSTEM)?))
}

/// CPU time of a process or several, since their start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    processes: u64,
    /// Of living threads, from their `schedstat`.
    threads_ns: u64,
    /// Of all threads and children, also ended ones, from `stat`: whole ticks.
    ticks_ns: u64,
    user_ticks_ns: u64,
}

impl Cpu {
    /// CPU of a process and its descendants so far.
    pub fn of_tree(pid: u32) -> Result<Self> {
        let mut sum = Self::of(pid)?;
        // The parent counts a child that ends meanwhile.
        for cpu in descendants(pid)?.into_iter().filter_map(|pid| Self::of(pid).ok()) {
            sum.threads_ns += cpu.threads_ns;
            sum.ticks_ns += cpu.ticks_ns;
            sum.user_ticks_ns += cpu.user_ticks_ns;
            sum.processes += cpu.processes;
        }
        Ok(sum)
    }

    fn of(pid: u32) -> Result<Self> {
        let mut threads_ns = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between being listed and being read.
            let schedstat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            threads_ns += schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        }
        let fields = stat_fields(pid)?;
        match user_and_system(&fields) {
            Some((user, system)) => Ok(Self {
                processes: 1,
                threads_ns,
                ticks_ns: (user + system) * TICK_NS,
                user_ticks_ns: user * TICK_NS,
            }),
            None => fail(format!("an unexpected /proc/{pid}/stat: {}", fields.join(" "))),
        }
    }

    /// All of it in whole ticks, with ended threads and children.
    pub fn ticks(self) -> u64 {
        self.ticks_ns / TICK_NS
    }

    /// Microseconds used since `before`: (all, of it in user space).
    ///
    /// `schedstat` is exact but forgets a thread that ended; `stat` is rounded to ticks but
    /// forgets none. Where they differ by more than rounding, a thread (or a child) has ended.
    pub fn us_since(self, before: Self) -> (f64, f64) {
        let threads = self.threads_ns.saturating_sub(before.threads_ns);
        let ticks = self.ticks_ns.saturating_sub(before.ticks_ns);
        let user = self.user_ticks_ns.saturating_sub(before.user_ticks_ns);
        let rounding = 3 * TICK_NS * self.processes.max(1);
        let all = if ticks > threads + rounding { ticks } else { threads };
        (all as f64 / 1e3, user as f64 / 1e3)
    }
}

/// Resident memory of a process, in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All of it (`VmRSS`).
    pub resident_kib: u64,
    /// Its anonymous memory (`RssAnon`).
    pub anonymous_kib: u64,
}

impl Memory {
    /// Memory of a process without its children.
    pub fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()
        };
        match (field("VmRSS"), field("RssAnon")) {
            (Some(resident_kib), Some(anonymous_kib)) => Ok(Self { resident_kib, anonymous_kib }),
            _ => fail(format!("no VmRSS in /proc/{pid}/status")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_cost_of_this_process_is_read() {
        let pid = std::process::id();
        let before = Cpu::of(pid).expect("our own CPU time");
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(200) {}
        let (all, _) = Cpu::of(pid).expect("our own CPU time").us_since(before);
        assert!(all > 20_000.0, "{all} us of 200 ms");
        assert!(Memory::of(pid).expect("our own memory").resident_kib > 100);
    }

    #[test]
    fn descendants_are_found_from_process_stat() {
        let stat = "12 (a ) b) S 10 12 12 0 -1 4194304 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7";
        let fields = fields_after_name(stat);
        assert_eq!(fields[PARENT], "10");
        assert_eq!(user_and_system(&fields).map(|(user, system)| user + system), Some(127));
        assert_eq!(user_and_system(&fields_after_name("12 (a) S 10")), None);
        assert_eq!(family(10, &[(1, 0), (10, 1), (11, 10), (12, 11)]), [10, 11, 12]);
        assert_eq!(family(10, &[(10, 11), (11, 10)]), [10, 11]);
    }

    #[test]
    fn cpu_time_of_ended_threads_is_counted() {
        let before = Cpu { processes: 1, threads_ns: 1_000, ticks_ns: 0, user_ticks_ns: 0 };
        let (ticks_ns, user_ticks_ns) = (9 * TICK_NS, TICK_NS);
        let after = Cpu { threads_ns: 500, ticks_ns, user_ticks_ns, ..before };
        assert_eq!(after.us_since(before), (90_000.0, 10_000.0));
    }
}
