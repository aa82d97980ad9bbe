//! Random bytes: whatever comes, the server lives, sells, and loses count of nothing.
//!
//! The seed is printed and runs again as `STAMPEDE_TEST_SEED=… cargo test --test http fuzz`.

use std::io::{Read, Write};
use std::time::Duration;

use crate::chance::{Chance, seed};
use crate::client::{Stream, assert_sells, reserve, sold};
use crate::place::Place;

const REQUESTS: usize = 2000;
/// Fewer over TLS, where each has a handshake.
const REQUESTS_OVER_TLS: usize = 300;

/// Pieces with a meaning, put where they do not belong.
const PIECES: [&str; 20] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\0",
    " ",
    ":",
    "%",
    "?user=",
    "HTTP/1.1",
    "HTTP/1.0",
    "GET ",
    "Content-Length: 7\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "\u{7f}",
    "票",
];

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /buy/ticket?user=u1&x=%20 HTTP/1.0\r\nX-User-Id: u2\r\nConnection: keep-alive\r\n\r\n",
        "GET /v1/sales/ticket HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "GET /v1/reservations/ticket~00000000000000000000000000 HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nHEAD /json HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /v1/sales/ticket/reservations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\n{\"use\r\n7;a=b\r\nr\":\"u\"}\r\n0\r\nT: 1\r\n\r\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    seeds.push(reserve("Idempotency-Key: k1\r\n", r#"{"user":"u","quantity":2}"#).into());
    seeds.push(reserve("Expect: 100-continue\r\n", r#"{"user":"v"}"#).into());
    seeds
}

fn mutate(chance: &mut Chance, seeds: &[Vec<u8>]) -> Vec<u8> {
    if chance.below(20) == 0 {
        let length = chance.below(20_000);
        return (0..length).map(|_| chance.next() as u8).collect();
    }
    let mut bytes = Vec::new();
    for _ in 0..=chance.below(3) {
        bytes.extend_from_slice(&seeds[chance.below(seeds.len())]);
    }
    for _ in 0..chance.below(6) {
        let at = chance.below(bytes.len().max(1));
        let end = (at + chance.below(12)).min(bytes.len());
        match chance.below(6) {
            0 => bytes[at.min(end.saturating_sub(1))] ^= 1 << chance.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = PIECES[chance.below(PIECES.len())];
                drop(bytes.splice(at..at, piece.bytes()));
            }
            3 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            4 => bytes.truncate(end.max(1)),
            _ => {
                let piece = vec![bytes[at]; chance.below(9000)];
                drop(bytes.splice(at..at, piece));
            }
        }
        if bytes.is_empty() {
            bytes.push(b'G');
        }
    }
    bytes
}

#[test]
fn the_server_survives_mutated_requests() {
    for mut server in Place::each(&["--sale", "ticket=1000000"]) {
        let requests = if server.is_secure() { REQUESTS_OVER_TLS } else { REQUESTS };
        let (mut chance, seeds) = (Chance(seed()), seeds());
        let mut granted = 0;
        for index in 0..requests {
            let bytes = mutate(&mut chance, &seeds);
            let mut stream = server.client().stream;
            // The server may close the connection before it has everything.
            if chance.below(4) == 0 {
                for piece in bytes.chunks(1 + chance.below(50)) {
                    let _ = stream.write_all(piece);
                }
            } else {
                let _ = stream.write_all(&bytes);
            }
            if chance.below(10) == 0 {
                continue; // Gone before the answer; whether it has bought is not known.
            }
            let _ = stream.finish();
            let mut answer = Vec::new();
            stream.set_patience(Some(Duration::from_secs(15))).expect("a deadline");
            let read = stream.read_to_end(&mut answer);
            if let Err(error) = read {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "request {index}");
            }
            let text = String::from_utf8_lossy(&answer);
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 "), "request {index}: {text}");
            assert!(!text.contains("HTTP/1.1 500"), "request {index}: {text}");
            granted += text.matches("抢票成功").count() + text.matches("HTTP/1.1 201 ").count();
            if index % 200 == 0 {
                assert_sells(&server);
                granted += 1;
            }
        }
        assert_sells(&server);
        granted += 1;
        // Each granted reservation exists, with one to ten units.
        let units = sold(&server);
        assert!(server.is_running());
        assert!(units >= granted as u64, "{granted} told, {units} sold");
        println!("{granted} grants told, {units} units sold");
    }
}
