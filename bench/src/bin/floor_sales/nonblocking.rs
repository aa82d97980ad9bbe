//! Writing to sockets that may be full.

use std::io::{self, Write};

/// Sends bytes. Returns the number that the socket took, which is 0 if it is full.
pub fn send(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
