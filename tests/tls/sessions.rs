//! What holds for a connection holds over TLS: half-closes, deadlines, pipelines, drains, the limit.

use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{Client, reserve};
use crate::secure::{Files, Secure};
use crate::server::Server;
use crate::{BUY, client};

struct Place {
    files: Files,
    server: Server,
}

impl Place {
    fn start(options: &[&str]) -> Self {
        let files = Files::make(&["localhost"], 30);
        let listen = ["--listen", "tls:127.0.0.1:0", "--listen", "127.0.0.1:0"];
        let server = Server::start(&[&listen[..], &files.options(), options].concat());
        Self { files, server }
    }

    fn client(&self) -> Client<Secure> {
        client(&self.server, &self.files)
    }
}

#[test]
fn a_half_close_is_answered_and_then_closed() {
    let place = Place::start(&[]);
    let mut client = place.client();
    client.send(BUY);
    client.finish();
    assert_eq!(client.response().json()["code"], 1);
    client.assert_end();
}

#[test]
fn a_pipeline_is_answered_in_order_whatever_records_it_comes_in() {
    const REQUESTS: usize = 300;
    let place = Place::start(&["--sale", "ticket=100000"]);
    let ask = |number: usize| {
        let key = format!("Idempotency-Key: k{number}\r\n");
        reserve(&key, &format!(r#"{{"user":"user-{number}"}}"#))
    };
    let all: String = (0..REQUESTS).map(ask).collect();
    for size in [1, 13, 1000, 20_000, all.len()] {
        let mut client = place.client();
        if size == 1 {
            client.trickle(&all.as_bytes()[..2 * ask(0).len()]);
            client.send(&all[2 * ask(0).len()..]);
        } else {
            all.as_bytes().chunks(size).for_each(|piece| client.send(piece));
        }
        for number in 0..REQUESTS {
            let response = client.response();
            assert!(matches!(response.status(), 200 | 201), "{}", response.text());
            assert_eq!(response.json()["user"], format!("user-{number}"), "pieces of {size}");
        }
    }
}

#[test]
fn a_target_may_say_that_it_is_https() {
    let place = Place::start(&[]);
    let mut client = place.client();
    let buy = BUY.replace("/buy", "https://localhost/buy");
    assert_eq!(client.ask(&buy).json()["code"], 1);
    Client::new(&place.server).ask(&buy).assert_problem(421, "misdirected_request");
}

#[test]
fn a_body_in_one_record_of_the_largest_size() {
    let place = Place::start(&[]);
    let mut client = place.client();
    let body = format!(r#"{{"user":"u"{}}}"#, " ".repeat(16 * 1024 - 12));
    assert_eq!(client.ask(reserve("", &body)).status(), 201);
    // One byte more is refused, and the connection closed in order.
    let mut client = place.client();
    client.ask(reserve("", &format!("{body} "))).assert_problem(413, "content_too_large");
    client.assert_end();
}

#[test]
fn deadlines_end_a_connection_as_they_do_without_tls() {
    let place = Place::start(&["--idle-timeout", "500ms", "--head-timeout", "500ms"]);
    // Silent between requests: closed in order.
    let mut client = place.client();
    assert_eq!(client.ask(BUY).json()["code"], 1);
    client.assert_end();
    // Half a head.
    let mut client = place.client();
    client.send("GET /buy/ticket HTTP/1.1\r\n");
    client.response().assert_problem(408, "request_timeout");
    client.assert_end();
    // Half a handshake, and none.
    for begun in [&b""[..], &[22, 3, 1, 2, 0, 1]] {
        let mut stream = std::net::TcpStream::connect(place.server.secure()).expect("connect");
        std::io::Write::write_all(&mut stream, begun).expect("send");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
        assert_eq!(stream.read(&mut [0; 64]).expect("it is closed"), 0);
    }
}

#[test]
fn beyond_the_limit_a_client_is_told_so() {
    let place = Place::start(&["--connections-max", "2", "--cores", "0"]);
    let mut kept = [place.client(), place.client()];
    let mut third = place.client();
    third.response().assert_problem(503, "busy");
    third.assert_end();
    for client in &mut kept {
        assert_eq!(client.ask(BUY).json()["code"], 1);
    }
}

#[test]
fn a_drain_answers_what_is_under_way() {
    let mut place = Place::start(&["--cores", "0"]);
    let mut idle = place.client();
    assert_eq!(idle.ask(BUY).json()["code"], 1);
    let mut half = place.client();
    half.send(&BUY[..20]);
    thread::sleep(Duration::from_millis(200));
    place.server.signal(Signal::TERM);
    idle.assert_end();
    half.send(&BUY[20..]);
    assert_eq!(half.response().json()["code"], 1);
    half.assert_end();
    assert_eq!(place.server.wait(), 0);
}

#[test]
fn a_client_that_reads_nothing_holds_up_nobody_and_gets_what_it_asked_for() {
    const REQUESTS: usize = 20_000;
    let place = Place::start(&["--sale", "ticket=1", "--cores", "0"]);
    let mut slow = place.client();
    slow.stream.0.sock.set_nonblocking(true).expect("set");
    let all = BUY.repeat(REQUESTS);
    let mut sent = 0;
    let until = Instant::now() + Duration::from_secs(10);
    while sent < all.len() && Instant::now() < until {
        match std::io::Write::write(&mut slow.stream, &all.as_bytes()[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let mut other = place.client();
    for _ in 0..100 {
        other.ask(BUY);
    }
    slow.stream.0.sock.set_nonblocking(false).expect("set");
    for _ in 0..sent / BUY.len() {
        assert_eq!(slow.response().status(), 200);
    }
}
