//! Bodies: where they end, however they are cut on their way.

use std::thread;
use std::time::Duration;

use crate::client::{reserve, sold};
use crate::place::Place;

const BODY: &str = r#"{"user":"u","quantity":1}"#;

fn each() -> impl Iterator<Item = Place> {
    Place::each(&["--sale", "ticket=100000"])
}

/// The same request with a chunked body of these chunks.
fn chunked(chunks: &[&str], end: &str) -> String {
    let mut request = "POST /v1/sales/ticket/reservations HTTP/1.1\r\nHost: a\r\n\
                       Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        .to_owned();
    for chunk in chunks {
        request += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    request + end
}

#[test]
fn bodies_may_be_split_at_every_byte() {
    for server in each() {
        let mut client = server.client();
        let mut bought = 0;
        for request in [
            reserve("", BODY),
            chunked(&[BODY], "0\r\n\r\n"),
            chunked(&[&BODY[..7], &BODY[7..8], &BODY[8..]], "0;last\r\nX-Sum: 1\r\n\r\n"),
        ] {
            for at in 1..request.len() {
                client.send(&request[..at]);
                if at % 7 == 0 {
                    thread::sleep(Duration::from_millis(1)); // so that some arrive as two pieces
                }
                client.send(&request[at..]);
                let response = client.response();
                assert_eq!(response.status(), 201, "split at {at}: {}", response.text());
                bought += 1;
            }
            client.trickle(request.as_bytes());
            assert_eq!(client.response().status(), 201);
            bought += 1;
        }
        assert_eq!(sold(&server), bought);
    }
}

#[test]
fn requests_with_bodies_may_be_pipelined() {
    for server in each() {
        let mut client = server.client();
        let all = [
            reserve("", BODY),
            chunked(&[BODY], "0\r\n\r\n"),
            reserve("", "no"),
            chunked(&["no"], "0\r\n\r\n"),
            reserve("", BODY),
            "GET /plaintext HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
            "GET /plaintext HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
        ]
        .concat();
        client.send(all.repeat(30));
        for _ in 0..30 {
            for status in [201, 201, 400, 400, 201, 200, 200] {
                assert_eq!(client.response().status(), status);
            }
        }
        client.assert_silent(Duration::from_millis(50));
        assert_eq!(sold(&server), 90);
    }
}

#[test]
fn a_body_that_is_not_read_is_not_the_next_request() {
    for server in each() {
        let mut client = server.client();
        let inner = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";
        for path in ["/nothing", "/json", "/v1/sales/none/reservations", "/v1/sales/ticket"] {
            let response = client.ask(format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}",
                inner.len()
            ));
            assert!(response.status() >= 400, "{path}");
            assert_eq!(
                client.ask("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n").text(),
                "Hello, World!"
            );
        }
        assert_eq!(sold(&server), 0);
    }
}

#[test]
fn the_largest_body_is_accepted_and_a_larger_one_refused() {
    for server in each() {
        let body = format!("{}{BODY}", " ".repeat(16 * 1024 - BODY.len()));
        let mut client = server.client();
        for pieces in [1, 7, 64] {
            let request = reserve("", &body);
            for piece in request.as_bytes().chunks(request.len().div_ceil(pieces)) {
                client.send(piece);
            }
            assert_eq!(client.response().status(), 201);
            let chunks: Vec<&str> = body
                .as_bytes()
                .chunks(body.len().div_ceil(pieces))
                .map(|c| str::from_utf8(c).unwrap())
                .collect();
            assert_eq!(client.ask(chunked(&chunks, "0\r\n\r\n")).status(), 201);
        }
        let larger = format!(" {body}");
        for request in [reserve("", &larger), chunked(&[&larger], "0\r\n\r\n")] {
            let mut client = server.client();
            let response = client.ask(request);
            response.assert_problem(413, "content_too_large");
            assert!(response.closes());
            client.assert_end();
        }
        assert_eq!(sold(&server), 6);
    }
}

#[test]
fn expect_100_continue_is_answered() {
    for server in each() {
        let expecting = reserve("Expect: 100-continue\r\n", BODY);
        let (head, body) = expecting.split_at(expecting.len() - BODY.len());
        let mut client = server.client();
        for _ in 0..3 {
            client.send(head);
            assert_eq!(client.response().head, "HTTP/1.1 100 Continue\r\n\r\n");
            client.assert_silent(Duration::from_millis(20));
            client.send(body);
            assert_eq!(client.response().status(), 201);
        }
        // After another request the interim answer keeps its place.
        client.send(format!("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n{head}"));
        assert_eq!(client.response().text(), "Hello, World!");
        assert_eq!(client.response().status(), 100);
        client.trickle(body.as_bytes());
        assert_eq!(client.response().status(), 201);
        // The body has come already: no need to ask for it.
        assert_eq!(client.ask(&expecting).status(), 201);
        // No body, or HTTP/1.0: nothing to wait for.
        let none = "GET /plaintext HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n";
        assert_eq!(client.ask(none).status(), 200);
        client.send(head.replace("HTTP/1.1", "HTTP/1.0"));
        client.assert_silent(Duration::from_millis(20));
        client.send(body);
        assert_eq!(client.response().status(), 201);
        client.assert_end();
        // A request that is refused anyhow is not asked for its body.
        let mut client = server.client();
        client.send(reserve("Expect: 100-continue\r\nContent-Length: 99999\r\n", BODY));
        client.response().assert_problem(400, "bad_request");
        client.assert_end();
        assert_eq!(sold(&server), 6);
    }
}
