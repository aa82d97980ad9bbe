//! Too much input, or half of it: garbage, records without an end, and crowds that stop in
//! mid-handshake. Existing connections continue, nothing of the input is carried out, and memory
//! stays within its bounds.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use stampede::limits::{
    ALLOCATOR_SLACK_BYTES, IDLE_CONNECTION_BYTES, TLS_HANDSHAKE_BYTES, TLS_HANDSHAKE_BYTES_MAX,
    TLS_RECEIVED_BLOCK_BYTES, TLS_RECEIVED_BYTES_MAX, TLS_SESSION_BYTES,
};

use crate::client::{Client, get, reserve, resident_bytes, sold};
use crate::secure::{Files, Secure, hello};
use crate::server::Server;
use crate::strangers::said;
use crate::{BUY, client, start};

/// Strangers who come at the same time.
const CROWD: usize = 2_000;
/// They stay however long it takes to open all of them.
const PATIENT: [&str; 8] =
    ["--cores", "0", "--head-timeout", "1h", "--idle-timeout", "1h", "--listen", "127.0.0.1:0"];

/// A record with a length beyond the bound (RFC 5246, section 6.2.3).
fn oversized(kind: u8) -> Vec<u8> {
    let length = (TLS_RECEIVED_BYTES_MAX - 5 + 1) as u16;
    [&[kind, 3, 3][..], &length.to_be_bytes(), &vec![0; length.into()]].concat()
}

#[test]
fn garbage_after_the_handshake_ends_the_connection() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &["--cores", "0", "--listen", "127.0.0.1:0"]);
    let mut kept = client(&server, &files);
    let mut bought = 0;
    for version in [&TLS12, &TLS13] {
        let config = files.client_with(&[version]);
        for (what, bytes) in [
            ("oversized", oversized(23)),
            ("what nobody sealed", [&[23, 3, 3, 0, 32][..], &[7; 32]].concat()),
            ("empty records", [23, 3, 3, 0, 0].repeat(1000)),
            ("a handshake in the clear", hello(&config)),
            ("alerts in the clear", [21, 3, 3, 0, 2, 1, 0].repeat(1000)),
            ("a record of no type", vec![99, 3, 3, 0, 1, 0]),
            ("HTTP", BUY.as_bytes().to_vec()),
            ("noise", (0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ] {
            let stream = Secure::connect(server.secure(), &config, "localhost");
            let mut buyer = Client::over(stream.expect("a handshake"));
            assert_eq!(buyer.ask(BUY).json()["code"], 1);
            let sealed = buyer.stream.seal(BUY.as_bytes());
            // The server may close before it has everything.
            let _ = buyer.stream.socket.write_all(&[&bytes[..], &sealed].concat());
            let end = buyer.stream.read(&mut [0; 64]);
            println!("{version:?}, {what}: {end:?}");
            assert!(!matches!(end, Ok(1..)), "{what}: it is answered");
            assert_eq!(kept.ask(BUY).json()["code"], 1, "{what}");
            bought += 2;
        }
    }
    assert_eq!(said(&server, &oversized(22))[0], 21, "an alert");
    assert_eq!(sold(&server), bought);
}

#[test]
fn only_a_complete_tls_record_is_carried_out() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &["--cores", "0", "--listen", "127.0.0.1:0"]);
    let mut bought = 0;
    for version in [&TLS12, &TLS13] {
        let config = files.client_with(&[version]);
        let connect = || {
            let stream = Secure::connect(server.secure(), &config, "localhost");
            Client::over(stream.expect("a handshake"))
        };
        let hello = hello(&config);
        for at in 0..hello.len() {
            assert_eq!(said(&server, &hello[..at]), b"", "{at} bytes of the first record");
        }
        let mut kept = connect();
        for at in 1.. {
            let record = kept.stream.seal(BUY.as_bytes());
            let Some((start, rest)) = record.split_at_checked(at).filter(|(_, r)| !r.is_empty())
            else {
                break;
            };
            kept.stream.socket.write_all(start).expect("send");
            thread::sleep(Duration::from_millis(1));
            kept.stream.socket.write_all(rest).expect("send");
            assert_eq!(kept.response().json()["code"], 1, "cut at {at}");
            bought += 1;
            let mut gone = connect();
            let record = gone.stream.seal(BUY.as_bytes());
            gone.stream.socket.write_all(&record[..at]).expect("send");
            gone.stream.socket.shutdown(Shutdown::Write).expect("half-close");
            let end = gone.stream.read(&mut [0; 64]);
            assert!(!matches!(end, Ok(1..)), "{at} bytes of a record are answered");
        }
    }
    assert_eq!(sold(&server), bought);
}

/// While this runs, buyers with a connection ask for their reservations, and get their own.
fn while_buyers_ask<T>(server: &Server, files: &Files, act: impl FnOnce() -> T) -> T {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let done = Done(&is_done);
        for user in ["ann", "bob", "eve"] {
            let mut buyer = client(server, files);
            let ask = reserve("Idempotency-Key: k\r\n", &format!(r#"{{"user":"{user}"}}"#));
            let first = buyer.ask(&ask).json();
            assert_eq!(first["user"], user);
            let is_done = &is_done;
            scope.spawn(move || {
                let mut asked = 0;
                while !is_done.load(Ordering::Relaxed) {
                    assert_eq!(buyer.ask(&ask).json(), first);
                    asked += 1;
                    thread::sleep(Duration::from_millis(2));
                }
                println!("{user} has asked {asked} times");
            });
        }
        let result = act();
        drop(done);
        result
    })
}

/// A crowd of which each sends this.
fn crowd(server: &Server, files: &Files, bytes: &[u8]) -> Vec<TcpStream> {
    let hello = hello(&files.client());
    let connect = |bytes: &[u8]| {
        let mut stream = Server::connect_to(server.secure());
        stream.write_all(bytes).expect("send");
        stream
    };
    let one = |number: usize| {
        // No more wait for their handshake than may: an answered one came after those before him.
        if number % 100 == 99 {
            let _ = connect(&hello).peek(&mut [0]);
        }
        connect(bytes)
    };
    (0..CROWD).map(one).collect()
}

/// They are all still there, and take no more than this memory each.
#[track_caller]
fn assert_within(what: &str, server: &Server, before: u64, bytes_each: usize, crowd: &[TcpStream]) {
    // Everything sent before has been read, or nearly.
    for _ in 0..3 {
        assert_eq!(get(server, "/json").status(), 200);
    }
    thread::sleep(Duration::from_millis(200));
    let is_open = |stream: &&TcpStream| {
        stream.set_nonblocking(true).expect("set");
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("set");
        peeked.map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |count| count > 0)
    };
    let open = crowd.iter().filter(is_open).count();
    assert_eq!(open, crowd.len(), "{what}: so many are open");
    let grown = resident_bytes(server).saturating_sub(before) as usize;
    println!("{what}: {} bytes each, of {bytes_each}", grown / crowd.len());
    let most = crowd.len() * bytes_each + ALLOCATOR_SLACK_BYTES;
    assert!(grown <= most, "{what}: {grown} bytes for {} of them", crowd.len());
}

#[test]
fn a_tls_crowd_stays_within_its_memory_bounds() {
    let files = Files::make(&["localhost"], 30);
    for version in [&TLS12, &TLS13] {
        let server = start(&files, &PATIENT);
        let config = files.client_with(&[version]);
        while_buyers_ask(&server, &files, || {
            let before = resident_bytes(&server);
            let crowd = crowd(&server, &files, &hello(&config));
            let most = IDLE_CONNECTION_BYTES + TLS_HANDSHAKE_BYTES;
            assert_within("half a handshake", &server, before, most, &crowd);
        });
    }
    let server = start(&files, &PATIENT);
    while_buyers_ask(&server, &files, || {
        let before = resident_bytes(&server);
        let first = [&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc][..], &[0; 16_379]].concat();
        let crowd = crowd(&server, &files, &first);
        let most = TLS_HANDSHAKE_BYTES_MAX;
        assert_within("a first message without its end", &server, before, most, &crowd);
    });
    let server = start(&files, &PATIENT);
    while_buyers_ask(&server, &files, || {
        let before = resident_bytes(&server);
        let config = files.client();
        let connect = |_| Secure::connect(server.secure(), &config, "localhost");
        let mut crowd: Vec<_> =
            (0..CROWD).map(|number| connect(number).expect("a handshake")).collect();
        let sockets: Vec<_> =
            crowd.iter().map(|secure| secure.socket.try_clone().expect("a handle")).collect();
        let idle = IDLE_CONNECTION_BYTES + TLS_SESSION_BYTES;
        assert_within("a handshake and nothing more", &server, before, idle, &sockets);
        for secure in &mut crowd {
            let record = secure.seal(&[b'x'; 1 << 14]);
            secure.socket.write_all(&record[..record.len() - 1]).expect("send");
        }
        let most = idle + TLS_RECEIVED_BLOCK_BYTES;
        assert_within("a record without its end", &server, before, most, &sockets);
    });
}

#[test]
fn memory_is_freed_after_unfinished_handshakes() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &["--cores", "0", "--head-timeout", "1s"]);
    let hello = hello(&files.client());
    let come_and_go = |bytes: &[u8]| {
        let all = crowd(&server, &files, bytes);
        thread::sleep(Duration::from_secs(2));
        drop(all);
    };
    come_and_go(&hello);
    let before = resident_bytes(&server);
    for _ in 0..2 {
        come_and_go(&hello);
        come_and_go(&hello[..hello.len() / 2]);
    }
    let after = resident_bytes(&server);
    // Anything kept after one of them has ended would be here 8,000 times.
    let most = before + 2 * ALLOCATOR_SLACK_BYTES as u64;
    assert!(after < most, "{before} bytes, and {after} after the crowds");
    assert_eq!(client(&server, &files).ask(BUY).json()["code"], 1);
}
