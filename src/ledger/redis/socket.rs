//! A core's socket to Redis: it reads and writes as if it blocked, but suspends its coroutine.
//!
//! Architecture invariant: it knows no batch and no command.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, connect, send, socket_with};

use super::primary::Term;
use crate::engine::core::Core;
use crate::engine::reactor::Notify;
use crate::sync::lock;

/// A socket that suspends its coroutine where it would block, until a deadline.
pub(super) struct Socket {
    core: &'static Core,
    /// The notification of its events.
    pub(super) source: Rc<Notify>,
    socket: OwnedFd,
    /// When a wait ends, on the core's clock.
    pub(super) deadline_ms: Cell<u64>,
    /// The term of the primary that it leads to, if Sentinels name it.
    term: Option<Term>,
}

impl Socket {
    pub(super) fn connect(
        core: &'static Core,
        host: &str,
        port: u16,
        deadline_ms: u64,
        term: Option<&Term>,
    ) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in resolve(core, host, port, deadline_ms)? {
            match Self::connect_to(core, address, deadline_ms, term) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
            }
        }
        Err(last)
    }

    fn connect_to(
        core: &'static Core,
        address: SocketAddr,
        deadline_ms: u64,
        term: Option<&Term>,
    ) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        set_tcp_nodelay(&socket, true)?;
        set_socket_keepalive(&socket, true)?;
        let source = core.reactor.watch_urgent(&socket)?;
        let (deadline_ms, term) = (Cell::new(deadline_ms), term.cloned());
        let socket = Self { core, source, socket, deadline_ms, term };
        match connect(&socket.socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                // The first edge may be older than the connection. An unconnected socket has no
                // peer, which distinguishes the two.
                loop {
                    socket.wait()?;
                    socket_error(&socket.socket)??;
                    if rustix::net::getpeername(&socket.socket).is_ok_and(|peer| peer.is_some()) {
                        break;
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(socket)
    }

    /// Suspends until an event.
    pub(super) fn wait(&self) -> io::Result<()> {
        let waited = self.source.wait(|| self.core.clock.now_ms(), self.deadline_ms.get());
        self.core.assert_here();
        waited.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))?;
        self.check_term()
    }

    /// Returns an error if it leads to a replaced primary, whose late answers do not count.
    pub(super) fn check_term(&self) -> io::Result<()> {
        self.term.as_ref().map_or(Ok(()), Term::check)
    }

    /// Checks whether an idle connection is still open.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.check_term()?;
        let now_ms = self.core.clock.now_ms();
        let _ = self.source.wait(|| now_ms, now_ms); // takes the event
        match rustix::io::read(&self.socket, &mut [0u8; 1]) {
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(0) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Redis closed the connection"))
            }
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "Redis spoke unasked")),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.core.reactor.forget(&self.source);
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(&self.socket, &mut *buffer) {
                Err(Errno::AGAIN) => self.wait()?,
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Err(Errno::AGAIN) => self.wait()?,
                Err(Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Look-ups in progress, by core, host and port: a resolver that hangs holds one thread per entry,
/// however often it is asked meanwhile.
static PENDING: Mutex<Vec<(usize, String, u16)>> = Mutex::new(Vec::new());

/// A look-up in progress.
struct Pending((usize, String, u16));

impl Pending {
    /// `None`: this look-up is already in progress.
    fn begin(what: (usize, String, u16)) -> Option<Self> {
        let mut pending = lock(&PENDING);
        if pending.contains(&what) {
            return None;
        }
        pending.push(what.clone());
        Some(Self(what))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        lock(&PENDING).retain(|what| *what != self.0);
    }
}

/// Finds the addresses of a host. A name is looked up on a thread of its own: the system's resolver
/// blocks.
fn resolve(
    core: &'static Core,
    host: &str,
    port: u16,
    deadline_ms: u64,
) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let Some(pending) = Pending::begin((core.index, host.to_owned(), port)) else {
        let text = "the name is not resolved: an earlier look-up has not ended";
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    };
    // A notification of its own: several nodes of a Cluster may be looked up at the same time.
    let signal = core.reactor.new_notify();
    let found = Arc::new(Mutex::new(None));
    let (theirs, engine, index) = (found.clone(), core.engine.clone(), core.index);
    let (query, place) = ((host.to_owned(), port), signal.id());
    let lookup = move || {
        let addresses = query.to_socket_addrs().map(Iterator::collect);
        drop(pending);
        *lock(&theirs) = Some(addresses);
        engine.mailboxes[index].send(Box::new(move |core| core.reactor.notify(place)));
    };
    let started = thread::Builder::new().name("resolver".into()).spawn(lookup);
    let addresses = started.and_then(|_| {
        loop {
            if let Some(addresses) = lock(&found).take() {
                return addresses;
            }
            let waited = signal.wait(|| core.clock.now_ms(), deadline_ms);
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the name is not resolved");
            waited.map_err(late)?;
        }
    });
    core.reactor.forget(&signal);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_looks_up_a_name_once_at_a_time() {
        let of = |core| Pending::begin((core, "nowhere.invalid".to_owned(), 1));
        let first = of(usize::MAX);
        assert!(first.is_some() && of(usize::MAX).is_none() && of(usize::MAX - 1).is_some());
        drop(first);
        assert!(of(usize::MAX).is_some());
    }
}
