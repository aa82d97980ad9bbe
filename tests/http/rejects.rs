//! Requests that are refused before they are understood: one clear answer, then the connection
//! closes, and nothing after it is served. The RFCs' rules are in `rules.rs`; here are more tricks,
//! and input without end.

use std::io::{Read, Write};
use std::thread;

use crate::client::{assert_sells, resident_bytes, sold};
use crate::place::Place;

const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";

fn each() -> impl Iterator<Item = Place> {
    Place::each(&["--sale", "ticket=150"])
}

/// One problem and the end. If the connection had gone on, a ticket would be gone.
#[track_caller]
fn assert_refused(server: &Place, request: &str) {
    for pieces in [1, 2, 1000] {
        let bytes = format!("{request}{BUY}{BUY}");
        let mut client = server.client();
        for piece in bytes.as_bytes().chunks(bytes.len().div_ceil(pieces)) {
            // The server may have closed the connection meanwhile.
            let _ = client.stream.write_all(piece);
        }
        let response = client.next(false).unwrap_or_else(|| panic!("no answer to {request:?}"));
        response.assert_problem(400, "bad_request");
        assert!(response.closes(), "{request:?}");
        client.assert_end();
    }
}

#[test]
fn ambiguous_framing_is_refused() {
    for server in each() {
        let chunks = "0\r\n\r\n";
        let with = |headers: &str, body: &str| {
            format!("POST /buy/ticket HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}")
        };
        let mut vectors = Vec::new();
        for headers in [
            // Invalid Content-Length.
            "Content-Length: -5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 5.0\r\n",
            "Content-Length : 5\r\n",
            " Content-Length: 5\r\n",
            "Content-Length\u{0}: 5\r\n",
            "Content-Length: 5\u{0}\r\n",
            "Content-Length: ５\r\n",
            // Transfer-Encoding that others may not see, or see as another.
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding : chunked\r\n",
            " Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding:  chunked\r\n",
            "Transfer-Encoding: \u{b}chunked\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "Transfer-Encoding: \r\n",
            "X: a\r\n Transfer-Encoding: chunked\r\n",
            // Other line ends.
            "X: a\nTransfer-Encoding: chunked\r\n",
            "X: a\rTransfer-Encoding: chunked\r\n",
            "X: a\r\r\nTransfer-Encoding: chunked\r\n",
            "X: \u{7f}\r\n",
        ] {
            vectors.push(with(headers, chunks));
        }
        let te = "Transfer-Encoding: chunked\r\n";
        for body in [
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "5;\nx\r\nhello\r\n0\r\n\r\n",
            "-1\r\n\r\n",
            "\r\n",
            "0\r\n X: a\r\n\r\n",
            "0\r\nX\r\n\r\n",
        ] {
            vectors.push(with(te, body));
        }
        for head in [
            "GET /buy/ticket HTTP/1.1\nHost: a\n\n",
            "GET /buy/ticket\tHTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /buy/ticket  HTTP/1.1\r\nHost: a\r\n\r\n",
            " GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /buy/ticket HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET /buy/ticket HTTP/11\r\nHost: a\r\n\r\n",
            "GET /buy/ticket\r\nHost: a\r\n\r\n",
            "GET /buy\u{0}/ticket HTTP/1.1\r\nHost: a\r\n\r\n",
            "\n\nGET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            vectors.push(head.to_owned());
        }
        for vector in &vectors {
            assert_refused(&server, vector);
        }
        assert_eq!(sold(&server), 0, "a smuggled request was served");
        assert_sells(&server);
    }
}

#[test]
fn a_head_that_reaches_the_bound_is_refused_at_once() {
    for server in each() {
        for (head, code) in [
            (format!("GET /{}", "x".repeat(4096 - 5)), "uri_too_long"),
            (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(8192 - 19)), "head_too_large"),
        ] {
            let mut client = server.client();
            client.trickle(head.as_bytes());
            let status = if code == "uri_too_long" { 414 } else { 431 };
            client.response().assert_problem(status, code);
            client.assert_end();
        }
    }
}

#[test]
fn a_client_that_keeps_sending_still_gets_the_refusal() {
    for server in each() {
        for head in [
            "BAD\r\n\r\n",
            "POST /buy/ticket HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n",
        ] {
            for _ in 0..5 {
                let mut client = server.client();
                client.send(head);
                // Written whole before the answer is read.
                client.send(vec![b'x'; 1024 * 1024]);
                let response = client.response();
                assert!(matches!(response.status(), 400 | 413), "{}", response.head);
                client.assert_end();
            }
        }
        assert_sells(&server);
    }
}

/// A head or a body without end is refused early, and a client that goes on sending is cut off.
#[test]
fn endless_requests_are_cut_off() {
    for server in each() {
        let begun = [
            ("GET / HTTP/1.1\r\nHost: a\r\n", "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 431),
            ("GET /", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 414),
            ("\r\n\r\n", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n", 400),
            (
                "POST /buy/ticket HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                "40\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
                413,
            ),
            (
                "POST /buy/ticket HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
                "X-Trailer: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
                400,
            ),
        ];
        assert_sells(&server);
        let before = resident_bytes(&server);
        for (head, more, status) in begun {
            let mut client = server.client();
            client.send(head);
            let mut writer = client.stream.try_clone().unwrap();
            let endless = more.repeat(64 * 1024 / more.len());
            let writing = thread::spawn(move || {
                let mut sent = 0;
                while sent < 64 << 20 && writer.write_all(endless.as_bytes()).is_ok() {
                    sent += endless.len();
                }
                sent
            });
            assert_eq!(client.response().status(), status, "{head}");
            // It ends, in order or not.
            let _ = client.stream.read_to_end(&mut Vec::new());
            let sent = writing.join().unwrap();
            assert!(sent < 32 << 20, "{head}: took {sent} bytes");
        }
        let grown = resident_bytes(&server).saturating_sub(before);
        assert!(grown < 8 << 20, "grew by {grown} bytes");
        assert_eq!(server.exchange(BUY.as_bytes()).len(), 1);
        assert_eq!(sold(&server), 2);
    }
}
