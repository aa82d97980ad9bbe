//! What nginx passes on and what it refuses: it sells as the server itself does, keeps to the same
//! bounds, and limits the rate of an address.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use stampede::limits::BODY_BYTES_MAX;

use crate::server::Server;
use crate::{Nginx, json};

#[test]
fn nginx_in_front_sells_and_keeps_our_bounds() {
    let server = Server::start(&["--sale", "ticket=2,limit=1"]);
    let nginx = Nginx::start(&server);
    let bought = nginx.ask("GET /buy/ticket?user=ann", "Idempotency-Key: k\r\n\r\n");
    assert!(bought.starts_with("HTTP/1.1 200") && bought.contains(r#"{"code":1,"#), "{bought}");
    let again = nginx.ask("GET /buy/ticket?user=ann", "Idempotency-Key: k\r\n\r\n");
    let id = |answer: &str| answer.rsplit_once("ticket~").expect("an id").1.to_owned();
    assert_eq!(id(&again), id(&bought));

    let bob = json("", r#"{"user":"bob"}"#);
    let made = nginx.ask("POST /v1/sales/ticket/reservations", &bob);
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    let none = nginx.ask("GET /buy/ticket?user=eve", "\r\n");
    assert!(none.contains(r#""code":-1"#), "{none}");
    // A shown sale may be 100 ms old.
    thread::sleep(Duration::from_millis(150));
    assert!(nginx.ask("GET /v1/sales/ticket", "\r\n").contains(r#""free":0"#));

    // Our bounds, whichever of the two keeps them.
    let large = nginx.ask(
        "POST /v1/sales/ticket/reservations",
        &format!("Content-Length: {}\r\n\r\n", BODY_BYTES_MAX + 1),
    );
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    let cookie = format!("Cookie: {}\r\n\r\n", "c".repeat(3000));
    assert!(nginx.ask("GET /buy/ticket?user=eve", &cookie).contains(r#""code":-1"#));
    let many = "X-Many: 1\r\n".repeat(70) + "\r\n";
    assert!(nginx.ask("GET /buy/ticket", &many).starts_with("HTTP/1.1 431"));
    // Nothing else is there, nor any of the paths that are nginx's own.
    let keyed = "Idempotency-Key: k3\r\n\r\n";
    for path in ["/plaintext", "/repeatable/buy", "/repeatable/v1", "/said/413", "/said/buy/lost"] {
        let answer = nginx.ask(&format!("GET {path}"), keyed);
        assert!(
            answer.starts_with("HTTP/1.1 404") && answer.contains("<html>"),
            "{path}: {answer}"
        );
    }
    // A request with a key is passed on as it was written.
    let absolute = nginx.ask("GET http://shop/buy/ticket?user=a%2Fb", keyed);
    assert!(absolute.contains(r#""code":-1"#), "{absolute}");
    let unclear = nginx.ask("GET /buy/ticket?user=%FF", keyed);
    assert!(unclear.starts_with("HTTP/1.1 422"), "{unclear}");
}

#[test]
fn nginx_limits_the_rate_of_an_address() {
    let server = Server::start(&["--sale", "ticket=1000"]);
    let nginx = Nginx::before(&[server.address()], "1r/m");
    let answers: Vec<_> = (0..25).map(|_| nginx.ask("GET /buy/ticket", "\r\n")).collect();
    let sold = answers.iter().filter(|answer| answer.contains(r#""code":1"#)).count();
    assert!((21..25).contains(&sold), "one and the burst: {sold}");
    // As the server itself words it elsewhere.
    let refused = answers.last().expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("Retry-After: 1"), "{refused}");
    assert!(refused.contains("Content-Type: application/json"), "{refused}");
    assert!(refused.contains(r#"{"code":-12,"msg":"请求过于频繁，请稍后再试"}"#), "{refused}");
    let refused = nginx.ask("GET /v1/sales/ticket", "\r\n");
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains(r#""code":"rate_limited""#));
    assert!(refused.contains("Content-Type: application/problem+json"), "{refused}");
}

#[test]
fn nginx_limits_concurrent_requests_of_an_address() {
    let server = Server::start(&["--sale", "ticket=1000"]);
    let nginx = Nginx::before(&[server.address()], "100000r/s");
    server.signal(Signal::STOP);
    let ask = || {
        // Within the rate limit.
        thread::sleep(Duration::from_millis(2));
        let mut stream = nginx.connect();
        stream
            .write_all(b"GET /v1/sales/ticket HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .expect("send a request");
        stream
    };
    let read = |mut stream: UnixStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer to the end");
        answer
    };
    let waiting: Vec<_> = (0..200).map(|_| ask()).collect();
    let refused = read(ask());
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("rate_limited"), "{refused}");
    server.signal(Signal::CONT);
    for stream in waiting {
        let answer = read(stream);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
