//! The target of strangers, and their limits.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Most connections of a process.
pub const CONNECTIONS_MAX: u32 = 1_000_000;
/// Events per wait.
pub const EVENTS_MAX: usize = 512;
/// Interval at which every loop checks for its end.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Reads `HOST:PORT`.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("HOST:PORT: {error}"))?;
    found.next().ok_or_else(|| "the host has no address".to_owned())
}

/// A whole request.
pub fn request(to: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").into_bytes()
}
