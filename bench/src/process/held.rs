//! A process that this one may wait for by its number: a child, or an orphan that became one.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getpgid, pidfd_open, waitpid};

use crate::error::{Because, Result, fail};

/// A child. Its number stays its own until it has been waited for.
#[derive(Debug)]
pub struct Held {
    pid: Pid,
    ended: Option<ExitStatus>,
}

impl Held {
    /// A child that was just started.
    pub fn started(child: &Child) -> Self {
        Self { pid: Pid::from_child(child), ended: None }
    }

    /// An orphan of this group. Fails if the process is not a child of this one, or has ended.
    pub fn left(pid: u32, group: u32) -> Result<Self> {
        let whole = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let Some(pid) = whole else { return fail(format!("{pid} is not a process")) };
        let mut held = Self { pid, ended: None };
        let number = held.id();
        let what = || format!("process {number}, which was left to us");
        // A child's number can't be reused before it has been waited for.
        if let Some(status) = held.try_wait().because(what)? {
            return fail(format!("{}, has ended ({status})", what()));
        }
        let its = getpgid(Some(pid)).because(what)?.as_raw_nonzero().get();
        if u32::try_from(its) != Ok(group) {
            return fail(format!("{}, is in the group {its} and not in {group}", what()));
        }
        Ok(held)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it has ended and been waited for. Its number may be reused then.
    pub fn is_waited_for(&self) -> bool {
        self.ended.is_some()
    }

    /// Its status, if it has ended.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait_with(WaitOptions::NOHANG)
    }

    /// Waits for its status.
    pub fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait_with(WaitOptions::empty())
    }

    fn wait_with(&mut self, options: WaitOptions) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let ended = retry_on_intr(|| waitpid(Some(self.pid), options))?;
            self.ended = ended.map(|(_, status)| ExitStatus::from_raw(status.as_raw()));
        }
        Ok(self.ended)
    }

    /// Whether it ends within this time. Wakes up at once, and does not wait for its status.
    pub fn ends_within(&self, time: Duration) -> io::Result<bool> {
        if self.is_waited_for() {
            return Ok(true);
        }
        let descriptor = pidfd_open(self.pid, PidfdFlags::empty())?;
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&time)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is waited for by its number")]
    fn the_exit_status_is_noticed_and_kept() {
        let child = Command::new("sh").args(["-c", "exit 3"]).spawn().expect("a shell");
        let mut held = Held::started(&child);
        while !held.ends_within(Duration::from_secs(1)).expect("its end") {}
        assert!(!held.is_waited_for());
        for _ in 0..2 {
            assert_eq!(held.wait().expect("its end").and_then(|status| status.code()), Some(3));
            assert!(held.is_waited_for());
        }
        assert!(Held::left(0, 1).is_err());
        let failure = Held::left(1, 1).expect_err("not ours").to_string();
        assert!(failure.contains("process 1, which was left to us"), "{failure}");
    }
}
