//! A real Redis for a test: its own process, port and folder, removed on drop.
//!
//! `STAMPEDE_TEST_REDIS_SERVER` names another program in place of `redis-server`: another version,
//! or Valkey.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Parser, Value};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use port::Port;

#[path = "port.rs"]
#[allow(clippy::duplicate_mod, reason = "both kinds of servers bring it along")]
pub mod port;

/// Time for the start. An append-only file is read first.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// A node of a Cluster talks to the others at its own port plus this.
const CLUSTER_BUS: u16 = 10_000;
/// Its log, in its folder.
const LOG: &str = "redis.log";
/// Time for one answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// A running Redis, or a killed one that can start again.
pub struct RedisServer {
    folder: TempDir,
    port: Port,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts one with these arguments in addition to port and folder: `&["--appendonly", "yes"]`.
    /// Without such arguments nothing is persisted.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(&[], arguments)
    }

    /// The same with more variables in the environment.
    pub fn start_with(environment: &[(&str, String)], arguments: &[&str]) -> Self {
        let own = |(name, value): &(&str, String)| ((*name).to_owned(), value.clone());
        let in_cluster = arguments.contains(&"--cluster-enabled");
        let mut log = String::new();
        // Another process may take the port between our choice and the start: choose again.
        for _ in 0..10 {
            let mut server = Self {
                folder: tempfile::tempdir().expect("a temporary folder"),
                port: if in_cluster { Port::free_with(CLUSTER_BUS) } else { Port::free() },
                arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
                environment: environment.iter().map(own).collect(),
                child: None,
            };
            if server.spawn() {
                return server;
            }
            log = server.log();
        }
        panic!("redis-server did not start in ten attempts; the last one's log:\n{log}");
    }

    /// Starts one with the [`users`] of tuning/. Keep the returned file.
    #[allow(dead_code)]
    pub fn with_users() -> (Self, tempfile::NamedTempFile) {
        let file = users();
        let path = file.path().to_str().expect("a path");
        (Self::start(&["--aclfile", path]), file)
    }

    /// The URL for one of its users.
    #[allow(dead_code)]
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}/0", self.port())
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port())
    }

    /// Ends it like `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill redis-server");
            child.wait().expect("wait for redis-server");
        }
    }

    /// Stops it like a machine that swaps: connections stay, nothing is answered.
    #[allow(dead_code)]
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues after [`stop`](Self::stop).
    #[allow(dead_code)]
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("send a signal");
    }

    /// Starts it again after [`kill`](Self::kill), on the same port and folder.
    pub fn restart(&mut self) {
        self.kill();
        let port = self.port();
        assert!(self.spawn(), "redis-server did not come back on port {port}:\n{}", self.log());
    }

    /// Its log, over all starts.
    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_else(|e| e.to_string())
    }

    /// A connection for a test's own commands.
    pub fn connect(&self) -> RedisConnection {
        RedisConnection::new(self.stream())
    }

    /// A bare connection.
    pub fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port())).expect("connect");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a read time-out");
        stream
    }

    /// Whether it started. It has not if its port was taken.
    fn spawn(&mut self) -> bool {
        let program = std::env::var("STAMPEDE_TEST_REDIS_SERVER");
        let mut command = Command::new(program.as_deref().unwrap_or("redis-server"));
        command.args(["--port", &self.port().to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(self.folder.path()).args(["--logfile", LOG]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("this test needs redis-server ({error}): apt-get install redis-server")
        });
        let started = Instant::now();
        self.child = Some(child);
        while started.elapsed() < START_DEADLINE {
            if self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))) {
                self.child = None;
                return false;
            }
            if self.answers() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        false
    }

    /// Whether it is up and has read its data.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port())) else {
            return false;
        };
        let mut answer = [0; 64];
        let asked = stream.write_all(b"PING\r\n").and_then(|()| stream.read(&mut answer));
        // A Redis that wants a password is up too.
        asked.is_ok_and(|n| [&b"+PONG"[..], b"-NOAUTH"].iter().any(|a| answer[..n].starts_with(a)))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The users of `tuning/redis/users.acl` with the passwords of that file. The default user, which
/// is the test itself, may do everything.
#[allow(dead_code)]
pub fn users() -> tempfile::NamedTempFile {
    let users = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/redis/users.acl");
    let users = std::fs::read_to_string(users).expect("the users of tuning/");
    let (off, on) = ("user default off", "user default on nopass ~* &* +@all");
    assert!(users.contains(off));
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), users.replace(off, on)).expect("write the users");
    file
}

/// A blocking connection.
pub struct RedisConnection {
    stream: TcpStream,
    parser: Parser,
}

impl RedisConnection {
    /// Wraps a connection without an outstanding reply.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, parser: Parser::new() }
    }

    /// The stream, while no reply is outstanding.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends these bytes and reads this number of replies. An error counts as a reply.
    pub fn send(&mut self, request: &[u8], replies: usize) -> Vec<Value> {
        self.stream.write_all(request).expect("send to Redis");
        (0..replies)
            .map(|_| self.parser.parse_value(&mut self.stream).expect("a reply of Redis"))
            .collect()
    }

    /// One command, with arguments separated by spaces.
    pub fn ask(&mut self, command: &str) -> Value {
        let mut words = command.split(' ');
        let mut packed = redis::cmd(words.next().expect("a command"));
        words.for_each(|word| _ = packed.arg(word));
        self.send(&packed.get_packed_command(), 1).remove(0)
    }

    /// One command whose reply is a text or a number.
    pub fn text(&mut self, command: &str) -> String {
        redis::from_redis_value(self.ask(command)).expect("a text")
    }

    /// One command whose reply is a list of texts, also within lists.
    pub fn list(&mut self, command: &str) -> Vec<String> {
        fn flatten(value: Value, into: &mut Vec<String>) {
            match value {
                Value::Array(list) => list.into_iter().for_each(|value| flatten(value, into)),
                value => into.push(redis::from_redis_value(value).expect("a text")),
            }
        }
        let mut list = Vec::new();
        flatten(self.ask(command), &mut list);
        list
    }

    /// The content of a sale's hash of reservations: ids, and the text after each.
    pub fn reservations(&mut self, key: &str) -> Vec<(String, String)> {
        let fields = self.list(&format!("HGETALL {key}"));
        let lines = fields.chunks(2).flat_map(|field| field[1].lines());
        let reservation = |line: &str| {
            let (id, stands) = line.split_once(' ').expect("a line");
            (id.to_owned(), stands.to_owned())
        };
        lines.map(reservation).collect()
    }
}
