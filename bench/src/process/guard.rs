//! Ends processes after the end of this process, even by `kill -9`. The kernel ends its children by
//! `PR_SET_PDEATHSIG`, but not their children.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::error::{Because, Result};

/// Reads until this process closes its end of the pipe, which the kernel does at the process's end.
const SCRIPT: &str = r#"read -r said; kill -s KILL -- "-$1""#;

/// Ends a group of processes if this process ends first. Drop it before the group's last process is
/// waited for, because the group's number may be reused afterwards.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Guards a group.
    pub fn of(group: u32) -> Result<Self> {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "guard", &group.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at a terminal reaches only this process.
            .process_group(0)
            .spawn();
        Ok(Self(child.because(|| "starting the guard of a server that hands over".into())?))
    }
}

impl Drop for Guard {
    /// Ends the guard by SIGKILL, before its input is closed.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::super::held::Held;
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::time::Duration;

    #[test]
    fn a_process_group_is_killed_when_the_bench_exits() {
        let sleep = || {
            let mut command = Command::new("sleep");
            command.arg("1000").process_group(0).spawn().expect("a process")
        };
        let (mut ends, mut stays) = (sleep(), sleep());
        let mut guard = Guard::of(ends.id()).expect("a guard");
        drop(Guard::of(stays.id()).expect("a guard"));
        // The kernel does this at the process's end.
        drop(guard.0.stdin.take());
        let ended = Held::started(&ends).ends_within(Duration::from_secs(60)).expect("its end");
        assert!(ended, "the guard did nothing");
        assert_eq!(ends.wait().expect("its end").signal(), Some(libc::SIGKILL));
        assert!(stays.try_wait().expect("its end").is_none());
        stays.kill().expect("kill it");
        stays.wait().expect("its end");
    }
}
