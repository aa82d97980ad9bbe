//! Requests one by one and many in one piece, and how a connection goes on after them.

use std::time::Duration;

use crate::client::{Client, Response, reserve, sold};
use crate::place::Place;
use crate::server::Server;

const PLAINTEXT: &str = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n";
const PLAINTEXT_HEAD: &str = "HTTP/1.1 200 OK\r\nServer: stampede\r\nDate: DATE\r\n\
                              Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n";
const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";

fn start() -> Server {
    Server::start(&["--sale", "ticket=150"])
}

fn each() -> impl Iterator<Item = Place> {
    Place::each(&["--sale", "ticket=150"])
}

#[test]
fn techempower_answers_match_to_the_byte() {
    for server in each() {
        let mut client = server.client();
        for _ in 0..3 {
            let plaintext = client.ask(PLAINTEXT);
            assert_eq!(
                (plaintext.head.as_str(), plaintext.text().as_str()),
                (PLAINTEXT_HEAD, "Hello, World!")
            );
            let json = client.ask("GET /json HTTP/1.1\r\nHost: server\r\nAccept: */*\r\n\r\n");
            let head = "HTTP/1.1 200 OK\r\nServer: stampede\r\nDate: DATE\r\n\
                        Content-Type: application/json\r\nContent-Length: 27\r\n\r\n";
            assert_eq!(
                (json.head.as_str(), json.text().as_str()),
                (head, r#"{"message":"Hello, World!"}"#)
            );
        }
    }
}

#[test]
fn the_date_advances() {
    use std::io::{Read, Write};
    let server = start();
    let mut stream = server.connect();
    let mut date = || {
        stream.write_all(b"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut bytes = [0; 512];
        let count = stream.read(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("Date: ").map(str::to_owned));
        httpdate::parse_http_date(&line.unwrap()).unwrap()
    };
    let first = date();
    std::thread::sleep(Duration::from_millis(2100));
    let later = date().duration_since(first).unwrap();
    assert!((2..=4).contains(&later.as_secs()), "{later:?}");
}

#[test]
fn a_connection_stays_open_or_closes_as_asked() {
    for server in each() {
        for (line, headers, said) in [
            ("HTTP/1.1", "", None),
            ("HTTP/1.1", "Connection: keep-alive\r\n", None),
            ("HTTP/1.1", "Connection: close\r\n", Some("close")),
            ("HTTP/1.1", "Connection: foo, CLOSE\r\n", Some("close")),
            ("HTTP/1.0", "", Some("close")),
            ("HTTP/1.0", "Connection: Keep-Alive\r\n", Some("keep-alive")),
            ("HTTP/1.0", "Connection: close\r\n", Some("close")),
        ] {
            for path in ["/plaintext", "/json", "/buy/ticket", "/v1/sales/ticket", "/nothing"] {
                let request = format!("GET {path} {line}\r\nHost: a\r\n{headers}\r\n");
                let mut client = server.client();
                for _ in 0..3 {
                    let response = client.ask(&request);
                    assert_eq!(response.header("Connection"), said, "{request}");
                    assert!(response.head.starts_with("HTTP/1.1 "));
                    if said == Some("close") {
                        client.assert_end();
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for server in Place::each(&["--sale", "ticket=150", "--sale", "poster=5"]) {
        // 16 alike, as TechEmpower sends them.
        let mut client = server.client();
        for _ in 0..3 {
            client.send(PLAINTEXT.repeat(16));
            for _ in 0..16 {
                assert_eq!(client.response().head, PLAINTEXT_HEAD);
            }
        }
        client.assert_silent(Duration::from_millis(100));
        // 1,000 of all kinds in one write.
        let kinds: [(&str, u16); 5] = [
            (PLAINTEXT, 200),
            ("GET /json HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("PUT /json HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 405),
            ("GET /v1/sales/poster HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ];
        let mut all = String::new();
        for index in 0..1000 {
            all += if index % 10 == 9 { BUY } else { kinds[index % kinds.len()].0 };
        }
        client.send(&all);
        let mut granted = 0;
        for index in 0..1000 {
            let response = client.response();
            if index % 10 == 9 {
                assert_eq!(response.json()["code"], 1);
                granted += 1;
            } else {
                assert_eq!(response.status(), kinds[index % kinds.len()].1, "{index}");
            }
        }
        client.assert_silent(Duration::from_millis(100));
        assert_eq!((granted, sold(&server)), (100, 100));
    }
}

/// A head that repeats the one before it is recognised by its bytes: no other head may be taken for
/// it.
#[test]
fn nearly_identical_pipelined_heads_are_distinguished() {
    for server in Place::each(&["--sale", "ticket=150,limit=1"]) {
        let buy = |user: &str| {
            format!("GET /buy/ticket HTTP/1.1\r\nHost: a\r\nX-User-Id: {user}\r\n\r\n")
        };
        let codes = |client: &mut Client<_>, count| -> Vec<i64> {
            (0..count).map(|_| client.response().json()["code"].as_i64().expect("a code")).collect()
        };
        let mut client = server.client();
        client.send(buy("a") + &buy("a") + &buy("b") + &buy("a") + &buy("c") + &buy("c"));
        let [first, second] = codes(&mut client, 2)[..] else { panic!("two") };
        assert_eq!(first, 1);
        assert_eq!(codes(&mut client, 4), [1, second, 1, second]);
        assert!(second < 0, "{second}");
        assert_eq!(sold(&server), 3);
        // Refused by the core alone: the same head again, half of it, the other half, one more that
        // ends it.
        let json = "GET /json HTTP/1.1\r\nHost: a\r\n\r\n";
        let last = "GET /json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let (half, rest) = json.split_at(20);
        client.send(json.repeat(2) + half);
        (0..2).for_each(|_| assert_eq!(client.response().status(), 200));
        client.assert_silent(Duration::from_millis(50));
        client.send(rest.to_owned() + json + last + json);
        (0..2).for_each(|_| assert!(!client.response().closes()));
        assert!(client.response().closes());
        client.assert_end();
        // A head that is right up to its last line.
        let responses =
            server.exchange((json.repeat(2) + &json[..json.len() - 2] + "b\n").as_bytes());
        let statuses: Vec<_> = responses.iter().map(Response::status).collect();
        assert_eq!(statuses, [200, 200, 400]);
    }
}

#[test]
fn requests_may_come_byte_by_byte() {
    for server in each() {
        let body = r#"{"user":"u1","quantity":2}"#;
        let mut client = server.client();
        client.trickle(PLAINTEXT.as_bytes());
        assert_eq!(client.response().head, PLAINTEXT_HEAD);
        client.trickle(BUY.as_bytes());
        assert_eq!(client.response().json()["code"], 1);
        client.trickle(reserve("Idempotency-Key: k\r\n", body).as_bytes());
        assert_eq!(client.response().status(), 201);
        client.trickle(b"\r\n\r\nGET /json HTTP/1.0\r\n\r\n");
        assert_eq!(client.response().status(), 200);
        client.assert_end();
        assert_eq!(sold(&server), 3);
    }
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let server = start();
    let mut client = Client::new(&server);
    for path in ["/plaintext", "/json", "/v1/sales/ticket", "/v1/sales/none", "/nothing"] {
        let get = client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.head_response().head, get.head, "{path}");
    }
    client.assert_silent(Duration::from_millis(50));
}

#[test]
fn options_and_wrong_methods_return_the_allow_header() {
    let server = start();
    let mut client = Client::new(&server);
    let all = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    for (line, status, allow) in [
        ("OPTIONS *", 204, all),
        ("OPTIONS /buy/ticket", 204, all),
        ("OPTIONS /plaintext", 204, "GET, HEAD, OPTIONS"),
        ("OPTIONS /v1/sales/ticket/reservations", 204, "GET, HEAD, POST, OPTIONS"),
        ("DELETE /plaintext", 405, "GET, HEAD, OPTIONS"),
        ("POST /json", 405, "GET, HEAD, OPTIONS"),
        ("PATCH /v1/sales/ticket", 405, "GET, HEAD, OPTIONS"),
        ("PUT /v1/sales/ticket/reservations", 405, "GET, HEAD, POST, OPTIONS"),
        ("TRACE /buy/ticket", 405, all),
    ] {
        let response = client.ask(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((response.status(), response.header("Allow")), (status, Some(allow)), "{line}");
        if status == 405 {
            response.assert_problem(405, "method_not_allowed");
        }
    }
    for path in ["/", "/nothing", "/buy", "/buy/ticket/", "/v1/sales/", "/v1/reservations/x"] {
        let response = client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        response.assert_problem(404, "not_found");
    }
    assert_eq!(sold(&server), 0);
}

#[test]
fn a_half_closed_client_still_gets_its_answers() {
    for server in each() {
        for (request, count) in [
            (PLAINTEXT.to_owned(), 1),
            (BUY.to_owned(), 1),
            (BUY.repeat(20), 20),
            (reserve("", r#"{"user":"u"}"#).repeat(3), 3),
        ] {
            let responses = server.exchange(request.as_bytes());
            assert_eq!(responses.len(), count, "{request}");
            assert!(responses.iter().all(|response| matches!(response.status(), 200 | 201)));
        }
        // Half a request, and then the end: no answer.
        assert_eq!(server.exchange(b"GET /buy/ticket HTTP/1.1\r\nHost: a\r\n"), []);
        assert_eq!(server.exchange(reserve("", "{}").strip_suffix('}').unwrap().as_bytes()), []);
        assert_eq!(sold(&server), 24);
    }
}

#[test]
fn a_client_that_disconnects_does_no_harm() {
    for server in each() {
        for _ in 0..50 {
            let mut client = server.client();
            // With nothing left to read it ends without a reset, which could overtake the requests.
            client.ask(PLAINTEXT);
            client.send(BUY.repeat(2));
        }
        let mut sold_units = sold(&server);
        for _ in 0..20 {
            if sold_units >= 50 {
                break;
            }
            sold_units = sold(&server);
        }
        assert!((50..=100).contains(&sold_units), "{sold_units}");
        assert_eq!(server.get("/plaintext").head, PLAINTEXT_HEAD);
    }
}

#[test]
fn bytes_after_a_closing_request_are_ignored() {
    for server in each() {
        let last = "GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let responses = server.exchange(format!("{BUY}{last}{}", BUY.repeat(5000)).as_bytes());
        assert_eq!(responses.len(), 2);
        assert!(responses[1].closes());
        assert_eq!(sold(&server), 1);
    }
}
