//! Bytes that are no TLS, or were changed on their way: no other client notices, and nothing of
//! them is carried out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::client::{Client, reserve};
use crate::secure::{Files, Secure};
use crate::server::{ANSWER_DEADLINE, Server};
use crate::{BUY, client, start};

/// The server's answer to these bytes, until it closes.
pub fn said(server: &Server, bytes: &[u8]) -> Vec<u8> {
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
fn bytes_that_are_not_tls_get_an_alert() {
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
fn a_tampered_record_is_not_carried_out() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &["--sale", "ticket=5"]);
    let mut buyer = client(&server, &files);
    assert_eq!(buyer.ask(BUY).json()["code"], 1);
    let mut record = buyer.stream.seal(BUY.as_bytes());
    let last = record.len() - 1;
    record[last] ^= 1;
    buyer.stream.socket.write_all(&record).expect("send");
    let error = buyer.stream.read(&mut [0; 64]).expect_err("an alert");
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    let response = client(&server, &files).ask("GET /v1/sales/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.json()["held"], 1);
}

#[test]
fn no_answer_reaches_another_client_amid_handshakes() {
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
