//! A real server for a test: its own process, port and data folder, removed on drop.
//!
//! A test fails if its server has panicked meanwhile, even if the server went on.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use tempfile::TempDir;

/// Time for a server to start listening.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// Time for one answer, or for a server to end.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// Time for a port to be free again, at a restart.
const PORT_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two attempts to get it.
const PORT_PAUSE: Duration = Duration::from_millis(50);

/// A running server, or an ended one that can start again.
pub struct Server {
    folder: TempDir,
    program: String,
    arguments: Vec<String>,
    limits: String,
    environment: Vec<(String, String)>,
    standard_error: Option<File>,
    address: Option<SocketAddr>,
    secure: Option<SocketAddr>,
    control: Option<SocketAddr>,
    process: Option<Pid>,
    log: Arc<Mutex<String>>,
    log_reader: Option<JoinHandle<()>>,
    may_panic: bool,
}

impl Server {
    /// Starts one with these options: `&["--sale", "ticket=150"]`. Unless the options name others,
    /// it has its own port and data folder.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_limited("", arguments)
    }

    /// The same, with the shell's limits set before: `"-n 64"` for 64 open files.
    pub fn start_limited(limits: &str, arguments: &[&str]) -> Self {
        Self::start_in(env!("CARGO_BIN_EXE_stampede"), limits, &[] as &[(&str, &str)], arguments)
    }

    /// The same with more variables in the environment.
    pub fn start_with(environment: &[(&str, impl AsRef<str>)], arguments: &[&str]) -> Self {
        Self::start_program(env!("CARGO_BIN_EXE_stampede"), environment, arguments)
    }

    /// The same with the caller's standard error, which is then not part of the log.
    pub fn start_to(standard_error: File, limits: &str, arguments: &[&str]) -> Self {
        let program = env!("CARGO_BIN_EXE_stampede");
        let mut server = Self::prepare(program, limits, &[("", ""); 0], arguments);
        server.standard_error = Some(standard_error);
        server.restart();
        server
    }

    /// The same with another build.
    pub fn start_program(
        program: &str,
        environment: &[(&str, impl AsRef<str>)],
        arguments: &[&str],
    ) -> Self {
        Self::start_in(program, "", environment, arguments)
    }

    fn start_in(
        program: &str,
        limits: &str,
        environment: &[(&str, impl AsRef<str>)],
        arguments: &[&str],
    ) -> Self {
        let mut server = Self::prepare(program, limits, environment, arguments);
        server.restart();
        server
    }

    fn prepare(
        program: &str,
        limits: &str,
        environment: &[(&str, impl AsRef<str>)],
        arguments: &[&str],
    ) -> Self {
        let own = |(name, value): &(&str, _)| {
            let value: &str = AsRef::as_ref(value);
            ((*name).to_owned(), value.to_owned())
        };
        Self {
            program: program.to_owned(),
            environment: environment.iter().map(own).collect(),
            standard_error: None,
            folder: tempfile::tempdir().expect("a temporary folder"),
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            limits: limits.to_owned(),
            address: None,
            secure: None,
            control: None,
            process: None,
            log: Arc::default(),
            log_reader: None,
            may_panic: false,
        }
    }

    /// Starts it again on the same data and port. If it runs, ends it first like `kill -9`.
    pub fn restart(&mut self) {
        let is_again = self.address.is_some() || self.control.is_some();
        let deadline = Instant::now() + PORT_PATIENCE;
        loop {
            let before = self.log().len();
            if self.try_restart() {
                return;
            }
            let log = self.log();
            let told = log.get(before..).unwrap_or_default();
            // The system may have given its port to a connection of another test meanwhile.
            let is_taken = is_again && told.contains("Address already in use");
            assert!(is_taken && Instant::now() < deadline, "the server did not start: {log}");
            thread::sleep(PORT_PAUSE);
        }
    }

    #[expect(clippy::zombie_processes, reason = "it is waited for by its number")]
    fn try_restart(&mut self) -> bool {
        self.kill();
        let mut child = self.command().spawn().expect("start the server");
        let log = self.log.clone();
        self.log_reader = child.stderr.take().map(|stderr| {
            thread::spawn(move || {
                let mut stderr = BufReader::new(stderr);
                let mut line = String::new();
                while matches!(stderr.read_line(&mut line), Ok(1..)) {
                    log.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line);
                    line.clear();
                }
            })
        });
        let stdout = child.stdout.take().expect("its stdout");
        self.process = Some(Pid::from_child(&child));
        let Some(addresses) = printed_addresses(stdout, self.log.clone()) else {
            self.kill();
            return false;
        };
        self.address = addresses.public;
        self.secure = addresses.secure;
        self.control = addresses.control;
        true
    }

    fn command(&self) -> Command {
        let program = &self.program;
        let mut command = if self.limits.is_empty() {
            Command::new(program)
        } else {
            let mut shell = Command::new("sh");
            let script = format!("ulimit {} && exec \"$0\" \"$@\"", self.limits);
            shell.args(["-c", &script, program]);
            shell
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STAMPEDE_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let has = |option: &str| self.arguments.iter().any(|a| a == option);
        command.arg("serve").args(&self.arguments);
        if !has("--listen") {
            let port = self.address.map_or(0, |address| address.port());
            command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        }
        if !has("--control") {
            // The same port as last time, as a restarted server has.
            let port = self.control.map_or(0, |address| address.port());
            command.arg("--control").arg(format!("127.0.0.1:{port}"));
        }
        if !has("--ledger") {
            let data = self.folder.path().join("data");
            command.arg("--ledger").arg(format!("embedded:{}", data.display()));
        }
        let own = self.standard_error.as_ref().map(|file| file.try_clone().expect("a descriptor"));
        let stderr = own.map_or_else(Stdio::piped, Stdio::from);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        command
    }

    /// Its address (the first, if it has several). Not for a server on a Unix socket alone.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("it listens on an address")
    }

    /// Its TLS address.
    pub fn secure(&self) -> SocketAddr {
        self.secure.expect("it speaks TLS")
    }

    /// The address of its control port.
    pub fn control(&self) -> SocketAddr {
        self.control.expect("it has a control port")
    }

    /// A connection to its control port, with the same deadlines as [`connect`](Self::connect).
    pub fn connect_control(&self) -> TcpStream {
        Self::connect_to(self.control())
    }

    /// A connection to it, with timeouts of [`ANSWER_DEADLINE`] for reading and writing.
    pub fn connect(&self) -> TcpStream {
        Self::connect_to(self.address())
    }

    /// A connection to this address, with the same deadlines.
    pub fn connect_to(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).expect("connect to the server");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        stream.set_write_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.expect("it runs").as_raw_nonzero().get() as u32
    }

    /// Its output and log so far, over all its starts.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.process.expect("it runs"), signal).expect("send a signal");
    }

    /// Ends it like `kill -9`.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            end_now(process);
        }
        self.finish_log();
    }

    /// Ends it like an operator, by SIGTERM. Returns its exit code.
    pub fn terminate(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until it has ended by itself. Returns its exit code; -1 if a signal ended it.
    pub fn wait(&mut self) -> i32 {
        let code = self.await_end();
        self.finish_log();
        code
    }

    fn await_end(&mut self) -> i32 {
        let process = self.process.take().expect("it runs");
        let until = Instant::now() + ANSWER_DEADLINE;
        loop {
            if let Some(code) = ended(process) {
                return code;
            }
            if Instant::now() > until {
                end_now(process);
                panic!("the server does not end: {}", self.log());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Has a new process take over (SIGUSR2). Waits until the old one has ended and the new one is
    /// ready; from then on the new one is the server.
    pub fn hand_over(&mut self) {
        const READY: &str = "buy one";
        // A process whose parent ends becomes our child.
        set_child_subreaper(Some(getpid())).expect("become a reaper");
        let times = self.log().matches(READY).count();
        self.signal(Signal::USR2);
        let code = self.await_end();
        let log = self.log();
        assert_eq!(code, 0, "the old process failed: {log}");
        let said =
            log.rsplit_once("hand-over: new process takes over pid=").expect("it has given way");
        let pid: String = said.1.chars().take_while(char::is_ascii_digit).collect();
        self.process = Pid::from_raw(pid.parse().expect("a process"));
        let until = Instant::now() + START_DEADLINE;
        while self.log().matches(READY).count() <= times {
            assert!(self.is_running(), "the new process ended: {}", self.log());
            assert!(Instant::now() < until, "the new process is not ready: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// For a test that expects panics which the server catches.
    pub fn allow_panics(&mut self) {
        self.may_panic = true;
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        let code = self.process.map(ended);
        if let Some(Some(_)) = code {
            self.process = None;
        }
        code == Some(None)
    }

    /// Reads the log to its end, after the server has ended.
    fn finish_log(&mut self) {
        if let Some(reader) = self.log_reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let died = self.process.is_some() && !self.is_running();
        self.kill();
        let log = self.log();
        if thread::panicking() {
            eprintln!("the server's log:\n{log}");
        } else {
            assert!(!died, "the server died: {log}");
            let wrong = ["panic", "overflowed its stack"].iter().any(|text| log.contains(text));
            assert!(!wrong || self.may_panic, "the server panicked: {log}");
        }
    }
}

/// The exit code of an ended process; -1 if a signal ended it.
fn ended(process: Pid) -> Option<i32> {
    let ended = waitpid(Some(process), WaitOptions::NOHANG).expect("wait for the server");
    ended.map(|(_, status)| status.exit_status().unwrap_or(-1))
}

fn end_now(process: Pid) {
    kill_process(process, Signal::KILL).expect("kill the server");
    waitpid(Some(process), WaitOptions::empty()).expect("wait for the server");
}

/// The address that a server prints.
#[derive(Default, Clone, Copy)]
struct Addresses {
    public: Option<SocketAddr>,
    secure: Option<SocketAddr>,
    control: Option<SocketAddr>,
}

/// Reads what a server prints when it is ready: its addresses, and last how to buy.
fn printed_addresses(stdout: ChildStdout, log: Arc<Mutex<String>>) -> Option<Addresses> {
    let (found, addresses) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut addresses = Addresses::default();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let address = |name: &str, scheme: &str| {
                let rest = line.trim_start().strip_prefix(name)?;
                rest.split_whitespace().find_map(|word| word.strip_prefix(scheme)?.parse().ok())
            };
            addresses.public = addresses.public.or(address("listening", "http://"));
            addresses.secure = addresses.secure.or(address("listening", "https://"));
            addresses.control = addresses.control.or(address("control", "http://"));
            let is_last = line.starts_with("buy one");
            *log.lock().unwrap_or_else(PoisonError::into_inner) += &(line + "\n");
            if is_last {
                let _ = found.send(addresses);
            }
        }
    });
    addresses.recv_timeout(START_DEADLINE).ok()
}
