//! The byte stream of a connection: its socket alone, or TLS over it.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::socket::Socket;
use crate::error::{Because, Result};
use crate::secure;

/// Bytes per read over TLS: rustls accepts at most 16 KiB of unread input.
const RECEIVED_BYTES: usize = 8 * 1024;

/// The byte stream of a connection.
pub enum Line {
    /// The socket alone.
    Plain(Socket),
    /// TLS.
    Secure(Box<Secure>),
}

/// TLS over a socket.
pub struct Secure {
    socket: Socket,
    tls: ClientConnection,
    /// Whether the socket may have more input.
    more: bool,
}

/// TLS settings of the connections.
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    received: Vec<u8>,
}

impl Tls {
    /// For a host of this name. `resumes`: later connections of a thread use the tickets of earlier
    /// ones.
    ///
    /// # Errors
    ///
    /// The name is not a host name.
    pub fn new(host: &str, resumes: bool) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned()).because(|| format!("--to {host}"))?;
        Ok(Self { config: secure::client(resumes)?, name, received: vec![0; RECEIVED_BYTES] })
    }

    /// TLS over a connecting socket.
    pub fn over(&self, socket: Socket) -> io::Result<Line> {
        let tls = ClientConnection::new(self.config.clone(), self.name.clone());
        let tls = tls.map_err(io::Error::other)?;
        Ok(Line::Secure(Box::new(Secure { socket, tls, more: false })))
    }
}

impl AsRawFd for Line {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }
}

impl Line {
    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Secure(secure) => &secure.socket,
        }
    }

    /// Why connecting failed.
    pub fn error(&self) -> io::Error {
        self.socket().error()
    }

    /// Whether requests can be sent, once the socket is connected.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Secure(secure) => !secure.tls.is_handshaking(),
        }
    }

    /// Whether the connection began with a handshake, and whether that resumed a session.
    pub fn resumed(&self) -> Option<bool> {
        match self {
            Self::Plain(_) => None,
            Self::Secure(secure) => Some(secure.tls.handshake_kind()? == HandshakeKind::Resumed),
        }
    }

    /// Whether there may be more input without another event.
    pub fn has_more(&self) -> bool {
        matches!(self, Self::Secure(secure) if secure.more)
    }

    /// Sends bytes. Returns the number taken, which is 0 while the socket connects or is full.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.send(bytes),
            Self::Secure(secure) if secure.tls.is_handshaking() => Ok(0),
            Self::Secure(secure) => {
                let taken = secure.tls.writer().write(bytes)?;
                secure.flush()?;
                Ok(taken)
            }
        }
    }

    /// Sends TLS's own messages, and the bytes that the socket did not take before.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Secure(secure) => secure.flush(),
        }
    }

    /// Reads into the buffer. 0: the peer has closed.
    pub fn receive(&mut self, tls: Option<&mut Tls>, buffer: &mut [u8]) -> io::Result<usize> {
        match (self, tls) {
            (Self::Secure(secure), Some(tls)) => secure.receive(&mut tls.received, buffer),
            (line, _) => line.socket().receive(buffer),
        }
    }
}

impl Secure {
    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut ToSocket(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, received: &mut [u8], buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The server closed without a close_notify. Missing bytes show whether that was too
                // early.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            self.more = false;
            let count = self.socket.receive(received)?;
            self.more = count == received.len();
            let mut rest = &received[..count];
            loop {
                self.tls.read_tls(&mut rest)?;
                self.tls.process_new_packets().map_err(io::Error::other)?;
                if rest.is_empty() {
                    break;
                }
            }
            self.flush()?;
        }
    }
}

/// Writes to a socket. Bytes that it does not take would block.
struct ToSocket<'a>(&'a Socket);

impl Write for ToSocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.send(bytes)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            sent => Ok(sent),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
