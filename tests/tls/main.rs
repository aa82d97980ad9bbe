//! TLS at the buyers' port, over real sockets: handshakes of all kinds, requests over them, and
//! strangers' bytes in place of TLS.

#[allow(dead_code)] // Each test program takes what it needs.
#[path = "../support/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../support/client.rs"]
mod client;
#[path = "../support/clock.rs"]
mod clock;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis;
#[allow(dead_code)]
#[path = "../support/secure.rs"]
mod secure;

use client::Client;
use secure::{Files, Secure};
use server::Server;

mod crowds;
mod files;
mod floods;
mod handshakes;
mod proxied;
mod sessions;
mod strangers;

const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server that speaks TLS alone, unless its options add more.
fn start(files: &Files, options: &[&str]) -> Server {
    Server::start(&[&["--listen", "tls:127.0.0.1:0"], &files.options()[..], options].concat())
}

/// A client that trusts it.
fn client(server: &Server, files: &Files) -> Client<Secure> {
    let stream = Secure::connect(server.secure(), &files.client(), "localhost");
    Client::over(stream.expect("a handshake"))
}
