//! Clients that are slow, silent, or never read.

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, assert_sells, reserve, resident_bytes, sold};
use crate::place::{Line, Place};

fn each(option: &str) -> impl Iterator<Item = Place> {
    Place::each(&["--sale", "ticket=150", "--cores", "0", option, "500ms"])
}

/// Sends a byte every 100 ms until the server closes.
fn trickle_slowly(client: &mut Client<Line>, bytes: &[u8]) {
    for byte in bytes {
        if client.stream.write_all(&[*byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[track_caller]
fn assert_timed_out(client: &mut Client<Line>, since: Instant) {
    let response = client.response();
    response.assert_problem(408, "request_timeout");
    assert!(response.closes());
    client.assert_end();
    let took = since.elapsed();
    assert!((450..10_000).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn a_slow_head_is_408() {
    for server in each("--head-timeout") {
        let since = Instant::now();
        let mut silent = server.client();
        silent.send("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n");
        let mut trickling = server.client();
        trickle_slowly(&mut trickling, b"GET /buy/ticket HTTP/1.1\r\n");
        assert_timed_out(&mut silent, since);
        assert_timed_out(&mut trickling, since);
        // Also as the second request of a connection.
        let mut client = server.client();
        client.send("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\nGET /buy/ti");
        assert_eq!(client.response().status(), 200);
        assert_timed_out(&mut client, Instant::now() - Duration::from_millis(500));
        // To HEAD without a body.
        let mut client = server.client();
        client.send("HEAD /buy/ticket HTTP/1.1\r\nHost: a\r\n");
        let response = client.head_response();
        assert_eq!((response.status(), response.closes()), (408, true), "{}", response.head);
        client.assert_end();
        assert_eq!(sold(&server), 0);
    }
}

#[test]
fn a_slow_body_is_408() {
    for server in each("--body-timeout") {
        let whole = reserve("", r#"{"user":"u","quantity":1}"#);
        let since = Instant::now();
        let mut silent = server.client();
        silent.send(&whole[..whole.len() - 1]);
        let mut chunked = server.client();
        chunked.send(
            "POST /buy/ticket HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        );
        let mut trickling = server.client();
        let (head, body) = whole.split_at(whole.len() - 25);
        trickling.send(head);
        trickle_slowly(&mut trickling, body.as_bytes());
        for client in [&mut silent, &mut chunked, &mut trickling] {
            assert_timed_out(client, since);
        }
        // The time starts with the body.
        let mut client = server.client();
        trickle_slowly(&mut client, &whole.as_bytes()[..10]);
        client.send(&whole[10..]);
        assert_eq!(client.response().status(), 201);
        assert_eq!(sold(&server), 1);
    }
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    for server in each("--idle-timeout") {
        let mut fresh = server.client();
        let mut used = server.client();
        used.ask("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut busy = server.client();
        for _ in 0..15 {
            thread::sleep(Duration::from_millis(100));
            busy.ask("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        fresh.assert_end();
        used.assert_end();
    }
}

#[test]
fn a_client_that_never_reads_is_cut_off_cheaply() {
    for server in each("--write-timeout") {
        assert_sells(&server);
        let before = resident_bytes(&server);
        let request = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n";
        let many = request.repeat(64 * 1024 / request.len());
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let (mut stream, many) = (server.client().stream, many.clone());
                thread::spawn(move || {
                    let mut sent = 0;
                    while sent < 64 << 20 && stream.write_all(many.as_bytes()).is_ok() {
                        sent += many.len();
                    }
                    sent
                })
            })
            .collect();
        let mut most = 0;
        while writers.iter().any(|writer| !writer.is_finished()) {
            assert_eq!(server.get("/buy/ticket").status(), 200, "others are served meanwhile");
            most = most.max(resident_bytes(&server));
            thread::sleep(Duration::from_millis(50));
        }
        let grown = most.saturating_sub(before);
        // The allocator takes huge pages of 2 MiB, a few per core; what was sent is a multiple of
        // this.
        assert!(grown < 16 << 20, "grew by {grown} bytes");
        for writer in writers {
            let sent = writer.join().unwrap();
            assert!(sent < 64 << 20, "was not cut off");
        }
    }
}

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    // So slowly that the kernel reports no room to write to the server within the deadline.
    for server in each("--write-timeout") {
        let request = "GET /json HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut stream = server.client().stream;
        stream.write_all(request.as_bytes()).unwrap();
        // By the time they are read the dates are old, so they are compared by their length alone.
        let mut answer = vec![0; 1024];
        let answer_bytes = stream.read(&mut answer).unwrap();
        assert!(answer[..answer_bytes].ends_with(b"{\"message\":\"Hello, World!\"}"));
        let mut writer = stream.try_clone().unwrap();
        let writing = thread::spawn(move || writer.write_all(request.repeat(40_000).as_bytes()));
        let mut answers = vec![0; 1000 * answer_bytes];
        for index in 0..40 {
            thread::sleep(Duration::from_millis(100));
            stream.read_exact(&mut answers).unwrap();
            let whole =
                answers.chunks(answer_bytes).all(|one| one.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert!(whole, "{index}");
        }
        writing.join().unwrap().unwrap();
        Client::over(stream).assert_silent(Duration::from_millis(50));
    }
}

/// A client that never stops asking must not have a core to itself.
#[test]
fn a_flood_on_one_connection_does_not_starve_others() {
    for server in Place::each(&["--sale", "ticket=150", "--cores", "0"]) {
        let floods: Vec<_> = (0..2)
            .map(|_| {
                let stream = server.client().stream;
                let mut writer = stream.try_clone().unwrap();
                thread::spawn(move || {
                    let many = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000);
                    while writer.write_all(many.as_bytes()).is_ok() {}
                });
                let mut reader = stream.try_clone().unwrap();
                thread::spawn(move || while matches!(reader.read(&mut [0; 65536]), Ok(1..)) {});
                stream
            })
            .collect();
        for _ in 0..20 {
            assert_eq!(server.get("/buy/ticket").json()["code"], 1);
        }
        for stream in floods {
            let _ = stream.socket().shutdown(std::net::Shutdown::Both);
        }
        assert_eq!(sold(&server), 20);
    }
}
