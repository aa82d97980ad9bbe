//! A demonstration for a test: its own process, ports and temporary files, gone when it is dropped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::buyer::Buyer;

/// Far beyond what a demonstration of a test takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A demonstration with temporary files of its own.
pub struct Demo {
    temporary: TempDir,
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Demo {
    /// Starts one with these options, on ports of its own unless they say otherwise.
    pub fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
        command.arg("demo").args(arguments).env("TMPDIR", temporary.path());
        // What is set for a server is no matter of a demonstration.
        command.env("STAMPEDE_LEDGER", "redis://192.0.2.1").env("STAMPEDE_CORES", "none");
        for option in ["--listen", "--control"] {
            if !arguments.contains(&option) {
                command.args([option, "127.0.0.1:0"]);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start the demonstration");
        let stdout = BufReader::new(child.stdout.take().expect("its stdout"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { temporary, child, lines, said: String::new() }
    }

    /// The next line that contains this.
    pub fn line(&mut self, what: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) =
            self.lines.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.said += &line;
            self.said.push('\n');
            if line.contains(what) {
                return line;
            }
        }
        let _ = self.child.kill();
        let errors = self.errors();
        panic!("it does not say {what}: {}{errors}", self.said);
    }

    /// The address on the line of this name: `buy` or `watch`. The line of `buy` comes first.
    pub fn address(&mut self, name: &str) -> SocketAddr {
        let line = self.line(&format!("  {name} "));
        let (_, rest) = line.split_once("http://").expect("a URL");
        rest.trim_end_matches('/').parse().expect("an address")
    }

    /// A connection of a buyer, once all is said that is said at the start.
    pub fn buyer(&mut self) -> Buyer {
        let address = self.address("buy");
        self.line("stop");
        Buyer::connect(address).expect("connect")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("send a signal");
    }

    /// Waits for the end. Returns the exit code, and all that was said. Nothing is left behind.
    pub fn end(mut self) -> (i32, String) {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) =
            self.lines.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.said += &line;
            self.said.push('\n');
        }
        let said = self.said.clone() + &self.errors();
        let code = self.child.wait().expect("its end").code().expect("an exit code");
        let left: Vec<_> = self.temporary.path().read_dir().expect("the folder").collect();
        assert!(left.is_empty(), "{left:?}");
        (code, said)
    }

    /// What it has logged, once it has ended.
    fn errors(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            errors.read_to_string(&mut text).expect("its log");
        }
        text
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
