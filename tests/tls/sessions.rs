//! What only TLS connections have: records, and a handshake. The tests of `tests/http` walk what
//! holds for all connections over both kinds.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};

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
fn a_pipeline_split_over_any_records_is_answered_in_order() {
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
fn a_request_sent_with_the_end_of_the_handshake_is_answered() {
    let place = Place::start(&["--connections-per-address", "1", "--cores", "0"]);
    for version in [&TLS12, &TLS13] {
        let config = place.files.client_with(&[version]);
        let ask = || {
            let socket = TcpStream::connect(place.server.secure()).expect("connect");
            let secure = Secure::over_with(socket, &config, "localhost", BUY.as_bytes());
            Client::over(secure.expect("TLS"))
        };
        let mut first = ask();
        assert_eq!(first.response().json()["code"], 1);
        let mut second = ask();
        second.response().assert_problem(503, "busy");
        second.assert_end();
        assert_eq!(first.ask(BUY).json()["code"], 1, "the first one is still served");
        first.finish();
        first.assert_end();
    }
}

#[test]
fn an_absolute_https_target_needs_tls() {
    let place = Place::start(&[]);
    let mut client = place.client();
    let buy = BUY.replace("/buy", "https://localhost/buy");
    assert_eq!(client.ask(&buy).json()["code"], 1);
    Client::new(&place.server).ask(&buy).assert_problem(421, "misdirected_request");
}

#[test]
fn a_handshake_has_a_deadline() {
    let place = Place::start(&["--idle-timeout", "500ms", "--head-timeout", "500ms"]);
    // None at all, and half of one.
    for begun in [&b""[..], &[22, 3, 1, 2, 0, 1]] {
        let mut stream = TcpStream::connect(place.server.secure()).expect("connect");
        stream.write_all(begun).expect("send");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
        assert_eq!(stream.read(&mut [0; 64]).expect("it is closed"), 0);
    }
}

#[test]
fn a_client_that_reads_late_delays_nobody_and_gets_all() {
    const REQUESTS: usize = 20_000;
    let place = Place::start(&["--sale", "ticket=1", "--cores", "0"]);
    let mut slow = place.client();
    slow.stream.socket.set_nonblocking(true).expect("set");
    let mut writer = slow.stream.try_clone().expect("a handle");
    let all = BUY.repeat(REQUESTS);
    let mut sent = 0;
    let until = Instant::now() + Duration::from_secs(10);
    while sent < all.len() && Instant::now() < until {
        match writer.write(&all.as_bytes()[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    let mut other = place.client();
    for _ in 0..100 {
        other.ask(BUY);
    }
    slow.stream.socket.set_nonblocking(false).expect("set");
    let rest = thread::spawn(move || writer.flush());
    for _ in 0..sent / BUY.len() {
        assert_eq!(slow.response().status(), 200);
    }
    rest.join().expect("it ends").expect("all is sent");
}
