//! TLS at the buyers' port, over real sockets: handshakes of all kinds, what comes over them, and what
//! strangers send instead.

#[allow(dead_code)] // Each test program takes what it needs.
#[path = "../support/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../support/client.rs"]
mod client;
#[path = "../support/clock.rs"]
mod clock;
#[allow(dead_code)]
#[path = "../support/secure.rs"]
mod secure;

mod files;
mod handshakes;
mod proxied;
mod sessions;
mod strangers;
