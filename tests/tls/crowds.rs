//! A crowd over TLS that waits for a ledger which stands still: each gets a true answer about
//! himself.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::client::{Client, reserve};
use crate::redis::RedisServer;
use crate::secure::{Files, Secure};
use crate::start;

const CROWD: usize = 1_000;
const TICKETS: usize = 750;

#[test]
fn a_drain_answers_a_thousand_waiting_tls_clients() {
    let redis = RedisServer::start(&[]);
    let files = Files::make(&["localhost"], 30);
    let sale = format!("ticket={TICKETS}");
    let ledger = ["--ledger", &redis.url(), "--ledger-timeout", "20s", "--cores", "0"];
    let mut server = start(&files, &[&["--sale", &sale], &ledger[..]].concat());
    let config = files.client();
    let connect = |_| {
        let stream = Secure::connect(server.secure(), &config, "localhost");
        Client::over(stream.expect("a handshake"))
    };
    let mut crowd: Vec<_> = (0..CROWD).map(connect).collect();
    redis.stop();
    for (number, client) in crowd.iter_mut().enumerate() {
        client.send(reserve("", &format!(r#"{{"user":"user-{number}"}}"#)));
        if number % 3 == 0 {
            client.finish();
        }
    }
    server.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(500));
    redis.go_on();
    let mut granted = HashSet::new();
    for (number, client) in crowd.iter_mut().enumerate() {
        let response = client.response();
        let told = response.json();
        match response.status() {
            201 => {
                assert_eq!(told["user"], format!("user-{number}"), "another's reservation");
                assert!(granted.insert(told["id"].to_string()), "given twice: {told}");
            }
            status => assert_eq!((status, &told["code"]), (409, &"sold_out".into())),
        }
        client.assert_end();
    }
    assert_eq!(granted.len(), TICKETS);
    drop(crowd);
    assert_eq!(server.wait(), 0);
}
