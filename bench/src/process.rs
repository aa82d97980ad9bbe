//! Child processes: started on a core, killed with this process, and waited for. Read in this order:
//! `held` waits for a process by its number; `guard` ends processes that would outlive this one;
//! [`cost`] reads CPU and memory from `/proc`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{getpid, set_child_subreaper};

use crate::error::{Because, Result, fail};

pub mod cost;
pub mod guard;
pub mod held;

use cost::descendants;
pub use cost::{Cpu, Memory, ended_children_us};
use guard::Guard;
use held::Held;

const POLL: Duration = Duration::from_millis(20);
const LOG_BYTES_SHOWN: usize = 2_000;
/// `taskset`, `-c` and the cores.
const PINNED_WORDS: usize = 3;

/// Set when the run was interrupted (SIGINT, SIGTERM). Every wait checks it.
pub type Interrupted = Arc<AtomicBool>;

/// The first SIGINT or SIGTERM sets the flag. A second one ends this process at once, and the kernel
/// ends its children.
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

/// A command pinned to a core, as words, so it can be recorded exactly.
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
        // A separate group: Ctrl-C at a terminal reaches only this process, which ends the children.
        command.process_group(0);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed. prctl is a bare
        // system call and takes no pointer here. It makes the kernel end the child if this process
        // ends first.
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
    process: Held,
    /// Group of all processes that it starts, unless they leave it: the number of the first process.
    group: u32,
    input: Option<ChildStdin>,
    guard: Option<Guard>,
    name: String,
    log: std::path::PathBuf,
}

impl Running {
    /// Starts a process that writes its output to `log`.
    pub fn start(name: &str, line: &CommandLine, log: &Path) -> Result<Self> {
        Self::start_from(name, line, log, Stdio::null())
    }

    /// Starts a process with a standard input: see [`say`](Self::say).
    pub fn start_with_input(name: &str, line: &CommandLine, log: &Path) -> Result<Self> {
        Self::start_from(name, line, log, Stdio::piped())
    }

    fn start_from(name: &str, line: &CommandLine, log: &Path, input: Stdio) -> Result<Self> {
        let output = File::create(log).because(|| format!("creating {}", log.display()))?;
        let mut child = line
            .command()
            .stdin(input)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .because(|| format!("starting {line}"))?;
        let (process, input) = (Held::started(&child), child.stdin.take());
        let (group, name, log) = (process.id(), name.into(), log.into());
        Ok(Self { process, group, input, guard: None, name, log })
    }

    /// Writes a line to its standard input.
    pub fn say(&mut self, text: &str) -> Result<()> {
        match &mut self.input {
            Some(input) => writeln!(input, "{text}").because(|| format!("telling {}", self.name)),
            None => fail(format!("{} was started without an input", self.name)),
        }
    }

    /// Its output so far.
    pub fn output(&self) -> Result<String> {
        fs::read_to_string(&self.log).because(|| format!("reading {}", self.log.display()))
    }

    /// Waits for its successful end and returns its output.
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

    /// `Err` with the end of its output, if it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        let Some(status) = self.process.try_wait()? else { return Ok(()) };
        fail(format!("{} ended early ({status}). Its output:\n{}", self.name, self.output_end()))
    }

    /// Whether it has ended with success. `Err` with the end of its output if it failed.
    pub fn has_succeeded(&mut self) -> Result<bool> {
        match self.process.try_wait()? {
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
        let pid = libc::pid_t::try_from(self.id()).because(|| "a process id".into())?;
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

    /// Sends it a signal to end, and waits for a while.
    pub fn end(mut self, signal: libc::c_int, deadline: Duration) -> Result<()> {
        self.signal(signal)?;
        let started = Instant::now();
        while self.process.try_wait()?.is_none() {
            if started.elapsed() > deadline {
                return fail(format!("{} did not end within {deadline:?}", self.name));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// CPU of it and its descendants so far.
    pub fn cpu(&self) -> Result<Cpu> {
        Cpu::of_tree(self.id()).because(|| format!("reading the CPU of {}", self.name))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Allows other processes to [take over](Self::take_over) from it. They end with this process,
    /// too.
    pub fn may_hand_over(&mut self) -> Result<()> {
        if self.guard.is_none() {
            // Orphaned descendants become children of this process.
            set_child_subreaper(Some(getpid())).because(|| "becoming a reaper".into())?;
            self.guard = Some(Guard::of(self.group)?);
        }
        Ok(())
    }

    /// Waits for its end. Calls `look` now and then, which may give up. Returns the time of the end.
    pub fn await_end(&self, mut look: impl FnMut() -> Result<()>) -> Result<Instant> {
        let what = || format!("waiting for the end of {}", self.name);
        while !self.process.ends_within(POLL).because(what)? {
            look()?;
        }
        Ok(Instant::now())
    }

    /// Replaces the ended process with this one, which it has started.
    pub fn take_over(&mut self, pid: u32) -> Result<()> {
        let name = &self.name;
        let successor =
            Held::left(pid, self.group).because(|| format!("finding the successor of {name}"))?;
        // First, so that the group is ended whatever the old process returns.
        let mut old = std::mem::replace(&mut self.process, successor);
        match old.try_wait()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => fail(format!("{name} failed ({status}) when it handed over")),
            None => fail(format!("{name} still runs")),
        }
    }

    /// The sets of cores of its threads, in Linux' notation. More than one set means that a thread is
    /// misplaced.
    pub fn allowed_cores(&self) -> Result<BTreeSet<String>> {
        let tasks = format!("/proc/{}/task", self.id());
        let mut sets = BTreeSet::new();
        for task in fs::read_dir(&tasks).because(|| format!("reading {tasks}"))? {
            // A thread may end between being listed and being read.
            let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
            let set = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            sets.extend(set.map(|set| set.trim().to_owned()));
        }
        Ok(sets)
    }

    /// Memory of it and its descendants. Shared memory counts for each of them.
    pub fn memory(&self) -> Result<Memory> {
        let what = || format!("reading the memory of {}", self.name);
        let mut sum = Memory::of(self.id()).because(what)?;
        for memory in descendants(self.id())?.into_iter().filter_map(|pid| Memory::of(pid).ok()) {
            sum.resident_kib += memory.resident_kib;
            sum.anonymous_kib += memory.anonymous_kib;
        }
        Ok(sum)
    }
}

impl Drop for Running {
    /// SIGKILL to the whole group: nothing has to be kept, and it can't be ignored.
    fn drop(&mut self) {
        if let (false, Ok(group)) =
            (self.process.is_waited_for(), libc::pid_t::try_from(self.group))
        {
            // SAFETY: takes no pointer. The process is in this group, whose number stays its own until
            // the process has been waited for.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        self.guard = None;
        // Fails only if it has ended already.
        let _ = self.process.wait();
    }
}

/// Runs a command to its end and returns its standard output. Ends it on an interruption or at the
/// deadline.
pub fn run(line: &CommandLine, deadline: Duration, interrupted: &Interrupted) -> Result<String> {
    let child = line.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.because(|| format!("starting {line}"))?;
    let started = Instant::now();
    // The tools write a page at the end. It fits into a pipe, so waiting first can't block them.
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

#[cfg(test)]
mod tests {
    use super::cost::stat_fields;
    use super::*;

    #[test]
    fn a_successor_process_is_followed_and_stopped() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = "trap 'sleep 1000 & echo $!; exit 0' USR2; echo ready; \
                      while :; do sleep 0.02; done";
        let line = CommandLine(["sh", "-c", script].map(str::to_owned).into());
        let log = folder.path().join("log");
        let mut running = Running::start("sh", &line, &log).expect("a shell");
        let started = Instant::now();
        let in_time = || match started.elapsed() > Duration::from_secs(60) {
            true => fail("it takes too long"),
            false => Ok(()),
        };
        while !running.output().expect("its output").contains("ready") {
            in_time().expect("ready");
            std::thread::sleep(POLL);
        }
        let (first, cores) = (running.id(), running.allowed_cores().expect("its cores"));
        running.may_hand_over().expect("a guard");
        let failure = running.take_over(std::process::id()).expect_err("we are not").to_string();
        assert!(failure.contains("finding the successor of sh"), "{failure}");
        running.signal(libc::SIGUSR2).expect("told");
        running.await_end(in_time).expect("its end");
        let log = running.output().expect("its output");
        let pid = log.lines().last().and_then(|pid| pid.parse().ok()).expect("a process");
        running.take_over(pid).expect("the new one");
        assert_ne!(first, pid);
        assert_eq!((running.id(), running.allowed_cores().expect("its cores")), (pid, cores));
        running.check_alive().expect("it runs");
        drop(running);
        assert!(stat_fields(pid).is_err(), "it has ended and was waited for");
    }

    #[test]
    fn child_processes_are_counted_and_end_with_their_parent() {
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
        assert_eq!(descendants(running.id()).expect("a tree"), [child]);
        while running.cpu().expect("its CPU time").us_since(Cpu::default()).0 < 50_000.0 {
            assert!(started.elapsed() < Duration::from_secs(60), "the child uses nothing");
            std::thread::sleep(POLL);
        }
        let own = Memory::of(running.id()).expect("its memory").resident_kib;
        assert!(running.memory().expect("their memory").resident_kib > own);
        drop(running);
        // It has ended, or is a zombie that init has yet to reap.
        while stat_fields(child).is_ok_and(|fields| fields[0] != "Z") {
            assert!(started.elapsed() < Duration::from_secs(60), "the child lives on");
            std::thread::sleep(POLL);
        }
    }
}
