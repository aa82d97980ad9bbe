//! Programs that are killed and started again, on the same ports and folders: servers, Redis,
//! workers.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::lab::{Lab, Net, Program, until};
use crate::redis_server::RedisConnection;
use crate::redis_server::port::Port;

/// Time for a program to be ready, or to end.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The line of a server that is ready.
const READY: &str = "buy one";

/// Where a program runs.
#[derive(Clone)]
pub enum Around {
    /// As this program does.
    Here,
    /// In a network namespace.
    Net(Net),
    /// In the mount namespace of this process.
    Mounts(u32),
}

impl Around {
    /// A command that runs there, without the variables of our settings.
    pub fn command(&self, program: &str) -> Command {
        let mut command = match self {
            Self::Here => Command::new(program),
            Self::Net(net) => net.command(program),
            Self::Mounts(process) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--mount=/proc/{process}/ns/mnt")).arg(program);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STAMPEDE_") {
                command.env_remove(name);
            }
        }
        command
    }
}

/// Makes the command of a program's next start.
type Build = Box<dyn Fn() -> Command + Send>;

/// A program with its starts.
pub struct Member {
    name: String,
    lab: Arc<Lab>,
    build: Build,
    /// A text of its output that says that it is ready. Empty: nothing is waited for.
    ready: &'static str,
    starts: usize,
    running: Option<Program>,
    /// What its logs say that they must not.
    faults: Vec<String>,
}

impl Member {
    /// Starts it, and waits until it is ready.
    pub fn start(lab: &Arc<Lab>, name: &str, ready: &'static str, build: Build) -> Self {
        let mut member = Self {
            name: name.to_owned(),
            lab: lab.clone(),
            build,
            ready,
            starts: 0,
            running: None,
            faults: Vec::new(),
        };
        member.restart();
        member
    }

    /// Ends it like `kill -9`, if it runs, and starts it.
    pub fn restart(&mut self) {
        self.kill();
        self.starts += 1;
        let mut running = self.lab.start(&self.log_name(), &mut (self.build)());
        running.says(self.ready, PATIENCE);
        self.running = Some(running);
    }

    /// Starts it, and ends it after this time, ready or not.
    pub fn start_and_kill(&mut self, after: Duration) {
        self.kill();
        self.starts += 1;
        self.running = Some(self.lab.start(&self.log_name(), &mut (self.build)()));
        std::thread::sleep(after);
        self.kill();
    }

    /// Each start has its own file, so that what it says is not taken for what another one said.
    fn log_name(&self) -> String {
        format!("{}-{}", self.name, self.starts)
    }

    /// Ends it like `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
            self.read_log(&running);
        }
    }

    /// Ends it in order, by SIGTERM. Returns its exit code.
    pub fn terminate(&mut self) -> i32 {
        let Some(mut running) = self.running.take() else { return 0 };
        let code = running.terminate(PATIENCE);
        self.read_log(&running);
        code
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(Program::is_running)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.as_ref().expect("it runs").signal(signal);
    }

    /// Looks for panics, and removes the file: there are hundreds of starts.
    fn read_log(&mut self, ended: &Program) {
        let log = ended.log();
        if ["panicked", "overflowed its stack"].iter().any(|text| log.contains(text)) {
            self.faults.push(format!("{} panicked: {log}", self.log_name()));
        }
        let file = self.lab.folder().join(format!("{}.log", self.log_name()));
        let _ = fs::remove_file(file);
    }

    /// What its logs say that they must not, over all starts that have ended.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }
}

/// A server.
pub struct Seller {
    /// Its process.
    pub member: Member,
    public: Port,
    control: Port,
}

impl Seller {
    /// Starts one with these options. Buyers may confirm.
    pub fn start(lab: &Arc<Lab>, name: &str, around: &Around, options: &[&str]) -> Self {
        let (public, control) = (Port::free(), Port::free());
        let around = around.clone();
        let mut arguments: Vec<String> = vec!["serve".to_owned(), "--public-confirm".to_owned()];
        for (option, port) in [("--listen", &public), ("--control", &control)] {
            arguments.push(option.to_owned());
            arguments.push(format!("127.0.0.1:{}", port.number()));
        }
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        let build = move || {
            let mut command = around.command(env!("CARGO_BIN_EXE_stampede"));
            command.args(&arguments);
            command
        };
        Self { member: Member::start(lab, name, READY, Box::new(build)), public, control }
    }

    /// Its public port.
    pub fn public(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.public.number()))
    }

    /// Its control port.
    pub fn control(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.control.number()))
    }
}

/// A Redis that keeps what it has acknowledged when it is killed: it syncs each write.
pub struct Redis {
    /// Its process.
    pub member: Member,
    address: IpAddr,
    port: Port,
    around: Around,
}

impl Redis {
    /// Starts this program, on this address, with its data in this folder.
    pub fn start(
        lab: &Arc<Lab>,
        program: &str,
        around: &Around,
        address: IpAddr,
        folder: PathBuf,
    ) -> Self {
        let port = Port::free();
        let (program, number) = (program.to_owned(), port.number().to_string());
        let place = around.clone();
        let build = move || {
            let mut command = place.command(&program);
            command.args(["--port", &number, "--bind", &address.to_string()]);
            command.args(["--protected-mode", "no", "--save", ""]);
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
            command.arg("--dir").arg(&folder);
            command
        };
        let member = Member::start(lab, "redis", "", Box::new(build));
        let redis = Self { member, address, port, around: around.clone() };
        redis.await_answer();
        redis
    }

    /// The URL.
    pub fn url(&self) -> String {
        format!("redis://{}:{}/0", self.address, self.port.number())
    }

    /// Starts it again, and waits until it has read its data.
    pub fn restart(&mut self) {
        self.member.restart();
        self.await_answer();
    }

    /// A connection for commands of the test.
    pub fn connect(&self) -> RedisConnection {
        RedisConnection::new(self.stream().expect("connect to Redis"))
    }

    fn stream(&self) -> Option<TcpStream> {
        let address = (self.address, self.port.number());
        let connect = move || TcpStream::connect(address);
        let stream = match &self.around {
            Around::Net(net) => net.within(connect),
            Around::Here | Around::Mounts(_) => connect(),
        };
        let stream = stream.ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(stream)
    }

    fn await_answer(&self) {
        until("Redis answers", PATIENCE, || self.answers().unwrap_or(false));
    }

    /// Whether it is up, and has read its data.
    fn answers(&self) -> Option<bool> {
        let mut stream = self.stream()?;
        let mut answer = [0; 5];
        stream.write_all(b"PING\r\n").ok()?;
        stream.read_exact(&mut answer).ok()?;
        Some(&answer == b"+PONG")
    }
}
