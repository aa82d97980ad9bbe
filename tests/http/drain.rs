//! The end of a server: requests under way are finished, others get an answer.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{Client, reserve};
use crate::place::{Line, Place};
use crate::server::Server;

const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";

/// Waits until the server refuses connections.
#[track_caller]
fn assert_refuses_new(server: &Server) {
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(server.address()).is_ok() {
        assert!(Instant::now() < until, "it still listens");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_drain_finishes_requests_under_way() {
    let each = |cores| Place::each(&["--sale", "ticket=150", "--cores", cores]);
    for mut server in ["0", "0,1"].into_iter().flat_map(each) {
        let mut idle: Vec<Client<Line>> = (0..20).map(|_| server.client()).collect();
        for client in idle.iter_mut().skip(10) {
            assert_eq!(client.ask(BUY).status(), 200);
        }
        let request = reserve("", r#"{"user":"u"}"#);
        let (start, rest) = request.split_at(request.len() - 5);
        let mut slow_body = server.client();
        slow_body.send(start);
        let mut slow_head = server.client();
        slow_head.send(&BUY[..20]);
        thread::sleep(Duration::from_millis(200));
        server.signal(Signal::TERM);
        assert_refuses_new(&server);
        for client in &mut idle {
            client.assert_end();
        }
        slow_body.send(rest);
        slow_head.send(format!("{}{BUY}", &BUY[20..]));
        for (client, status) in [(&mut slow_body, 201), (&mut slow_head, 200)] {
            let response = client.response();
            assert_eq!((response.status(), response.closes()), (status, true));
            client.assert_end();
        }
        drop((slow_body, slow_head));
        assert_eq!(server.wait(), 0);
        assert!(server.log().contains("drained"), "{}", server.log());
        server.restart();
        assert_eq!(crate::client::sold(&server), 12, "all that was acknowledged, no more");
    }
}

#[test]
fn a_terminated_server_serves_through_the_drain_delay() {
    for cores in ["0", "0,1"] {
        let delay = ["--drain-delay", "3s"];
        let mut server =
            Server::start(&[&["--sale", "ticket=150", "--cores", cores], &delay[..]].concat());
        let mut kept = Client::new(&server);
        assert!(!kept.ask(BUY).closes());
        let mut idle = Client::new(&server);
        let mut control = Client::control(&server);
        let since = Instant::now();
        server.signal(Signal::TERM);
        let ready = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        while control.ask(ready).status() == 200 {
            assert!(since.elapsed() < Duration::from_secs(2), "it is still ready");
        }
        // Existing clients are asked to come back elsewhere, new ones are served.
        for mut client in [kept, Client::new(&server)] {
            let response = client.ask(BUY);
            assert_eq!((response.status(), response.closes()), (200, true));
            client.assert_end();
        }
        idle.assert_end();
        assert!(since.elapsed() >= Duration::from_secs(3), "closed before it drained");
        assert_refuses_new(&server);
        assert_eq!(server.wait(), 0);
        server.restart();
        assert_eq!(crate::client::sold(&server), 3);
    }
}

#[test]
fn a_second_signal_ends_the_drain_delay_at_once() {
    let mut server = Server::start(&["--sale", "ticket=150", "--drain-delay", "5m"]);
    let mut client = Client::new(&server);
    server.signal(Signal::TERM);
    let until = Instant::now() + Duration::from_secs(10);
    while !server.log().contains("drain delay started") {
        assert!(Instant::now() < until, "{}", server.log());
        thread::sleep(Duration::from_millis(10));
    }
    assert!(client.ask(BUY).closes());
    assert_eq!(server.terminate(), 1);
    assert!(server.log().contains("second signal"), "{}", server.log());
}

#[test]
fn a_received_request_is_answered_in_a_drain() {
    for mut server in Place::each(&["--sale", "ticket=100000"]) {
        let mut clients: Vec<Client<Line>> = (0..200).map(|_| server.client()).collect();
        for client in &mut clients {
            client.ask("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        for client in &mut clients {
            client.send(BUY);
        }
        server.signal(Signal::TERM);
        for client in &mut clients {
            assert_eq!(client.response().json()["code"], 1);
        }
        drop(clients);
        assert_eq!(server.wait(), 0);
    }
}

/// In a drain the server waits for a client only a moment (as a container's runtime waits for the
/// server), whatever the client's deadline would be otherwise.
#[test]
fn an_unfinished_client_delays_a_drain_only_briefly() {
    let each = |cores| {
        let patient = ["--head-timeout", "1h", "--body-timeout", "1h", "--write-timeout", "1h"];
        let sale = ["--sale", "ticket=150", "--cores", cores];
        Place::each(&[&sale[..], &patient].concat())
    };
    for mut server in ["0", "0,1"].into_iter().flat_map(each) {
        let begun = reserve("", r#"{"user":"u"}"#);
        let chunked = "POST /buy/ticket HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5";
        let halves = ["G", &BUY[..BUY.len() - 1], &begun[..begun.len() - 1], chunked];
        let mut halves = halves.map(|half| {
            let mut client = server.client();
            client.send(half);
            client
        });
        // A client that sends without end, and one that takes no answer.
        let mut trickling = server.client();
        trickling.send("GET /");
        let mut trickle = trickling.stream.try_clone().expect("another handle");
        let trickle = thread::spawn(move || {
            while trickle.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        let mut deaf = server.client();
        deaf.stream.socket().set_nonblocking(true).expect("not blocking");
        let many = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
        // Until the kernel takes no more, twice in a row: the server waits for room to write.
        let mut full = 0;
        while full < 2 {
            let sent = deaf.stream.write(many.as_bytes()).is_ok_and(|bytes| bytes > 0);
            full = if sent { 0 } else { full + 1 };
            if !sent {
                thread::sleep(Duration::from_millis(200));
            }
        }
        server.signal(Signal::TERM);
        for client in halves.iter_mut().chain([&mut trickling]) {
            let response = client.response();
            response.assert_problem(408, "request_timeout");
            assert!(response.closes());
        }
        // All of them still have their ends of the connections.
        assert_eq!(server.wait(), 0);
        let log = server.log();
        assert!(log.contains("drained") && !log.contains("time to drain is up"), "{log}");
        trickle.join().expect("it ends when its connection does");
    }
}

#[test]
fn a_drain_ends_when_its_time_is_up() {
    let mut server = Server::start(&["--sale", "ticket=150", "--drain-timeout", "1s"]);
    let mut client = Client::new(&server);
    client.send(&BUY[..20]);
    thread::sleep(Duration::from_millis(100));
    let since = Instant::now();
    assert_eq!(server.terminate(), 0);
    let took = since.elapsed();
    assert!((900..10_000).contains(&took.as_millis()), "{took:?}");
    assert!(server.log().contains("drain timeout reached; closing the rest"), "{}", server.log());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start(&["--sale", "ticket=150"]);
    let mut client = Client::new(&server);
    client.send(&BUY[..20]);
    thread::sleep(Duration::from_millis(100));
    server.signal(Signal::INT);
    assert_refuses_new(&server);
    let since = Instant::now();
    assert_eq!(server.terminate(), 1);
    assert!(since.elapsed() < Duration::from_secs(10));
    assert!(server.log().contains("second signal"), "{}", server.log());
}
