//! What nginx resends to another server, and what it must not: a purchase is never made twice.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::Server;
use crate::tuning::START_DEADLINE;
use crate::{NO_LIMIT, Nginx};

/// Servers that are lost after each request, before they answer it, and the number of their
/// requests.
struct Lost {
    addresses: Vec<SocketAddr>,
    requests: Arc<AtomicUsize>,
}

impl Lost {
    fn start(servers: usize) -> Self {
        let mut lost = Self { addresses: Vec::new(), requests: Arc::default() };
        for _ in 0..servers {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            lost.addresses.push(listener.local_addr().expect("its address"));
            let requests = lost.requests.clone();
            // Until the test ends.
            thread::spawn(move || {
                for mut connection in listener.incoming().map_while(Result::ok) {
                    if connection.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {
                        requests.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        lost
    }
}

const BUY_ONE: (&str, &str) = ("GET /buy/ticket", "\r\n");
const BUY_KEYED: (&str, &str) = ("GET /buy/ticket", "Idempotency-Key: k\r\n\r\n");
const RESERVE: (&str, &str) = (
    "POST /v1/sales/ticket/reservations",
    "Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"user\":\"u\"}",
);
const RESERVE_KEYED: (&str, &str) = (
    "POST /v1/sales/ticket/reservations",
    "Idempotency-Key: k2\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"user\":\"u\"}",
);
const CANCEL: (&str, &str) = ("POST /v1/reservations/ticket~x/cancel", "Content-Length: 0\r\n\r\n");
const LOOK: (&str, &str) = ("GET /v1/sales/ticket", "\r\n");

#[test]
fn nginx_retries_only_requests_that_cannot_buy_twice() {
    let unknown = [r#"{"code":-7,"#, r#""code":"unknown""#];
    for ((line, more), sent) in
        [(BUY_ONE, 1), (BUY_KEYED, 3), (RESERVE, 1), (RESERVE_KEYED, 3), (CANCEL, 3), (LOOK, 3)]
    {
        let lost = Lost::start(3);
        let nginx = Nginx::before(&lost.addresses, NO_LIMIT);
        let answer = nginx.ask(line, more);
        assert!(answer.starts_with("HTTP/1.1 503"), "{line} {more}: {answer}");
        assert!(unknown.iter().any(|code| answer.contains(code)), "{line} {more}: {answer}");
        assert!(answer.contains("Retry-After: 1"), "{answer}");
        assert_eq!(lost.requests.load(Ordering::SeqCst), sent, "{line} {more}");
    }
}

#[test]
fn nginx_fails_over_to_the_running_server() {
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let server = Server::start(&["--sale", "ticket=1000"]);
    let lost = Lost::start(1);
    // Requests that are lost on their way and can be resent, and requests that could not be sent at
    // all.
    let dead = free().expect("a free port");
    for (away, (line, more), status) in [
        (lost.addresses[0], BUY_KEYED, 200),
        (lost.addresses[0], RESERVE_KEYED, 201),
        (lost.addresses[0], LOOK, 200),
        (dead, BUY_ONE, 200),
        (dead, BUY_KEYED, 200),
        (dead, RESERVE, 201),
        (dead, LOOK, 200),
    ] {
        let nginx = Nginx::before(&[away, server.address()], NO_LIMIT);
        for _ in 0..4 {
            let answer = nginx.ask(line, more);
            let repeated = answer.starts_with("HTTP/1.1 200 ") && status == 201;
            let as_wanted = answer.starts_with(&format!("HTTP/1.1 {status} ")) || repeated;
            assert!(as_wanted, "{line} {more}: {answer}");
        }
    }
    assert_eq!(lost.requests.load(Ordering::SeqCst), 3, "tried once each");
    let nginx = Nginx::before(&[dead], NO_LIMIT);
    for ((line, more), told) in [
        (BUY_ONE, r#"{"code":-6,"#),
        (BUY_KEYED, r#"{"code":-6,"#),
        (RESERVE, r#""code":"unavailable""#),
        (LOOK, r#""code":"unavailable""#),
    ] {
        let answer = nginx.ask(line, more);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(told), "{answer}");
    }
    // One per key, and the purchases without one: nothing twice. A server's view may be 100 ms old.
    let nginx = Nginx::start(&server);
    let until = Instant::now() + START_DEADLINE;
    while !nginx.ask(LOOK.0, LOOK.1).contains(r#""held":10,"#) {
        assert!(Instant::now() < until, "{}", nginx.ask(LOOK.0, LOOK.1));
        thread::sleep(Duration::from_millis(20));
    }
}
