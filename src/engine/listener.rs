//! Listening sockets and admission: who gets a connection, and what the others are told.
//!
//! Each core has a listening socket of its own on every address (`SO_REUSEPORT`), so a connection
//! belongs to its core from the first packet on. A Unix socket can't be bound once for each core: one
//! core accepts its connections and hands them to all in turn. A server that is full, or out of descriptors,
//! answers 503 and closes; it never stops accepting and never aborts.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, accept_with, shutdown};

use super::connection;
use super::core::Core;
use crate::limits::{ACCEPT_LOG_INTERVAL_MS, DESCRIPTORS_RESERVE};

mod socket;
mod unix;

use socket::BACKLOG;
pub use socket::{Listener, bind_all};
pub use unix::{SocketFile, bind_unix};

/// Connections accepted in one go, before whatever else waits on the core has its turn.
const ACCEPT_MAX: usize = 64;
/// Connections beyond the limit that are told so; of those beyond even this, nothing is read.
const REFUSED_MAX: usize = DESCRIPTORS_RESERVE as usize / 2;
/// Pause after an accept that failed for a reason that will still be there: no memory or descriptors,
/// no right, a socket that is none any more.
const ACCEPT_PAUSE_MS: u64 = 50;

/// A descriptor kept in reserve, to be given up for the moment it takes to refuse a connection.
struct Spare(Option<OwnedFd>);

impl Spare {
    fn new() -> Self {
        Self(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok())
    }
}

impl Listener {
    /// Its life on its core: accepts until the server drains.
    pub fn run(self, core: &'static Core) {
        let source = match core.gate.watch_source(&self.socket) {
            Ok(source) => source,
            Err(error) => {
                tracing::error!(core = core.index, %error, "a listening socket can't be watched");
                return;
            }
        };
        core.listeners.add(source.clone());
        let mut acceptor = Acceptor {
            core,
            socket: self.socket,
            spare: Spare::new(),
            turn: self.spread.then_some(core.index),
            log_again_ms: 0,
        };
        while !core.draining() {
            let pause_ms = match acceptor.accept_some() {
                Accepted::All => u64::MAX,
                Accepted::Some => {
                    core.gate.wait_a_round(&source, || core.clock.now_ms());
                    core.assert_here();
                    continue;
                }
                Accepted::Failed(error) => {
                    acceptor.log(error);
                    core.clock.now_ms() + ACCEPT_PAUSE_MS
                }
            };
            let _ = source.wait(|| core.clock.now_ms(), pause_ms);
            core.assert_here();
        }
        // What the kernel has completed already would be reset by closing the socket. It is no more
        // than the backlog; whoever comes meanwhile comes too late.
        for _ in 0..BACKLOG as usize / ACCEPT_MAX {
            if !matches!(acceptor.accept_some(), Accepted::Some) {
                break;
            }
        }
        core.gate.forget_source(&source);
        core.listeners.remove(&source);
    }
}

enum Accepted {
    /// Nobody waits any more.
    All,
    /// There may be more.
    Some,
    /// There is no use in another try before a pause.
    Failed(Errno),
}

/// Whether an accept that failed has taken a connection that was broken already (accept(2)): the next
/// one may be well.
fn is_of_one_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
    )
}

/// A listening socket at work.
struct Acceptor {
    core: &'static Core,
    socket: OwnedFd,
    spare: Spare,
    /// The core that gets the next connection, if not always this one.
    turn: Option<usize>,
    /// When it may be logged again that nobody can be accepted.
    log_again_ms: u64,
}

impl Acceptor {
    fn accept_some(&mut self) -> Accepted {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        for _ in 0..ACCEPT_MAX {
            match accept_with(&self.socket, flags) {
                Ok(connection) => self.admit(connection),
                Err(Errno::AGAIN) => return Accepted::All,
                Err(error) if is_of_one_connection(error) => {}
                Err(error @ (Errno::MFILE | Errno::NFILE)) => {
                    // Give up the spare descriptor to tell one client why it is turned away.
                    if self.spare.0.take().is_some()
                        && let Ok(connection) = accept_with(&self.socket, flags)
                    {
                        refuse(self.core, &connection);
                    }
                    self.spare = Spare::new();
                    return Accepted::Failed(error);
                }
                Err(error) => return Accepted::Failed(error),
            }
        }
        Accepted::Some
    }

    fn log(&mut self, error: Errno) {
        let now_ms = self.core.clock.now_ms();
        if now_ms >= self.log_again_ms {
            self.log_again_ms = now_ms + ACCEPT_LOG_INTERVAL_MS;
            let core = self.core.index;
            tracing::warn!(core, %error, "connections can't be accepted; trying again");
        }
    }

    fn admit(&mut self, connection: OwnedFd) {
        let engine = &self.core.engine;
        let admitted = engine.connections.take(engine.settings.connections_max);
        if !admitted && !engine.refused.take(REFUSED_MAX) {
            return refuse(self.core, &connection);
        }
        match self.next_core() {
            index if index == self.core.index => connection::add(self.core, connection, admitted),
            index => hand_over(self.core, index, connection, admitted),
        }
    }

    /// The core that a connection is for.
    fn next_core(&mut self) -> usize {
        let Some(turn) = &mut self.turn else { return self.core.index };
        let index = *turn;
        *turn = (index + 1) % self.core.engine.cores();
        index
    }
}

/// Gives a connection, which has its place, to another core. In a drain it stays: that core may have
/// told already that it has none left.
fn hand_over(core: &Core, index: usize, connection: OwnedFd, admitted: bool) {
    let engine = &core.engine;
    if !engine.handover.begin() {
        return connection::add(core, connection, admitted);
    }
    engine.mailboxes[index].send(Box::new(move |core| {
        connection::add(core, connection, admitted);
        core.engine.handover.end();
    }));
}

/// Says 503 to a connection that gets no place, as well as that goes without waiting for it.
fn refuse(core: &Core, connection: &OwnedFd) {
    let mut response = Vec::new();
    connection::write_refusal(&core.date.borrow(), &mut response);
    let _ = rustix::io::read(connection, &mut [0u8; 1024]);
    let _ = rustix::net::send(connection, &response, rustix::net::SendFlags::NOSIGNAL);
    let _ = shutdown(connection, Shutdown::Write);
}
