//! From where a request's connection comes.

use super::addresses::Address;

/// See the module's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From a proxy that the settings trust, or over a Unix socket.
    Proxy,
    /// From somebody with this address.
    Client(Address),
    /// It is closed by now, or gets no place.
    Gone,
}
