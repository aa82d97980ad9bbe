//! Child processes: started on a core, killed with us, and read from `/proc` for what they cost.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Because, Result, fail};

const POLL: Duration = Duration::from_millis(20);
/// `USER_HZ`: the unit of `/proc/PID/stat`, 100 on every Linux that Rust runs on.
const TICK_NS: u64 = 10_000_000;
const LOG_BYTES_SHOWN: usize = 2_000;
/// `taskset`, `-c` and the cores.
const PINNED_WORDS: usize = 3;

/// Set when the run was interrupted (SIGINT, SIGTERM). Everything that waits looks at it.
pub type Interrupted = Arc<AtomicBool>;

/// The first SIGINT or SIGTERM asks everything to stop; a second one ends us at once, and the
/// kernel our children with us.
pub fn interruptible() -> Result<Interrupted> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, interrupted.clone())
            .and_then(|_| signal_hook::flag::register(signal, interrupted.clone()))
            .because(|| "listening for Ctrl-C".into())?;
    }
    Ok(interrupted)
}

/// A command pinned to a core, in words, so that it can be written down exactly as it was run.
#[derive(Debug, Clone)]
pub struct CommandLine(pub Vec<String>);

impl CommandLine {
    /// `taskset -c CORE` and the words.
    pub fn on_core<S: Into<String>>(core: usize, words: impl IntoIterator<Item = S>) -> Self {
        Self::on_cores(&core.to_string(), words)
    }

    /// `taskset -c CORES`, such as `0-3,6`, and the words.
    pub fn on_cores<S: Into<String>>(cores: &str, words: impl IntoIterator<Item = S>) -> Self {
        let pinned = ["taskset".into(), "-c".into(), cores.to_owned()];
        Self(pinned.into_iter().chain(words.into_iter().map(Into::into)).collect())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]).stdin(Stdio::null());
        // A group of its own: Ctrl-C at a terminal reaches us alone, and we end the children.
        command.process_group(0);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed: prctl is a bare
        // system call and takes no pointer here. It makes the kernel end the child if we die first.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        command
    }
}

impl CommandLine {
    /// The same command on the same cores, started by another one: `taskset -c CORES`, these words,
    /// and the command's own.
    #[must_use]
    pub fn through(mut self, words: impl IntoIterator<Item = String>) -> Self {
        self.0.splice(PINNED_WORDS..PINNED_WORDS, words);
        self
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, word) in self.0.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            let plain = !word.is_empty() && !word.contains([' ', '\'', '"', '$', '&', '|', ';']);
            match plain {
                true => write!(f, "{space}{word}")?,
                false => write!(f, "{space}'{word}'")?,
            }
        }
        Ok(())
    }
}

/// A process that runs until it is dropped.
pub struct Running {
    child: Child,
    name: String,
    log: std::path::PathBuf,
}

impl Running {
    /// Starts a process that writes its output to `log`.
    pub fn start(name: &str, line: &CommandLine, log: &Path) -> Result<Self> {
        let output = File::create(log).because(|| format!("creating {}", log.display()))?;
        let child = line
            .command()
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .because(|| format!("starting {line}"))?;
        Ok(Self { child, name: name.into(), log: log.into() })
    }

    /// The same of a process that is told things: see [`say`](Self::say).
    pub fn start_with_input(name: &str, line: &CommandLine, log: &Path) -> Result<Self> {
        let output = File::create(log).because(|| format!("creating {}", log.display()))?;
        let child = line
            .command()
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .because(|| format!("starting {line}"))?;
        Ok(Self { child, name: name.into(), log: log.into() })
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, text: &str) -> Result<()> {
        match &mut self.child.stdin {
            Some(input) => writeln!(input, "{text}").because(|| format!("telling {}", self.name)),
            None => fail(format!("{} was started without an input", self.name)),
        }
    }

    /// What it has written so far.
    pub fn output(&self) -> Result<String> {
        fs::read_to_string(&self.log).because(|| format!("reading {}", self.log.display()))
    }

    /// Waits until it has ended by itself, with success, and returns what it has written.
    pub fn finish(mut self, deadline: Duration) -> Result<String> {
        let started = Instant::now();
        while !self.has_succeeded()? {
            if started.elapsed() > deadline {
                return fail(format!("{} did not end within {deadline:?}", self.name));
            }
            std::thread::sleep(POLL);
        }
        self.output()
    }

    /// `Err` with the end of its output if it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        fail(format!("{} ended early ({status}). Its output:\n{}", self.name, self.output_end()))
    }

    /// Whether it has ended, and with success. `Err` with the end of its output if it has failed.
    pub fn has_succeeded(&mut self) -> Result<bool> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => fail(format!(
                "{} failed ({status}). The end of its output:\n{}",
                self.name,
                self.output_end()
            )),
        }
    }

    fn output_end(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let mut from = log.len().saturating_sub(LOG_BYTES_SHOWN);
        while !log.is_char_boundary(from) {
            from += 1;
        }
        log[from..].to_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        let pid = libc::pid_t::try_from(self.child.id()).because(|| "a process id".into())?;
        // SAFETY: takes no pointer. The child has not been waited for, so its id is still its own.
        match unsafe { libc::kill(pid, signal) } {
            0 => Ok(()),
            _ => fail(format!(
                "signal {signal} to {}: {}",
                self.name,
                std::io::Error::last_os_error()
            )),
        }
    }

    /// Asks it to end, and gives it a while to do so.
    pub fn end(mut self, signal: libc::c_int, deadline: Duration) -> Result<()> {
        self.signal(signal)?;
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            if started.elapsed() > deadline {
                return fail(format!("{} did not end within {deadline:?}", self.name));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// What it and all its descendants have used so far.
    pub fn cpu(&self) -> Result<Cpu> {
        Cpu::of_tree(self.id()).because(|| format!("reading what {} used", self.name))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it and all its descendants hold in memory. What they share counts for each of them.
    pub fn memory(&self) -> Result<Memory> {
        let what = || format!("reading the memory of {}", self.name);
        let mut sum = Memory::of(self.child.id()).because(what)?;
        for memory in
            descendants(self.child.id())?.into_iter().filter_map(|pid| Memory::of(pid).ok())
        {
            sum.resident_kib += memory.resident_kib;
            sum.anonymous_kib += memory.anonymous_kib;
        }
        Ok(sum)
    }
}

impl Drop for Running {
    /// SIGKILL, to its workers too: nothing that was measured has to be kept, and it can't be refused.
    fn drop(&mut self) {
        if let (Ok(None), Ok(pid)) = (self.child.try_wait(), libc::pid_t::try_from(self.child.id()))
        {
            // SAFETY: takes no pointer. The child leads a group of its own, whose id nobody else has
            // as long as it has not been waited for.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
        }
        // Fails only if it has ended already.
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and returns its standard output. Ends it if we are interrupted or the
/// deadline passes.
pub fn run(line: &CommandLine, deadline: Duration, interrupted: &Interrupted) -> Result<String> {
    let child = line.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.because(|| format!("starting {line}"))?;
    let started = Instant::now();
    // The tools write a page at the end: less than a pipe holds, so waiting first can't block them.
    while child.try_wait()?.is_none() {
        let why = if interrupted.load(Ordering::Relaxed) {
            Some("interrupted".to_owned())
        } else if started.elapsed() > deadline {
            Some(format!("did not end within {} s: {line}", deadline.as_secs()))
        } else {
            None
        };
        if let Some(why) = why {
            let _ = child.kill();
            let _ = child.wait();
            return fail(why);
        }
        std::thread::sleep(POLL);
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    fail(format!("{line}: {}\n{errors}{text}", output.status))
}

/// CPU time of all children of ours that have ended, and of theirs, in microseconds.
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

/// All children of a process, and theirs.
fn descendants(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").because(|| "reading /proc".into())? {
        let name = entry.because(|| "reading /proc".into())?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended meanwhile is nobody's child.
        let Ok(fields) = stat_fields(pid) else { continue };
        if let Some(parent) = fields.get(PARENT).and_then(|parent| parent.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut family = family(pid, &parents);
    family.remove(0);
    Ok(family)
}

/// A process, its children, and theirs, of these pairs of a process and its parent. Ids are given
/// anew while we read: none comes twice, nor do we go in a circle.
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

/// The fields of `/proc/PID/stat` after the name.
fn stat_fields(pid: u32) -> Result<Vec<String>> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read(&path).because(|| format!("reading {path}"))?;
    Ok(fields_after_name(&String::from_utf8_lossy(&stat)))
}

/// The name is in brackets and may hold anything, so what counts is the last bracket.
fn fields_after_name(stat: &str) -> Vec<String> {
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    after_name.split_whitespace().map(str::to_owned).collect()
}

/// Ticks of a process and of the children that it has waited for.
fn user_and_system(fields: &[String]) -> Option<(u64, u64)> {
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(USER)? + ticks(CHILDREN_USER)?, ticks(SYSTEM)? + ticks(CHILDREN_SYSTEM)?))
}

/// CPU time of a process, or of a few, since their start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    processes: u64,
    /// Of the living threads, from their `schedstat`.
    threads_ns: u64,
    /// Of all threads and children, ended ones too, from `stat`: whole ticks.
    ticks_ns: u64,
    user_ticks_ns: u64,
}

impl Cpu {
    /// What a process and all its descendants have used so far.
    pub fn of_tree(pid: u32) -> Result<Self> {
        let mut sum = Self::of(pid)?;
        // A child that ends meanwhile is counted by its parent.
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

    /// All of it in whole ticks, threads and children that have ended included.
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
    /// What is its own and not a file's (`RssAnon`).
    pub anonymous_kib: u64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
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

    #[test]
    fn we_can_read_ourselves() {
        let pid = std::process::id();
        let before = Cpu::of(pid).expect("our own CPU time");
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(200) {}
        let (all, _) = Cpu::of(pid).expect("our own CPU time").us_since(before);
        assert!(all > 20_000.0, "{all} us of 200 ms");
        assert!(Memory::of(pid).expect("our own memory").resident_kib > 100);
    }

    #[test]
    fn what_we_started_is_ours() {
        let stat = "12 (a ) b) S 10 12 12 0 -1 4194304 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7";
        let fields = fields_after_name(stat);
        assert_eq!(fields[PARENT], "10");
        assert_eq!(user_and_system(&fields).map(|(user, system)| user + system), Some(127));
        assert_eq!(user_and_system(&fields_after_name("12 (a) S 10")), None);
        assert_eq!(family(10, &[(1, 0), (10, 1), (11, 10), (12, 11)]), [10, 11, 12]);
        assert_eq!(family(10, &[(10, 11), (11, 10)]), [10, 11]);
    }

    #[test]
    fn children_count_and_end_with_their_parent() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = "while :; do :; done & echo $!; wait";
        let line = CommandLine(["sh", "-c", script].map(str::to_owned).into());
        let log = folder.path().join("log");
        let running = Running::start("sh", &line, &log).expect("a shell");
        let started = Instant::now();
        let child = loop {
            let text = fs::read_to_string(&log).expect("its output");
            if let Ok(pid) = text.trim().parse::<u32>() {
                break pid;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "no child: {text}");
            std::thread::sleep(POLL);
        };
        assert_eq!(descendants(running.child.id()).expect("a tree"), [child]);
        while running.cpu().expect("its CPU time").us_since(Cpu::default()).0 < 50_000.0 {
            assert!(started.elapsed() < Duration::from_secs(60), "the child uses nothing");
            std::thread::sleep(POLL);
        }
        let own = Memory::of(running.child.id()).expect("its memory").resident_kib;
        assert!(running.memory().expect("their memory").resident_kib > own);
        drop(running);
        // It is gone, or a zombie that init has yet to see.
        while stat_fields(child).is_ok_and(|fields| fields[0] != "Z") {
            assert!(started.elapsed() < Duration::from_secs(60), "the child lives on");
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn an_ended_thread_is_not_forgotten() {
        let before = Cpu { processes: 1, threads_ns: 1_000, ticks_ns: 0, user_ticks_ns: 0 };
        let (ticks_ns, user_ticks_ns) = (9 * TICK_NS, TICK_NS);
        let after = Cpu { threads_ns: 500, ticks_ns, user_ticks_ns, ..before };
        assert_eq!(after.us_since(before), (90_000.0, 10_000.0));
    }
}
