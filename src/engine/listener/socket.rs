//! Sockets that listen, bound once for each core.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::sockopt::{
    set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport, set_tcp_nodelay,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

/// Connections the kernel may hold for us before we accept them (the kernel's own
/// `net.core.somaxconn` may be lower).
pub(super) const BACKLOG: i32 = 65_535;

/// Binds an address once for each core. Port 0 takes a free one, the same for all.
///
/// # Errors
/// The address is in use (also by another server that shares ports), or can't be bound.
pub fn bind_all(address: SocketAddr, cores: usize) -> io::Result<(SocketAddr, Vec<Listener>)> {
    // Sharing a port between sockets would also share it with another server of the same user
    // without a word, so first see whether it can be had alone.
    let alone = bound(address, false)?;
    listen(&alone, if cores == 1 { BACKLOG } else { 1 })?;
    let address = SocketAddr::try_from(getsockname(&alone)?).map_err(io::Error::from)?;
    if cores == 1 {
        return Ok((address, vec![Listener { socket: alone, spread: false, secure: false }]));
    }
    drop(alone);
    let sockets = (0..cores).map(|_| {
        let socket = bound(address, true)?;
        listen(&socket, BACKLOG)?;
        Ok(Listener { socket, spread: false, secure: false })
    });
    Ok((address, sockets.collect::<io::Result<_>>()?))
}

fn bound(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, shared)?;
    // Answers are written whole, so there is nothing to wait for. Accepted sockets inherit this.
    set_tcp_nodelay(&socket, true)?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}

/// A listening socket, for the core that accepts on it.
pub struct Listener {
    pub(super) socket: OwnedFd,
    /// Whether what it accepts belongs to all cores in turn.
    pub(super) spread: bool,
    /// Whether what it accepts speaks TLS.
    pub(super) secure: bool,
}

impl Listener {
    /// The same for clients that speak TLS, with the settings of [`Engine::set_tls`].
    ///
    /// [`Engine::set_tls`]: crate::engine::core::Engine::set_tls
    pub fn secure(self) -> Self {
        Self { secure: true, ..self }
    }
}
