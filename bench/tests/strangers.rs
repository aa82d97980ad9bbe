//! Checks each stranger's report, against the floor and the sink. The group `strangers` measures their
//! effect on stampede.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bench::answer::{Answer, Content};
use bench::lab::{Lab, Served, free_address};
use bench::process::Running;
use bench::secure::Certificate;
use bench::servers::{Ledger, Programs, Server, Setup};
use bench::strangers::{flood, handshakes, hold, probe, silent, sink};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);

/// A lab of its own, whose programs are those that this test was built with.
struct Here {
    // Before the folder, so that what runs in it ends first.
    lab: Lab,
    _folder: TempDir,
}

fn here() -> Here {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let built = Path::new(env!("CARGO_BIN_EXE_stranger")).parent().expect("a folder").to_path_buf();
    let programs = Programs { folder: built, stampede: PathBuf::new() };
    let (data, commands) = (folder.path().join("data"), folder.path().join("commands.txt"));
    let interrupted = Arc::new(AtomicBool::new(false));
    let lab = Lab::open((0, 1), programs, data, &commands, interrupted).expect("a lab");
    Here { lab, _folder: folder }
}

impl Here {
    fn floor(&mut self) -> Served {
        self.floor_with(None)
    }

    fn floor_with(&mut self, tls: Option<&Certificate>) -> Served {
        let (content, ledger) = (Content::SoldOut, Ledger::None);
        let setup = Setup { cores: &[0], content, ledger, total: 1, options: &[], tls };
        let served = self.lab.serve(Server::Floor, &setup).expect("the floor");
        served.expect(Answer::SoldOut).expect("its answer");
        served
    }

    fn sink(&mut self) -> (Running, SocketAddr) {
        let address = free_address().expect("a port");
        let sink = self.stranger(&["sink", "--listen", &address.to_string()]);
        let begun = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < DEADLINE, "nothing listens on {address}");
            std::thread::sleep(Duration::from_millis(5));
        }
        (sink, address)
    }

    fn stranger(&mut self, words: &[&str]) -> Running {
        let line = self.lab.programs.stranger(&[0, 1], words);
        self.lab.background_with_input("stranger", &line).expect("a stranger")
    }
}

fn said<T: DeserializeOwned>(output: &str) -> T {
    let line = output.lines().last().expect("a line");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn end<T: DeserializeOwned>(stranger: Running) -> T {
    stranger.signal(libc::SIGTERM).expect("a signal");
    said(&stranger.finish(DEADLINE).expect("it ends well"))
}

#[test]
fn a_sink_accepts_endless_heads_and_silent_connections() {
    let mut here = here();
    let (sink, address) = here.sink();
    let to = address.to_string();
    let heads = here.stranger(&["heads", "--to", &to, "--connections", "3"]);
    let silent = ["silent", "--to", &to, "--from", "127.0.9.9", "--attempts", "40"];
    let silent = here.stranger(&silent);
    std::thread::sleep(Duration::from_secs(1));
    let (heads, silent): (flood::Report, silent::Report) = (end(heads), end(silent));
    assert_eq!((heads.opened, heads.closed), (3, 0));
    assert_eq!((silent.attempts, silent.open_at_end, silent.closed), (40, 40, 0));
    let sink: sink::Report = end(sink);
    // One more connection checked whether the sink listens.
    assert_eq!(sink.accepted, 3 + 40 + 1);
    assert!(sink.bytes > 0 && sink.bytes <= heads.bytes, "{sink:?}, {heads:?}");
}

#[test]
fn a_closed_flood_connection_is_reopened() {
    let mut here = here();
    let (sink, address) = here.sink();
    let to = address.to_string();
    let heads = here.stranger(&["heads", "--to", &to, "--connections", "2"]);
    std::thread::sleep(Duration::from_millis(300));
    // The connections of the sink end with its process.
    drop(sink);
    std::thread::sleep(Duration::from_millis(300));
    let report: flood::Report = end(heads);
    assert!(report.opened > 2 && report.closed > 2, "{report:?}");
}

#[test]
fn honest_clients_are_served_beside_one_that_never_reads() {
    let mut here = here();
    let floor = here.floor();
    let to = floor.address.to_string();
    let greedy = here.stranger(&["pipeline", "--to", &to, "--connections", "3"]);
    let mut crowd =
        here.stranger(&["hold", "--to", &to, "--addresses", "5", "--connections", "100"]);
    let begun = Instant::now();
    while crowd.output().expect("what it says") != "held 100\n" {
        crowd.check_alive().expect("it waits for us");
        assert!(begun.elapsed() < DEADLINE, "not held");
        std::thread::sleep(Duration::from_millis(5));
    }
    let path = ["--path", "/buy/ticket", "--every-ms", "20", "--seconds", "1"];
    let probe = here.stranger(&[&["probe", "--to", &to][..], &path[..]].concat());
    let seen: probe::Report = said(&probe.finish(DEADLINE).expect("it ends by itself"));
    assert_eq!((seen.requests, seen.failures), (50, 0), "{seen:?}");
    crowd.say("once more").expect("it hears");
    let crowd: hold::Report = said(&crowd.finish(DEADLINE).expect("it ends by itself"));
    assert_eq!(crowd, hold::Report { held: 100, survived: 100 });
    let greedy: flood::Report = end(greedy);
    assert!(greedy.bytes > 0, "{greedy:?}");
}

#[test]
fn handshakes_complete_or_stop_as_their_manner_says() {
    let mut here = here();
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::make(folder.path()).expect("a certificate");
    let floor = here.floor_with(Some(&certificate));
    let to = floor.address.to_string();
    let shake = ["handshakes", "--to", &to, "--connections", "20", "--addresses", "3"];
    let manners = ["full", "half", "idle", "garbage"].map(|manner| {
        here.stranger(&[&shake[..], &["--rate", "200", "--manner", manner]].concat())
    });
    std::thread::sleep(Duration::from_secs(1));
    let [full, half, idle, garbage] = manners.map(end::<handshakes::Report>);
    assert!(full.completed > 0 && full.completed <= full.attempts, "{full:?}");
    assert_eq!((full.closed, full.failed), (0, 0), "{full:?}");
    // The floor has no deadline.
    assert_eq!((half.attempts, half.open_max, half.completed, half.closed), (20, 20, 0, 0));
    assert_eq!((idle.attempts, idle.open_max, idle.completed, idle.closed), (20, 20, 20, 0));
    assert!(garbage.closed > 0 && garbage.completed == 0, "{garbage:?}");
    floor.expect(Answer::SoldOut).expect("it still answers");
}

#[test]
fn impossible_settings_are_refused_with_a_reason() {
    let mut here = here();
    for (words, reason) in [
        (&["heads", "--to", "127.0.0.1"][..], "HOST:PORT"),
        (
            &["silent", "--to", "127.0.0.1:1", "--from", "127.0.0.1", "--attempts", "999999"],
            "ulimit",
        ),
        (&["sink", "--listen", "192.0.2.1:1"], "listening on 192.0.2.1:1"),
    ] {
        let error = here.stranger(words).finish(DEADLINE).expect_err("a failure").to_string();
        assert!(error.contains(reason), "{words:?}: {error}");
    }
}
