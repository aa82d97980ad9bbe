//! The end of a server: what is under way is finished, the rest is told.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, reserve};
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
fn a_drain_finishes_what_is_under_way() {
    for cores in ["0", "0,1"] {
        let mut server = Server::start(&["--sale", "ticket=150", "--cores", cores]);
        let mut idle: Vec<Client> = (0..20).map(|_| Client::new(&server)).collect();
        for client in idle.iter_mut().skip(10) {
            assert_eq!(client.ask(BUY).status(), 200);
        }
        let request = reserve("", r#"{"user":"u"}"#);
        let (start, rest) = request.split_at(request.len() - 5);
        let mut slow_body = Client::new(&server);
        slow_body.send(start);
        let mut slow_head = Client::new(&server);
        slow_head.send(&BUY[..20]);
        thread::sleep(Duration::from_millis(200));
        server.signal("TERM");
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
fn a_request_that_is_here_already_is_answered() {
    let mut server = Server::start(&["--sale", "ticket=100000"]);
    let mut clients: Vec<Client> = (0..200).map(|_| Client::new(&server)).collect();
    for client in &mut clients {
        client.ask("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    for client in &mut clients {
        client.send(BUY);
    }
    server.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.response().json()["code"], 1);
    }
    drop(clients);
    assert_eq!(server.wait(), 0);
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
    assert!(server.log().contains("the time to drain is up"), "{}", server.log());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start(&["--sale", "ticket=150"]);
    let mut client = Client::new(&server);
    client.send(&BUY[..20]);
    thread::sleep(Duration::from_millis(100));
    server.signal("INT");
    assert_refuses_new(&server);
    let since = Instant::now();
    assert_eq!(server.terminate(), 1);
    assert!(since.elapsed() < Duration::from_secs(10));
    assert!(server.log().contains("second signal"), "{}", server.log());
}
