//! What is no TLS, half of it, or far too much: nobody else notices, and no memory grows with it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::client::{Client, reserve, resident_bytes};
use crate::secure::{Files, Secure};
use crate::server::{ANSWER_DEADLINE, Server};
use crate::{BUY, client, start};

/// What the server says to these bytes, until it closes.
fn said(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.secure()).expect("connect");
    stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut said = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut said);
    said
}

#[test]
fn what_is_no_tls_is_told_so_by_an_alert() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &["--cores", "0"]);
    let mut kept = client(&server, &files);
    let oversized = [&[22, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat();
    let long_hello = [&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc][..], &[7; 16_380]].concat();
    let empty: Vec<u8> = [22, 3, 1, 0, 0].repeat(1000);
    let alerts: Vec<u8> = [21, 3, 1, 0, 2, 1, 0].repeat(1000);
    for (what, bytes) in [
        ("HTTP", BUY.as_bytes().to_vec()),
        ("noise", (0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("oversized", oversized),
        ("a hello of nothing", long_hello),
        ("empty records", empty),
        ("alerts", alerts),
        ("data before the handshake", [&[23, 3, 3, 0, 32][..], &[0; 32]].concat()),
        ("half a header", vec![22, 3]),
    ] {
        let said = said(&server, &bytes);
        // Content type 21 is an alert (RFC 8446, section 5.1).
        assert!(said.is_empty() || said[0] == 21, "{what}: {said:?}");
        assert_eq!(kept.ask(BUY).json()["code"], 1, "{what}");
    }
    assert!(said(&server, BUY.as_bytes()).starts_with(&[21]), "HTTP is told that it is no TLS");
}

#[test]
fn a_changed_record_ends_the_connection_and_is_not_carried_out() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &["--sale", "ticket=5"]);
    let mut buyer = client(&server, &files);
    assert_eq!(buyer.ask(BUY).json()["code"], 1);
    let mut record = Vec::new();
    {
        let mut tls = buyer.stream.tls();
        tls.writer().write_all(BUY.as_bytes()).expect("into memory");
        tls.write_tls(&mut record).expect("into memory");
    }
    let last = record.len() - 1;
    record[last] ^= 1;
    buyer.stream.socket.write_all(&record).expect("send");
    let error = buyer.stream.read(&mut [0; 64]).expect_err("an alert");
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    let response = client(&server, &files).ask("GET /v1/sales/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.json()["held"], 1);
}

#[test]
fn nobody_is_told_what_was_meant_for_another_while_handshakes_pour_in() {
    const THREADS: usize = 8;
    const EACH: usize = 150;
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &["--sale", "ticket=100000", "--cores", "0"]);
    let config = files.client();
    let buy = |client: &mut Client<Secure>, user: &str| {
        let response = client.ask(reserve("", &format!(r#"{{"user":"{user}"}}"#)));
        assert_eq!(response.status(), 201, "{}", response.text());
        assert_eq!(response.json()["user"], user);
    };
    let connect = || {
        let stream = Secure::connect(server.secure(), &config, "localhost");
        Client::over(stream.expect("a handshake"))
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut kept = connect();
                for number in 0..EACH {
                    buy(&mut connect(), &format!("new-{thread}-{number}"));
                    buy(&mut kept, &format!("kept-{thread}-{number}"));
                }
            });
        }
    });
}

#[test]
fn memory_is_given_back_after_a_crowd_that_shakes_hands_half_way() {
    const CROWD: usize = 2_000;
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &["--cores", "0", "--head-timeout", "1s"]);
    // The first record of a real client, and then nothing.
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let mut hello = Vec::new();
    let mut stranger = rustls::ClientConnection::new(files.client(), name).expect("TLS");
    stranger.write_tls(&mut hello).expect("into memory");
    let crowd = |bytes: &[u8]| {
        let connect = || {
            let mut stream = TcpStream::connect(server.secure()).expect("connect");
            let _ = stream.write_all(bytes);
            stream
        };
        let all: Vec<_> = (0..CROWD).map(|_| connect()).collect();
        thread::sleep(Duration::from_secs(2));
        drop(all);
    };
    crowd(&hello);
    let before = resident_bytes(&server);
    for _ in 0..3 {
        crowd(&hello);
        crowd(&hello[..hello.len() / 2]);
    }
    let after = resident_bytes(&server);
    assert!(after < before + 4 * 1024 * 1024, "{before} bytes, and {after} after the crowds");
    assert_eq!(client(&server, &files).ask(BUY).json()["code"], 1);
}
