//! The PROXY protocol, with TLS after it and without.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::BUY;
use crate::client::Client;
use crate::secure::{Files, Secure};
use crate::server::Server;

/// A balancer's header for a client whose address has this last byte, in version 2.
fn header(client: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, client, 127, 0, 0, 1, 0xd4, 0x31, 0x01, 0xbb];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat()
}

/// The same in version 1.
fn line(client: u8) -> Vec<u8> {
    format!("PROXY TCP4 192.0.2.{client} 127.0.0.1 54321 443\r\n").into_bytes()
}

fn start(options: &[&str]) -> (Files, Server) {
    let files = Files::make(&["localhost"], 30);
    let listen = ["--listen", "tls:127.0.0.1:0", "--listen", "127.0.0.1:0"];
    let proxies = ["--proxy-protocol", "--trusted-proxies", "127.0.0.1"];
    let server = Server::start(&[&listen[..], &files.options(), &proxies, options].concat());
    (files, server)
}

fn connect(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(bytes).expect("send");
    stream
}

#[test]
fn a_proxy_header_may_be_split_and_precedes_tls() {
    let (files, server) = start(&["--cores", "0"]);
    for header in [header(7), line(7), b"PROXY UNKNOWN\r\n".to_vec()] {
        for size in [1, 5, 16, 100] {
            let mut stream = server.connect();
            for piece in header.chunks(size) {
                stream.write_all(piece).expect("send");
                std::thread::sleep(Duration::from_millis(2));
            }
            assert_eq!(Client::over(stream).ask(BUY).json()["code"], 1);
        }
        // In one piece with the request after it.
        let all = [&header[..], BUY.as_bytes()].concat();
        let mut client = Client::over(connect(&server, &all));
        assert_eq!(client.response().json()["code"], 1);

        let mut stream = TcpStream::connect(server.secure()).expect("connect");
        stream.write_all(&header).expect("send");
        let secure = Secure::over(stream, &files.client(), "localhost").expect("a handshake");
        let mut client = Client::over(secure);
        assert_eq!(client.ask(BUY).json()["code"], 1);
    }
}

#[test]
fn a_trusted_proxy_without_a_header_is_not_served() {
    let (_files, server) = start(&["--head-timeout", "500ms"]);
    let malformed = [&line(7)[..], BUY.as_bytes()].concat();
    let malformed = String::from_utf8(malformed).expect("text").replace("192.0.2.7", "192.0.2.700");
    for bytes in [
        BUY.as_bytes(),
        malformed.as_bytes(),
        b"PROXY TCP4 192.0.2.7 127.0.0.1 1\r\n",
        &header(7)[..20],
        &line(7)[..20],
        b"P",
    ] {
        let mut client = Client::over(connect(&server, bytes));
        // It is closed with unread input: maybe by a reset.
        let end = std::io::Read::read(&mut client.stream, &mut [0; 64]);
        assert!(!matches!(end, Ok(1..)), "{end:?}");
    }
}

#[test]
fn connections_count_for_the_client_in_the_proxy_header() {
    let (_files, server) = start(&["--connections-per-address", "2"]);
    let client = |number: u8| Client::over(connect(&server, &header(number)));
    let by_line = |number: u8| Client::over(connect(&server, &line(number)));
    let mut kept = [client(1), by_line(1), by_line(2), client(2)];
    for client in &mut kept {
        assert_eq!(client.ask(BUY).json()["code"], 1);
    }
    for mut third in [client(1), by_line(1)] {
        third.response().assert_problem(503, "busy");
        third.assert_end();
    }
    drop(kept);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(client(1).ask(BUY).json()["code"], 1);
}

#[test]
fn a_proxy_header_from_an_untrusted_address_is_refused() {
    let proxies = ["--proxy-protocol", "--trusted-proxies", "192.0.2.0/24"];
    let listen = ["--listen", "127.0.0.1:0"];
    let server = Server::start(&[&listen[..], &proxies].concat());
    for header in [header(7), line(7)] {
        let mut client = Client::over(connect(&server, &header));
        assert_eq!(client.response().status(), 400);
    }
}
