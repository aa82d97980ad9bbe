//! A new process takes over (SIGUSR2): no client is refused or reset, and nothing is lost.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::client::{Client, get, sold};
use crate::place::{Door, Place};
use crate::redis::RedisServer;
use crate::server::{ANSWER_DEADLINE, Server};

const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";
/// Processes that take over, one after the other.
const TIMES: usize = 20;

/// Buys until the test stops it, on a connection per purchase or on a kept one. Returns the number
/// of tickets. Everything else fails: a connection that is refused or reset, an answer that does
/// not come, or another answer.
fn buy(door: &Door, keep: bool, stop: &AtomicBool) -> u64 {
    let mut bought = 0;
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let client = kept.get_or_insert_with(|| door.client());
        let response = client.ask(BUY);
        assert_eq!(response.json()["code"], 1, "{} {}", response.head, response.text());
        bought += 1;
        if response.closes() {
            client.assert_end();
        }
        if response.closes() || !keep {
            kept = None;
        }
    }
    bought
}

/// Hands over this number of times while this number buy in each way. Checks that everything they
/// got is sold.
fn hand_over_under_load(server: &mut Place, times: usize) {
    let address = server.line_address();
    let stop = AtomicBool::new(false);
    let bought: u64 = thread::scope(|scope| {
        let buyers: Vec<_> = [true, false, true, false]
            .map(|keep| {
                let (door, stop) = (server.door(), &stop);
                scope.spawn(move || buy(&door, keep, stop))
            })
            .into_iter()
            .collect();
        // Whatever fails, the buyers end.
        let handed_over = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..times {
                server.hand_over();
                assert!(buyers.iter().all(|buyer| !buyer.is_finished()), "a buyer has failed");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let bought = buyers.into_iter().map(|buyer| buyer.join().expect("a buyer")).sum();
        handed_over.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        bought
    });
    assert_eq!(server.line_address(), address);
    assert_eq!(sold(server), bought, "of {times} hand-overs");
    println!("{bought} bought");
    for paused in server.log().lines().filter(|line| line.contains("took over the ledger")) {
        println!("{paused}");
    }
}

#[test]
fn purchases_wait_for_the_new_process_on_the_embedded_ledger() {
    for mut server in Place::each(&["--sale", "ticket=10000000"]) {
        hand_over_under_load(&mut server, TIMES / 2);
    }
}

#[test]
fn both_processes_sell_during_a_hand_over_on_redis() {
    let redis = RedisServer::start(&[]);
    let options = ["--ledger", &redis.url(), "--sale", "ticket=10000000"];
    for mut server in Place::each(&options) {
        redis.connect().text("FLUSHALL");
        server.restart();
        hand_over_under_load(&mut server, TIMES / 2);
    }
}

/// A server with a file of settings, which may be changed.
fn with_settings(text: &str, options: &[&str]) -> (Server, NamedTempFile) {
    let file = NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("write");
    let config = ["--config", file.path().to_str().expect("UTF-8")];
    (Server::start(&[&config, options].concat()), file)
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + ANSWER_DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// No client notices a process that cannot take over.
#[test]
fn the_old_process_goes_on_if_the_new_one_fails() {
    let (mut server, file) = with_settings("idle-timeout = '1m'", &["--sale", "ticket=1000"]);
    let mut kept = Client::new(&server);
    assert!(!kept.ask(BUY).closes());
    fs::write(file.path(), "idle-timeout = 'soon'").expect("write");
    server.signal(Signal::USR2);
    until("it is told", || server.log().contains("hand-over failed; this process goes on"));
    assert!(server.log().contains("idle-timeout = soon"), "{}", server.log());
    assert!(!kept.ask(BUY).closes());
    assert_eq!(get(&server, "/buy/ticket").json()["code"], 1);
    fs::write(file.path(), "idle-timeout = '2m'").expect("write");
    server.hand_over();
    kept.assert_end();
    assert_eq!(sold(&server), 3);
}

/// A process that is killed before it has taken over leaves no trace either. A second signal in
/// the meantime starts no second process.
#[test]
fn the_old_process_goes_on_if_the_new_one_is_killed() {
    // It waits for a Redis that does not answer, and so is not ready.
    let redis = RedisServer::start(&[]);
    let mut server = Server::start(&["--ledger", &redis.url(), "--sale", "ticket=1000"]);
    assert_eq!(get(&server, "/buy/ticket").json()["code"], 1);
    redis.stop();
    server.signal(Signal::USR2);
    let children = || children_of(server.pid());
    until("it is started", || children().len() == 1);
    server.signal(Signal::USR2);
    until("one is enough", || server.log().contains("one is under way"));
    assert_eq!(children().len(), 1);
    let child = Pid::from_raw(children()[0]).expect("a process");
    kill_process(child, Signal::KILL).expect("kill it");
    until("it is told", || server.log().contains("hand-over failed; this process goes on"));
    redis.go_on();
    until("it sells", || get(&server, "/buy/ticket").json()["code"] == 1);
    server.hand_over();
    until("it sells", || get(&server, "/buy/ticket").json()["code"] == 1);
}

fn children_of(pid: u32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let children = tasks.filter_map(|task| {
        let path = task.ok()?.path().join("children");
        fs::read_to_string(path).ok()
    });
    let all: String = children.collect::<Vec<_>>().join(" ");
    all.split_whitespace().map(|pid| pid.parse().expect("a number")).collect()
}

/// The sockets of all cores are accepted from, whether there are fewer cores or more.
#[test]
fn the_number_of_cores_may_change() {
    let (mut server, file) = with_settings("cores = '0-1'", &["--sale", "ticket=100000"]);
    for cores in ["0", "1", "0-1", "0-1", "1"] {
        fs::write(file.path(), format!("cores = '{cores}'")).expect("write");
        server.hand_over();
        // The kernel gives each of the sockets some of these.
        for _ in 0..200 {
            assert_eq!(get(&server, "/buy/ticket").json()["code"], 1, "on cores {cores}");
        }
    }
    assert_eq!(sold(&server), 5 * 200);
}

#[test]
fn a_hand_over_keeps_the_unix_socket() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listen = format!("unix:{}", path.display());
    let options = ["--listen", "127.0.0.1:0", "--listen", &listen, "--sale", "ticket=100"];
    let mut server = Server::start(&options);
    let number = fs::metadata(&path).expect("a socket").ino();
    for _ in 0..3 {
        server.hand_over();
        assert_eq!(fs::metadata(&path).expect("a socket").ino(), number);
        let stream = UnixStream::connect(&path).expect("connect");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        assert_eq!(Client::over(stream).ask(BUY).json()["code"], 1);
    }
    assert_eq!(server.terminate(), 0);
    assert!(!path.exists(), "the last one removes it");
}

/// What was held and paid in one process is so in the next, and the control port goes along.
#[test]
fn the_control_port_stays_ready_through_hand_overs() {
    let mut server = Server::start(&["--sale", "ticket=100"]);
    let ready = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (control, stop) = (server.control(), AtomicBool::new(false));
    thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut looks = 0;
            while !stop.load(Ordering::Relaxed) {
                let response = Client::over(Server::connect_to(control)).ask(ready);
                assert_eq!(response.status(), 200, "{}", response.text());
                looks += 1;
            }
            looks
        });
        for _ in 0..3 {
            server.hand_over();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(looks.join().expect("always ready") > 0);
    });
}
