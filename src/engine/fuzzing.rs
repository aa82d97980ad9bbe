//! Parsers of the engine that are otherwise private, for tests/fuzz.

use std::net::IpAddr;

use super::proxy_protocol::{self, Proxied};

/// The PROXY header at the start of a connection: the client, if it names one, and its length.
/// `None`: it is incomplete.
///
/// # Errors
/// It is no PROXY header.
pub fn proxy_header(start: &[u8]) -> Result<Option<(Option<IpAddr>, usize)>, &'static str> {
    match proxy_protocol::parse(start) {
        Proxied::By { client, bytes } => Ok(Some((client, bytes))),
        Proxied::Incomplete => Ok(None),
        Proxied::Wrong => Err("no PROXY header"),
    }
}
