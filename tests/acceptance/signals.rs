//! Signals that people and tools send from habit end no sale.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

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
fn a_server_ignores_those_that_ask_for_what_it_does_not_do_and_says_so() {
    let mut server = Server::start(&["--sale", "ticket=5"]);
    for (signal, name) in OTHERS {
        server.signal(signal);
        let line = format!("signal ignored signal=\"{name}\"");
        eventually(&line, 5, || server.log().contains(&line));
        assert!(buyer(&server).buy().expect("an answer").granted().is_some());
    }
    assert_eq!(server.terminate(), 0);
    // The one that leaves a core dump still ends it.
    server.restart();
    server.signal(Signal::ABORT);
    assert_eq!(server.wait(), -1);
}

#[test]
fn a_worker_of_orders_ignores_them_too() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to = format!("sqlite:{}", folder.path().join("orders.db").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(["orders", "--from", &redis.url(), "--to", &to]);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut worker = command.spawn().expect("start a worker");
    let mut lines = BufReader::new(worker.stderr.take().expect("its log")).lines();
    let mut until = |text: &str| {
        let found = lines.by_ref().map(|line| line.expect("a line")).any(|l| l.contains(text));
        assert!(found, "it ended without {text}");
    };
    until("orders");
    for (signal, name) in OTHERS {
        kill_process(Pid::from_child(&worker), signal).expect("a signal");
        until(name);
    }
    kill_process(Pid::from_child(&worker), Signal::TERM).expect("a signal");
    until("orders end");
    assert_eq!(worker.wait().expect("its end").code(), Some(0));
}
