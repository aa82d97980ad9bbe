//! A machine whose clock is set an hour forward or back while it sells: nothing expires early, and
//! nothing is held for ever. `libfaketime` sets the clock of one server's process, and of nothing
//! else.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::faked_clock::Clock;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, eventually, run};

const HOLD: Duration = Duration::from_secs(2);

/// A server with this clock.
fn server(clock: &Clock, options: &[&str]) -> Server {
    Server::start_with(&clock.environment(), options)
}

/// Buys one unit, sets the clock, and waits until the unit comes back.
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

/// The time of the server's process, from its `Date` header.
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
fn a_clock_jump_changes_nothing_on_redis() {
    let redis = RedisServer::start(&[]);
    let clock = Clock::new();
    let options = ["--ledger", &redis.url(), "--sale", "ticket=5,hold=2s"];
    jumps(&server(&clock, &options), &clock);
    assert_eq!(crate::sold(&redis), 0);
}

#[test]
fn a_clock_jump_changes_nothing_on_the_embedded_ledger() {
    let clock = Clock::new();
    let server = server(&clock, &["--sale", "ticket=5,hold=2s"]);
    jumps(&server, &clock);
    assert_eq!(buyer(&server).sale("ticket").expect("an answer")["free"], 5);
}

#[test]
fn a_clock_set_back_while_the_server_is_down_strands_nothing() {
    let clock = Clock::new();
    let mut server = server(&clock, &["--sale", "ticket=5,hold=2s"]);
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
