//! A primary, two replicas and three Sentinels on loopback, each with its user of tuning/redis.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::lab::{Lab, Program, until};
use crate::redis_server::port::Port;
use crate::redis_server::{self, RedisConnection, RedisServer};

/// The primary's name.
pub const NAME: &str = "shop";
/// How long the primary must be silent for a Sentinel: far less than in tuning/redis/sentinel.conf,
/// which is for machines with more to do than a test.
const DOWN_AFTER_MS: u32 = 500;
/// Time for any event that a scenario waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module's header. The first Redis is the primary at the beginning.
pub struct Trio {
    pub redis: [RedisServer; 3],
    /// Their processes, in the order of their start.
    pids: [i32; 3],
    sentinels: Vec<(Port, Program)>,
    promoted: Arc<Mutex<Option<Instant>>>,
    _users: NamedTempFile,
}

impl Trio {
    /// Starts them, with these additional arguments for each Redis, and waits until all know each
    /// other.
    pub fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let users = redis_server::users();
        let path = users.path().to_str().expect("a path");
        let own = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"];
        let login = ["--aclfile", path, "--masteruser", "replica"];
        let login = [&login[..], &["--masterauth", "CHANGE-ME-REPLICA"]].concat();
        let arguments = [&own[..], &login, arguments].concat();
        let primary = RedisServer::start(&arguments);
        let port = primary.port().to_string();
        let follow = [&["--replicaof", "127.0.0.1", &port], &arguments[..]].concat();
        let redis = [primary, RedisServer::start(&follow), RedisServer::start(&follow)];
        let linked = || redis[0].connect().text("INFO replication").contains("connected_slaves:2");
        until("both replicas follow", PATIENCE, linked);

        let sentinels = (0..3).map(|number| sentinel(lab, number, &port)).collect();
        let pids = redis.each_ref().map(process);
        let trio = Self { redis, pids, sentinels, promoted: Arc::default(), _users: users };
        for (port, _) in &trio.sentinels {
            let port = port.number();
            until("the Sentinels know all", PATIENCE, || {
                let state = ask(port, &format!("SENTINEL MASTER {NAME}"));
                let is = |name: &str, value: &str| {
                    state.chunks(2).any(|pair| pair[0] == name && pair[1] == value)
                };
                is("num-slaves", "2") && is("num-other-sentinels", "2")
            });
            let promoted = trio.promoted.clone();
            thread::spawn(move || note_promotions(port, &promoted));
        }
        trio
    }

    /// The ledger's URL for a user of tuning/redis.
    pub fn url(&self, user: &str) -> String {
        let all: Vec<_> =
            self.sentinels.iter().map(|(port, _)| format!("127.0.0.1:{}", port.number())).collect();
        let login =
            format!("{user}:CHANGE-ME-{}", user.trim_start_matches("stampede-").to_uppercase());
        format!("redis-sentinel://{login}@{}/{NAME}/0", all.join(","))
    }

    /// Waits until a Sentinel has announced another primary, and returns when that was.
    pub fn promotion(&self) -> Instant {
        let known = || self.promoted.lock().expect("what was said").is_some();
        until("a replica is promoted", PATIENCE, known);
        self.promoted.lock().expect("what was said").expect("it is known")
    }

    /// The present primary, once all Sentinels agree, and its number.
    pub fn primary(&self) -> (usize, &RedisServer) {
        let said =
            |port: u16| ask(port, &format!("SENTINEL GET-MASTER-ADDR-BY-NAME {NAME}"))[1].clone();
        let mut all = Vec::new();
        until("all Sentinels agree", PATIENCE, || {
            all = self.sentinels.iter().map(|(port, _)| said(port.number())).collect();
            all.iter().all(|port| *port == all[0])
        });
        let is = |redis: &&RedisServer| redis.port().to_string() == all[0];
        let number = self.redis.iter().position(|redis| is(&redis)).expect("one of the three");
        (number, &self.redis[number])
    }

    /// Sends a signal to one of the Redis.
    pub fn signal(&self, number: usize, signal: Signal) {
        let pid = Pid::from_raw(self.pids[number]).expect("a process");
        kill_process(pid, signal).expect("send a signal");
    }

    /// Waits until one of the Redis follows the primary and has all its data.
    pub fn follows(&self, number: usize) {
        until("the old primary follows the new one", PATIENCE, || {
            // A Sentinel that makes it a replica closes its connections.
            let role = said(self.redis[number].stream()).unwrap_or_default();
            role.contains("role:slave") && role.contains("master_link_status:up")
        });
    }

    /// Cuts both replicas off: they stand still, and what the primary sends them is lost.
    pub fn cut_off_replicas(&self) {
        [1, 2].iter().for_each(|&number| self.signal(number, Signal::STOP));
        self.redis[0].connect().text("CLIENT KILL TYPE replica");
    }

    /// Lets them continue where they were.
    pub fn let_replicas_go_on(&self) {
        [1, 2].iter().for_each(|&number| self.signal(number, Signal::CONT));
    }
}

/// A field of a Redis' replication information.
fn said(mut stream: TcpStream) -> io::Result<String> {
    stream.write_all(b"INFO replication\r\nQUIT\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

fn process(redis: &RedisServer) -> i32 {
    let told = redis.connect().text("INFO server");
    let line = told.lines().find_map(|line| line.strip_prefix("process_id:"));
    line.and_then(|pid| pid.trim().parse().ok()).expect("its process")
}

fn sentinel(lab: &Lab, number: usize, primary: &str) -> (Port, Program) {
    let claimed = Port::free();
    let port = claimed.number();
    let folder = lab.folder().display();
    // A Sentinel writes what it learns into its file.
    let conf = lab.file(
        &format!("sentinel-{port}.conf"),
        &format!(
            "port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor {NAME} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n\
             sentinel failover-timeout {NAME} 5000\nsentinel parallel-syncs {NAME} 2\n\
             sentinel auth-user {NAME} sentinel\nsentinel auth-pass {NAME} CHANGE-ME-SENTINEL\n"
        ),
    );
    let mut command = Command::new("redis-server");
    let program =
        lab.start(&format!("sentinel-{number}-{port}"), command.arg(conf).arg("--sentinel"));
    until("a Sentinel answers", PATIENCE, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
    });
    (claimed, program)
}

fn ask(port: u16, command: &str) -> Vec<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect to a Sentinel");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    RedisConnection::new(stream).list(command)
}

/// Notes the first time at which a Sentinel announces that a replica is the primary.
fn note_promotions(port: u16, promoted: &Mutex<Option<Instant>>) {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
    if stream.write_all(b"SUBSCRIBE +promoted-slave +switch-master\r\n").is_err() {
        return;
    }
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        // The payload of such a message: the primary's name is in it.
        if line.contains(NAME) && !line.starts_with('+') {
            promoted.lock().expect("what was said").get_or_insert(Instant::now());
            return;
        }
    }
}
