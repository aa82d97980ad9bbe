//! A machine whose clock is set an hour forward or back while it sells: nothing expires early, and
//! nothing is held for ever. `libfaketime` sets the clock of one server's process, and of nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, eventually, run};

const HOLD: Duration = Duration::from_secs(2);

/// The clock of a process, as an offset in a file that `libfaketime` reads at every question.
pub struct Clock {
    folder: tempfile::TempDir,
}

impl Clock {
    /// This machine's time.
    pub fn new() -> Self {
        let clock = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        clock.set("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets the offset: whole at once, as a step of NTP or an operator does.
    pub fn set(&self, offset: &str) {
        let whole = self.folder.path().join("next");
        fs::write(&whole, offset).expect("write the offset");
        fs::rename(whole, self.file()).expect("set the offset");
    }

    /// A server that lives by this clock.
    pub fn server(&self, options: &[&str]) -> Server {
        let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
            .map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"));
        let library = library.iter().find(|library| library.exists());
        let library = library.expect("this test needs libfaketime: apt-get install libfaketime");
        let file = self.file();
        let environment = [
            ("LD_PRELOAD", library.to_str().expect("a path")),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a path")),
            ("FAKETIME_NO_CACHE", "1"),
            // The monotonic clock is what can't be set.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        Server::start_with(&environment, options)
    }
}

/// Buys one, sets the clock, and sees when it comes back.
fn comes_back_in_time(server: &Server, clock: &Clock, offset: &str) {
    let mut buyer = buyer(server);
    let asked = Instant::now();
    let id = buyer.buy().expect("an answer").granted().expect("one is left");
    clock.set(offset);
    let status = |buyer: &mut crate::buyer::Buyer| {
        buyer.reservation(&id).expect("an answer").json()["status"].clone()
    };
    eventually("it has expired", 10, || status(&mut buyer) == "expired");
    assert!(asked.elapsed() >= HOLD, "{offset}: expired after {:?}", asked.elapsed());
}

/// What the server's process takes for the time, from its `Date` header.
fn its_clock(server: &Server) -> SystemTime {
    let url = format!("http://{}/plaintext", server.address());
    let answer = run("curl", "curl", &["-si", &url]);
    let date = answer.lines().find_map(|line| line.strip_prefix("Date: ")).expect("a date");
    httpdate::parse_http_date(date.trim()).expect("a date")
}

fn jumps(server: &Server, clock: &Clock) {
    clock.set("+3600");
    eventually("the server's clock is set", 5, || {
        its_clock(server) > SystemTime::now() + Duration::from_secs(3000)
    });
    for offset in ["+3600", "+0", "-3600", "+7200", "+0"] {
        comes_back_in_time(server, clock, offset);
    }
}

#[test]
fn a_clock_that_jumps_changes_nothing_on_redis() {
    let redis = RedisServer::start(&[]);
    let clock = Clock::new();
    let options = ["--ledger", &redis.url(), "--sale", "ticket=5,hold=2s"];
    jumps(&clock.server(&options), &clock);
    assert_eq!(crate::sold(&redis), 0);
}

#[test]
fn a_clock_that_jumps_changes_nothing_on_the_embedded_ledger() {
    let clock = Clock::new();
    let server = clock.server(&["--sale", "ticket=5,hold=2s"]);
    jumps(&server, &clock);
    assert_eq!(buyer(&server).sale("ticket").expect("an answer")["free"], 5);
}

#[test]
fn a_clock_that_was_set_back_while_the_server_was_down_strands_nothing() {
    let clock = Clock::new();
    let mut server = clock.server(&["--sale", "ticket=5,hold=2s"]);
    let asked = Instant::now();
    for _ in 0..5 {
        assert!(buyer(&server).buy().expect("an answer").granted().is_some());
    }
    server.kill();
    clock.set("-3600");
    thread::sleep(Duration::from_millis(100));
    server.restart();
    eventually("all are back", 10, || {
        buyer(&server).sale("ticket").expect("an answer")["free"] == 5
    });
    assert!(asked.elapsed() >= HOLD, "expired after {:?}", asked.elapsed());
}
