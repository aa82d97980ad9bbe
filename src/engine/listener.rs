//! Listening sockets and admission: who gets a connection, and what the others are told.
//!
//! Each core has a listening socket of its own on every address (`SO_REUSEPORT`), so a connection
//! belongs to its core from the first packet on. A Unix socket can't be bound once for each core, and
//! a service manager may have bound an address only once: one core accepts its connections and hands
//! them to all in turn. A server that is full, or out of descriptors, answers 503 and closes; it never
//! stops accepting and never aborts.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::net::{Shutdown, SocketAddrAny, SocketFlags, accept_with, acceptfrom_with, shutdown};

use super::addresses::Address;
use super::connection::{self, Beginning, Entry};
use super::core::{Core, Engine, Event};
use super::counts::End;
use super::http::Kind;
use super::no_memory_for_a_coroutine;
use super::settings::Front;
use crate::limits::{ACCEPT_LOG_INTERVAL_MS, GIVE_WAY_PER_ACCEPT, STACK_BYTES};

mod socket;
mod unix;

use socket::BACKLOG;
pub use socket::{Families, Listener, adopt_all, bind_all};
pub use unix::{SocketFile, bind_unix};

/// Most connections accepted in one go.
const ACCEPT_MAX: usize = 64;
/// The same where they speak TLS: a round begins one handshake, so more would only wait here and no
/// longer in the backlog, while those who are in wait for them.
const ACCEPT_SECURE_MAX: usize = 8;
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
        let source = match core.gate.watch_source(&*self.socket) {
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
            secure: self.secure,
            turn: self.spread.then_some(core.index),
            log_again_ms: 0,
        };
        let engine = &core.engine;
        while !core.draining() && !engine.succeeded.load(Ordering::Relaxed) {
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
        // than the backlog; whoever comes meanwhile comes too late. Where somebody else has the socket,
        // they are his.
        let is_last = !(self.kept || engine.succeeded.load(Ordering::Relaxed));
        if is_last {
            for _ in 0..BACKLOG as usize / acceptor.accept_max() {
                if !matches!(acceptor.accept_some(), Accepted::Some) {
                    break;
                }
            }
        }
        core.gate.forget_source(&source);
        core.listeners.remove(&source);
    }
}

impl Engine {
    /// Has the cores accept connections, each on its own listeners. Those who came before have been
    /// waiting in the backlog.
    pub fn accept(&self, listeners: Vec<Vec<Listener>>) {
        for (mailbox, listeners) in self.mailboxes.iter().zip(listeners) {
            mailbox.send(Box::new(|core| {
                for listener in listeners {
                    let run = move |core| listener.run(core);
                    if !core.spawn_here("listener", STACK_BYTES, run) {
                        core.engine.report(Event::Failed(no_memory_for_a_coroutine()));
                    }
                }
            }));
        }
    }

    /// No new connections from now on: another process accepts from the same sockets. Those that are
    /// here end with their next answer.
    pub fn give_up_listening(&self) {
        self.leave();
        self.succeeded.store(true, Ordering::SeqCst);
        for mailbox in &self.mailboxes {
            mailbox.send(Box::new(|core| core.listeners.notify()));
        }
    }

    /// No new connections, idle ones closed, requests under way answered. Each core reports when it
    /// has no connection left.
    pub fn drain(&self) {
        self.handover.begin_drain();
        for mailbox in &self.mailboxes {
            mailbox.send(Box::new(|core| {
                core.listeners.notify();
                connection::begin_drain(core);
            }));
        }
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
    socket: Arc<OwnedFd>,
    spare: Spare,
    /// Whether its connections speak TLS.
    secure: bool,
    /// The core that gets the next connection, if not always this one.
    turn: Option<usize>,
    /// When it may be logged again that nobody can be accepted.
    log_again_ms: u64,
}

impl Acceptor {
    fn accept_some(&mut self) -> Accepted {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        for _ in 0..self.accept_max() {
            match acceptfrom_with(&*self.socket, flags) {
                Ok((connection, from)) => self.admit(connection, from),
                Err(Errno::AGAIN) => return Accepted::All,
                Err(error) if is_of_one_connection(error) => {}
                Err(error @ (Errno::MFILE | Errno::NFILE)) => {
                    // Give up the spare descriptor to tell one client why it is turned away.
                    if self.spare.0.take().is_some()
                        && let Ok(connection) = accept_with(&*self.socket, flags)
                    {
                        self.core.counts.accepted.add(1);
                        refuse(self.core, self.secure, Kind::BUSY, &connection);
                    }
                    self.spare = Spare::new();
                    return Accepted::Failed(error);
                }
                Err(error) => return Accepted::Failed(error),
            }
        }
        Accepted::Some
    }

    /// Connections accepted in one go, before whatever else waits on the core has its turn: of few
    /// places no burst takes all before its first connection was looked at.
    fn accept_max(&self) -> usize {
        let most = if self.secure { ACCEPT_SECURE_MAX } else { ACCEPT_MAX };
        (self.core.engine.limits.connections_max() / 16).clamp(1, most)
    }

    fn log(&mut self, error: Errno) {
        let now_ms = self.core.clock.now_ms();
        if now_ms >= self.log_again_ms {
            self.log_again_ms = now_ms + ACCEPT_LOG_INTERVAL_MS;
            let core = self.core.index;
            tracing::warn!(core, %error, "connections can't be accepted; trying again");
        }
    }

    fn admit(&mut self, connection: OwnedFd, from: Option<SocketAddrAny>) {
        let core = self.core;
        let engine = &core.engine;
        let front = core.front.borrow();
        let from = from.and_then(|from| who(&front, from));
        let address = match from {
            Some(Opener::Client(address)) => Some(address),
            Some(Opener::Trusted) | None => None,
        };
        let begins = Beginning {
            secure: self.secure,
            proxied: front.proxy_protocol && matches!(from, Some(Opener::Trusted)),
        };
        drop(front);
        let entry = enter(core, address);
        core.counts.accepted.add(1);
        if let Entry::Refused(kind) = entry
            && !engine.refused.take(engine.limits.refused_max())
        {
            return refuse(core, self.secure, kind, &connection);
        }
        match self.next_core() {
            index if index == core.index => connection::add(core, connection, begins, entry),
            index => hand_over(core, index, connection, begins, entry),
        }
        connection::give_way(core, GIVE_WAY_PER_ACCEPT);
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
fn hand_over(core: &Core, index: usize, connection: OwnedFd, begins: Beginning, entry: Entry) {
    let engine = &core.engine;
    if !engine.handover.begin() {
        return connection::add(core, connection, begins, entry);
    }
    engine.mailboxes[index].send(Box::new(move |core| {
        connection::add(core, connection, begins, entry);
        core.engine.handover.end();
    }));
}

/// Who opens a connection.
#[derive(Clone, Copy)]
enum Opener {
    /// Somebody with this address, which it is counted with.
    Client(Address),
    /// Somebody whom the settings trust.
    Trusted,
}

/// Who opens a connection. `None`: it comes over a Unix socket.
fn who(front: &Front, from: SocketAddrAny) -> Option<Opener> {
    let ip = SocketAddr::try_from(from).ok()?.ip().to_canonical();
    let trusted = front.trusted.iter().any(|network| network.contains(&ip));
    Some(if trusted { Opener::Trusted } else { Opener::Client(Address::of(ip)) })
}

/// Gives a connection a place, if there is one for it, or one can be made.
fn enter(core: &Core, address: Option<Address>) -> Entry {
    let engine = &core.engine;
    let place = || engine.connections.take(engine.limits.connections_max());
    if !place() {
        connection::give_way(core, GIVE_WAY_PER_ACCEPT);
        if !place() {
            return Entry::Refused(Kind::BUSY);
        }
    }
    let Some(address) = address else { return Entry::Admitted(None) };
    let count = engine.addresses.enter(address);
    let most = engine.limits.connections_per_address();
    if most > 0 && count > most {
        engine.addresses.leave(address);
        engine.connections.free();
        return Entry::Refused(Kind::TOO_MANY_CONNECTIONS);
    }
    Entry::Admitted(Some(address))
}

/// Says 503 to a connection that gets no place, as well as that goes without waiting for it. With TLS it
/// can't be said without a handshake.
fn refuse(core: &Core, secure: bool, kind: &'static Kind, connection: &OwnedFd) {
    core.counts.end(End::refused(kind));
    if secure {
        return;
    }
    let mut response = Vec::new();
    connection::write_refusal(kind, &core.date.borrow(), &mut response);
    let _ = rustix::io::read(connection, &mut [0u8; 1024]);
    let _ = rustix::net::send(connection, &response, rustix::net::SendFlags::NOSIGNAL);
    let _ = shutdown(connection, Shutdown::Write);
}
