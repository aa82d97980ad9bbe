//! The origin of a request's connection.

use super::addresses::Address;

/// See the module's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A trusted proxy, or a Unix socket.
    Proxy,
    /// A client with this address.
    Client(Address),
    /// The connection is closed by now, or was not admitted.
    Gone,
}
