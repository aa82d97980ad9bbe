//! Listening sockets, bound once per core.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::sockopt::{
    set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport, set_tcp_nodelay,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

/// Connections that the kernel may queue before we accept them (the kernel's own
/// `net.core.somaxconn` may be lower).
pub(super) const BACKLOG: i32 = 65_535;

/// Whether a socket for all IPv6 addresses of the machine accepts IPv4 as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// Yes: an IPv4 client then has an address such as `::ffff:10.0.0.1`.
    Both,
    /// No: another socket may have the port for IPv4.
    One,
}

/// Binds an address once per core. Port 0 takes a free one, the same for all.
///
/// # Errors
/// The address is in use (also by another server that shares ports), or can't be bound.
pub fn bind_all(
    address: SocketAddr,
    families: Families,
    cores: usize,
) -> io::Result<(SocketAddr, Vec<Listener>)> {
    // Sharing a port between sockets would also share it silently with another server of the same
    // user. So first bind it without sharing, to see that it is free.
    let alone = bound(address, families, false)?;
    listen(&alone, if cores == 1 { BACKLOG } else { 1 })?;
    let address = SocketAddr::try_from(getsockname(&alone)?).map_err(io::Error::from)?;
    if cores == 1 {
        return Ok((address, vec![Listener::new(alone)]));
    }
    drop(alone);
    let sockets = (0..cores).map(|_| {
        let socket = bound(address, families, true)?;
        listen(&socket, BACKLOG)?;
        Ok(Listener::new(socket))
    });
    Ok((address, sockets.collect::<io::Result<_>>()?))
}

fn bound(address: SocketAddr, families: Families, shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, shared)?;
    // Answers are written whole, so there is nothing to wait for. Accepted sockets inherit this.
    set_tcp_nodelay(&socket, true)?;
    if address.is_ipv6() {
        let both = families == Families::Both && address.ip().is_unspecified();
        set_ipv6_v6only(&socket, !both)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

/// Adopts listening sockets that another process has bound, for this number of cores. If there are
/// fewer sockets than cores, one core accepts from each socket and hands its connections to all
/// cores in turn.
///
/// # Errors
/// One of them is not a listening socket.
pub fn adopt_all(sockets: Vec<OwnedFd>, cores: usize) -> io::Result<Vec<Listener>> {
    let spread = sockets.len() < cores;
    let adopt = |socket: OwnedFd| {
        fcntl_setfl(&socket, fcntl_getfl(&socket)? | OFlags::NONBLOCK)?;
        // With the same backlog as our own sockets.
        listen(&socket, BACKLOG)?;
        let _ = set_tcp_nodelay(&socket, true);
        Ok(Listener { spread, kept: true, ..Listener::new(socket) })
    };
    sockets.into_iter().map(adopt).collect()
}

/// A listening socket, for the core that accepts on it.
pub struct Listener {
    /// Shared, so that it can be given to another process.
    pub(super) socket: Arc<OwnedFd>,
    /// Whether its connections are handed to all cores in turn.
    pub(super) spread: bool,
    /// Whether its connections use TLS.
    pub(super) secure: bool,
    /// Whether it continues to listen after this process has ended, since another process has it
    /// too.
    pub(super) kept: bool,
}

impl Listener {
    /// A socket of this process alone.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket: Arc::new(socket), spread: false, secure: false, kept: false }
    }

    /// The socket, to be given to another process. It listens until the last owner closes it.
    pub fn socket(&self) -> Arc<OwnedFd> {
        self.socket.clone()
    }

    /// The same for clients that use TLS, with the settings of [`Engine::set_tls`].
    ///
    /// [`Engine::set_tls`]: crate::engine::core::Engine::set_tls
    pub fn secure(self) -> Self {
        Self { secure: true, ..self }
    }
}
