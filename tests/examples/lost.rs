//! The four buyers, with lost answers: a purchase is made once, and a buyer claims no more than is
//! known.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::programs::{BUYERS, Running, Said, assert_stands, assert_units, example, run, url};
use crate::redis_server::RedisServer;
use crate::server::{ANSWER_DEADLINE, Server};

/// Stands between a buyer and the server, and loses answers.
struct Between(TcpListener);

impl Between {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("no blocking");
        Self(listener)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("its address"))
    }

    /// The next request, and its connection.
    #[track_caller]
    fn request(&self) -> (TcpStream, String) {
        let until = Instant::now() + ANSWER_DEADLINE;
        let mut stream = loop {
            match self.0.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => assert!(Instant::now() < until, "nobody asks: {error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        stream.set_nonblocking(false).expect("blocking");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        let mut request = Vec::new();
        while !is_whole(&request) {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).expect("a request");
            assert!(count > 0, "half a request: {}", String::from_utf8_lossy(&request));
            request.extend_from_slice(&piece[..count]);
        }
        (stream, String::from_utf8(request).expect("text"))
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    body.len()
        >= header(head, "content-length").map_or(0, |length| length.parse().expect("a number"))
}

fn header(request: &str, name: &str) -> Option<String> {
    request.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").expect("a body").1
}

#[test]
fn a_lost_answer_does_not_buy_twice() {
    for name in BUYERS {
        println!("{name}");
        let mut server = Server::start(&["--sale", "ticket=3,limit=2"]);
        let between = Between::new();
        let mut buyer = example(name, &between.url(), &["buy", "ticket"]);
        let buyer = Running::start(buyer.envs([("BUYER", "ann"), ("QUANTITY", "2")]));
        // It is made, and the answer is lost.
        let (stream, first) = between.request();
        let made = Client::new(&server).ask(&first);
        assert_eq!(made.status(), 201, "{}", made.text());
        server.kill();
        drop(stream);
        // The connection breaks once more before the request reaches the server.
        let (stream, second) = between.request();
        drop(stream);
        server.restart();
        let (mut stream, third) = between.request();
        for (again, part) in [(&second, "second"), (&third, "third")] {
            let key = |request| header(request, "idempotency-key");
            assert_eq!((key(&first), body(&first)), (key(again), body(again)), "{part}");
        }
        let found = Client::new(&server).ask(&third);
        assert_eq!((found.status(), found.header("Idempotency-Replayed")), (200, Some("true")));
        stream.write_all(found.head.as_bytes()).expect("an answer");
        stream.write_all(&found.body).expect("an answer");
        drop(stream);
        let said = buyer.end();
        said.assert_done("held");
        assert_eq!(said.member("id"), made.json()["id"].as_str().expect("an id"));
        assert_stands(&server, &said.member("id"), "ann", 2, "held");
        assert_units(&server, "ticket", [1, 2, 0]);
    }
}

#[test]
fn a_stalled_ledger_sells_one_to_each_buyer() {
    let redis = RedisServer::start(&[]);
    let options = ["--ledger", &redis.url(), "--ledger-timeout", "100ms", "--sale", "ticket=9"];
    let server = Server::start(&options);
    redis.stop();
    let mut buyers = BUYERS.map(|name| {
        let mut buyer = example(name, &url(&server), &["buy", "ticket"]);
        Running::start(buyer.env("BUYER", name))
    });
    buyers.iter_mut().for_each(|buyer| buyer.wait_for(": again in "));
    redis.go_on();
    for (name, buyer) in BUYERS.iter().zip(buyers) {
        let said = buyer.end();
        said.assert_done("held");
        assert_stands(&server, &said.member("id"), name, 1, "held");
    }
    assert_units(&server, "ticket", [5, 4, 0]);
}

/// A buyer's output for these answers. `None`: the connection is closed without one.
fn answered(name: &str, answers: &[Option<&str>]) -> Said {
    let between = Between::new();
    let mut buyer = example(name, &between.url(), &["buy", "ticket"]);
    let buyer = Running::start(buyer.envs([("BUYER", "ann"), ("PATIENCE_S", "30")]));
    for answer in answers {
        let (mut stream, _) = between.request();
        if let Some(answer) = answer {
            stream.write_all(answer.as_bytes()).expect("an answer");
        }
    }
    buyer.end()
}

/// An answer with a `Retry-After` of an hour, longer than a buyer waits.
fn refusal(status: u16, code: &str) -> String {
    let body = format!(r#"{{"status":{status},"code":"{code}","detail":"a reason"}}"#);
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/problem+json\r\nRetry-After: 3600\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_buyer_that_gives_up_reports_what_is_known() {
    for name in BUYERS {
        println!("{name}");
        for (status, code) in [(503, "busy"), (503, "unavailable"), (429, "rate_limited")] {
            let said = answered(name, &[Some(&refusal(status, code))]);
            said.assert_refused(code);
            assert_eq!(said.member("detail"), "a reason");
        }
        // A purchase that may have happened stays uncertain.
        answered(name, &[Some(&refusal(503, "unknown"))]).assert_refused("unknown");
        answered(name, &[Some(&refusal(500, "internal"))]).assert_refused("unknown");
        answered(name, &[None, Some(&refusal(503, "busy"))]).assert_refused("unknown");
        let page = "HTTP/1.1 502 X\r\nContent-Length: 4\r\nConnection: close\r\n\r\n<p/>";
        answered(name, &[Some(page), Some(&refusal(429, "rate_limited"))])
            .assert_refused("unknown");
        // And the refusal that comes after it is the ledger's own answer.
        let sold_out = refusal(409, "sold_out");
        answered(name, &[None, Some(&sold_out)]).assert_refused("sold_out");
    }
}

#[test]
fn an_unknown_purchase_is_resolved_with_its_key() {
    let mut server = Server::start(&["--sale", "ticket=9"]);
    let address = url(&server);
    server.kill();
    let environment = |name| [("BUYER", name), ("KEY", "k"), ("PATIENCE_S", "1")];
    for name in BUYERS {
        let mut buyer = example(name, &address, &["buy", "ticket"]);
        run(buyer.envs(environment(name))).assert_refused("unknown");
    }
    server.restart();
    for name in BUYERS {
        let mut buyer = example(name, &address, &["buy", "ticket"]);
        run(buyer.envs(environment(name))).assert_done("held");
    }
    assert_units(&server, "ticket", [5, 4, 0]);
}
