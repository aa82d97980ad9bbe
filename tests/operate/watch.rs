//! `--watch`: what a terminal, a pipe and a script get while a sale sells and its server comes and goes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::buyer::Buyer;
use crate::server::{ANSWER_DEADLINE, Server};

/// A running command and the lines that it prints.
struct Watch {
    process: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let mut process =
            command(server, arguments).stdout(Stdio::piped()).spawn().expect("a start");
        let output = process.stdout.take().expect("its output");
        Self { process, lines: lines(output) }
    }

    /// The next line that contains this text.
    fn line(&self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(ANSWER_DEADLINE) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("no line with {text}"),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without {text}"),
            }
        }
    }

    /// Presses Ctrl-C. Returns the exit code.
    fn interrupt(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.process), Signal::INT).expect("a signal");
        self.process.wait().expect("its end").code()
    }
}

fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(arguments).args(["--control", &server.control().to_string()]);
    command
}

fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn buy(server: &Server) {
    let mut buyer = Buyer::connect(server.address()).expect("a connection");
    assert!(buyer.buy().expect("an answer").granted().is_some());
}

#[test]
fn a_piped_watch_prints_changes_and_survives_a_server_restart() {
    let mut server = Server::start(&["--sale", "ticket=10"]);
    let watch = Watch::start(&server, &["sale", "show", "ticket", "--watch", "100ms"]);
    watch.line(" ticket open free=10 held=0 confirmed=0 sold_per_s=-");
    buy(&server);
    let line = watch.line("free=9 held=1 confirmed=0");
    let rate: f64 = line.rsplit_once('=').expect("a rate").1.parse().expect("a number");
    assert!(rate > 0.0, "{line}");
    watch.line("free=9 held=1 confirmed=0 sold_per_s=0.0");
    server.kill();
    watch.line(" away: no server answers at http://127.0.0.1");
    server.restart();
    watch.line("free=9 held=1 confirmed=0");
    assert_eq!(watch.interrupt(), Some(0));
}

#[test]
fn a_json_watch_prints_every_sale_of_the_list() {
    let mut server = Server::start(&["--sale", "ticket=10", "--sale", "poster=5"]);
    let watch = Watch::start(&server, &["sale", "list", "--watch=100ms", "--json"]);
    let sale = |text: &str| -> Value { serde_json::from_str(&watch.line(text)).expect("JSON") };
    assert_eq!(sale("\"poster\"")["free"], 5);
    buy(&server);
    let sold = sale("\"held\":1");
    assert_eq!((&sold["id"], &sold["free"]), (&"ticket".into(), &9.into()));
    assert!(sold["sold_per_s"].as_f64() > Some(0.0) && sold["at"].is_string(), "{sold}");
    server.kill();
    assert!(sale("\"away\"")["away"].as_str().expect("a reason").contains("no server answers"));
    assert_eq!(watch.interrupt(), Some(0));
}

#[test]
fn a_watch_on_a_terminal_is_redrawn_in_place() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let program = env!("CARGO_BIN_EXE_stampede");
    // `exec`: a shell that stays in between, as dash does, ends with 130 on Ctrl-C.
    let control = server.control();
    let line = format!("exec {program} sale show ticket --watch 100ms --control {control}");
    // util-linux's: it runs a command on a terminal of its own.
    let mut process = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script: install bsdutils");
    let mut output = BufReader::new(process.stdout.take().expect("its output"));
    let mut text = String::new();
    let mut until = |wanted: &str| {
        let mut byte = [0];
        while !text.contains(wanted) {
            assert_eq!(output.read(&mut byte).expect("output"), 1, "{text}");
            text.push(byte[0].into());
        }
    };
    until("Ctrl-C ends");
    // Up to the first line, and cleared from there.
    until("A\r\u{1b}[J");
    buy(&server);
    until("held            1");
    // Ctrl-C, as the terminal gets it.
    std::io::Write::write_all(process.stdin.as_mut().expect("its input"), b"\x03").expect("Ctrl-C");
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).expect("its end");
    assert_eq!(process.wait().expect("its end").code(), Some(0));
}

#[test]
fn a_watch_that_cannot_succeed_fails_at_once() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let failed = |arguments: &[&str]| {
        let output = command(&server, arguments).output().expect("an end");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let (code, error) = failed(&["sale", "show", "nope", "--watch"]);
    assert!(code == Some(1) && error.contains("There is no sale nope"), "{error}");
    let (code, error) = failed(&["sale", "show", "ticket", "--watch", "1ms"]);
    assert!(code == Some(2) && error.contains("--watch 1ms: must be from 100ms to 1h"), "{error}");
}
