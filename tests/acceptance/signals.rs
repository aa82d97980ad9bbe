//! Signals that people and tools send out of habit end no sale.

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, eventually};

const OTHERS: [(Signal, &str); 4] = [
    (Signal::HUP, "SIGHUP"),
    (Signal::QUIT, "SIGQUIT"),
    (Signal::USR1, "SIGUSR1"),
    (Signal::USR2, "SIGUSR2"),
];

#[test]
fn a_server_ignores_and_logs_unsupported_signals() {
    let mut server = Server::start(&["--sale", "ticket=5"]);
    let does = [Signal::HUP, Signal::USR2];
    for (signal, name) in OTHERS.into_iter().filter(|(signal, _)| !does.contains(signal)) {
        server.signal(signal);
        let line = format!("signal ignored signal=\"{name}\"");
        eventually(&line, 5, || server.log().contains(&line));
        assert!(buyer(&server).buy().expect("an answer").granted().is_some());
    }
    assert_eq!(server.terminate(), 0);
    // The signal that leaves a core dump still ends it.
    server.restart();
    server.signal(Signal::ABORT);
    assert_eq!(server.wait(), -1);
}

/// A process and its log, line by line.
struct Logged {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Logged {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start it");
        let lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        Self { child, lines }
    }

    /// Reads on to a line with this text.
    fn until(&mut self, text: &str) {
        let found = self.lines.by_ref().any(|line| line.expect("a line").contains(text));
        assert!(found, "it ended without {text}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal");
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_terminated_before_it_is_ready_exits_with_0() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one");
    let ledger = format!("redis://{nobody}");
    let listen = ["--listen", "127.0.0.1:0", "--control", "off"];
    let mut server = Logged::start(&[&listen[..], &["--ledger", &ledger]].concat());
    server.until("ledger unreachable");
    server.signal(Signal::TERM);
    server.until("shutdown requested before it was ready");
    assert_eq!(server.child.wait().expect("its end").code(), Some(0));
}

#[test]
fn an_orders_worker_ignores_unsupported_signals() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to = format!("sqlite:{}", folder.path().join("orders.db").display());
    let mut worker = Logged::start(&["orders", "--from", &redis.url(), "--to", &to]);
    worker.until("orders");
    for (signal, name) in OTHERS {
        worker.signal(signal);
        worker.until(name);
    }
    worker.signal(Signal::TERM);
    worker.until("orders worker stopped");
    assert_eq!(worker.child.wait().expect("its end").code(), Some(0));
}
