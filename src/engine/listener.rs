//! Listening sockets and admission: which connections are served, and what the others are answered.
//!
//! Each core has a listening socket of its own on every address (`SO_REUSEPORT`), so a connection
//! belongs to its core from the first packet on. A Unix socket can't be bound once per core, and a
//! service manager may have bound an address only once. In these cases one core accepts the
//! connections and hands them to all cores in turn. A server that is full, or out of descriptors,
//! answers 503 and closes; it never stops accepting and never aborts.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::net::{Shutdown, SocketAddrAny, SocketFlags, accept_with, acceptfrom_with, shutdown};

use super::addresses::Address;
use super::connection::{self, Acceptance, Preamble};
use super::core::{Core, Engine, Event};
use super::counts::CloseReason;
use super::http::Kind;
use super::no_memory_for_a_coroutine;
use super::settings::TrustedProxies;
use crate::limits::{ACCEPT_LOG_INTERVAL_MS, EVICTIONS_PER_ACCEPT, STACK_BYTES};

mod socket;
mod unix;

use socket::BACKLOG;
pub use socket::{Families, Listener, adopt_all, bind_all};
pub use unix::{SocketFile, bind_unix};

/// Maximum number of connections accepted at a time.
const ACCEPT_MAX: usize = 64;
/// The same for TLS. A round begins one handshake, so more connections would only leave the backlog
/// to wait here, while established connections wait for the accepting.
const ACCEPT_SECURE_MAX: usize = 8;
/// Pause after an accept that failed for a lasting reason: no memory or descriptors, no permission,
/// an invalid socket.
const ACCEPT_PAUSE_MS: u64 = 50;

/// A descriptor kept in reserve. It is closed for the moment that it takes to refuse a connection.
struct Spare(Option<OwnedFd>);

impl Spare {
    fn new() -> Self {
        Self(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok())
    }
}

impl Listener {
    /// Accepts on its core until the server drains.
    pub fn run(self, core: &'static Core) {
        let notify = match core.reactor.watch(&*self.socket) {
            Ok(notify) => notify,
            Err(error) => {
                tracing::error!(core = core.index, %error, "can't watch a listening socket");
                return;
            }
        };
        core.listeners.add(notify.clone());
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
                    core.reactor.wait_for_next_round(&notify, || core.clock.now_ms());
                    core.assert_here();
                    continue;
                }
                Accepted::Failed(error) => {
                    acceptor.log(error);
                    core.clock.now_ms() + ACCEPT_PAUSE_MS
                }
            };
            let _ = notify.wait(|| core.clock.now_ms(), pause_ms);
            core.assert_here();
        }
        // Closing the socket would reset the connections that the kernel has completed. There are
        // at most as many as the backlog has; connections that come meanwhile are too late. If
        // another process has the socket, these connections are its own.
        let is_last = !(self.kept || engine.succeeded.load(Ordering::Relaxed));
        if is_last {
            for _ in 0..BACKLOG as usize / acceptor.accept_max() {
                if !matches!(acceptor.accept_some(), Accepted::Some) {
                    break;
                }
            }
        }
        core.reactor.forget(&notify);
        core.listeners.remove(&notify);
    }
}

impl Engine {
    /// Lets the cores accept connections, each on its own listeners. Earlier connections have been
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

    /// Stops accepting: another process accepts from the same sockets. Open connections end with
    /// their next answer.
    pub fn give_up_listening(&self) {
        self.leave();
        self.succeeded.store(true, Ordering::SeqCst);
        for mailbox in &self.mailboxes {
            mailbox.send(Box::new(|core| core.listeners.notify()));
        }
    }

    /// Stops accepting, closes idle connections, and answers the requests that have begun. Each
    /// core reports when it has no connection left.
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
    /// The backlog is empty.
    All,
    /// There may be more.
    Some,
    /// Another accept would fail as well before a pause.
    Failed(Errno),
}

/// Whether a failed accept has consumed a connection that was already broken (accept(2)); the next
/// one may succeed.
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

/// A listening socket with the state of its accepting.
struct Acceptor {
    core: &'static Core,
    socket: Arc<OwnedFd>,
    spare: Spare,
    /// Whether its connections speak TLS.
    secure: bool,
    /// The core that gets the next connection, if not always this one.
    turn: Option<usize>,
    /// When the next failure may be logged.
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
                    // Gives up the spare descriptor to answer one client with the reason.
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

    /// Number of connections accepted before the core serves other events. With a low limit on
    /// connections it is smaller, so that a burst can't take all of them before the first one is
    /// read.
    fn accept_max(&self) -> usize {
        let most = if self.secure { ACCEPT_SECURE_MAX } else { ACCEPT_MAX };
        (self.core.engine.limits.connections_max() / 16).clamp(1, most)
    }

    fn log(&mut self, error: Errno) {
        let now_ms = self.core.clock.now_ms();
        if now_ms >= self.log_again_ms {
            self.log_again_ms = now_ms + ACCEPT_LOG_INTERVAL_MS;
            let core = self.core.index;
            tracing::warn!(core, %error, "can't accept connections; trying again");
        }
    }

    fn admit(&mut self, connection: OwnedFd, from: Option<SocketAddrAny>) {
        let core = self.core;
        let engine = &core.engine;
        let proxies = core.proxies.borrow();
        let from = from.and_then(|from| classify(&proxies, from));
        let address = match from {
            Some(ConnectionOrigin::Client(address)) => Some(address),
            Some(ConnectionOrigin::Trusted) | None => None,
        };
        let preamble = Preamble {
            secure: self.secure,
            proxied: proxies.proxy_protocol && matches!(from, Some(ConnectionOrigin::Trusted)),
        };
        drop(proxies);
        let acceptance = try_admit(core, address);
        core.counts.accepted.add(1);
        if let Acceptance::Refused(kind) = acceptance
            && !engine.refused.try_acquire(engine.limits.refused_max())
        {
            return refuse(core, self.secure, kind, &connection);
        }
        match self.next_core() {
            index if index == core.index => connection::add(core, connection, preamble, acceptance),
            index => hand_over(core, index, connection, preamble, acceptance),
        }
        connection::evict(core, EVICTIONS_PER_ACCEPT);
    }

    /// The core that gets the next connection.
    fn next_core(&mut self) -> usize {
        let Some(turn) = &mut self.turn else { return self.core.index };
        let index = *turn;
        *turn = (index + 1) % self.core.engine.cores();
        index
    }
}

/// Gives an admitted connection to another core. During a drain it stays: the other core may have
/// reported already that it has none left.
fn hand_over(
    core: &Core,
    index: usize,
    connection: OwnedFd,
    preamble: Preamble,
    acceptance: Acceptance,
) {
    let engine = &core.engine;
    if !engine.handover.begin() {
        return connection::add(core, connection, preamble, acceptance);
    }
    engine.mailboxes[index].send(Box::new(move |core| {
        connection::add(core, connection, preamble, acceptance);
        core.engine.handover.end();
    }));
}

/// The origin of an accepted connection.
#[derive(Clone, Copy)]
enum ConnectionOrigin {
    /// A client. Its connections are counted by this address.
    Client(Address),
    /// A trusted proxy.
    Trusted,
}

/// Classifies the origin of a connection. `None`: it comes over a Unix socket.
fn classify(proxies: &TrustedProxies, from: SocketAddrAny) -> Option<ConnectionOrigin> {
    let ip = SocketAddr::try_from(from).ok()?.ip().to_canonical();
    let trusted = proxies.networks.iter().any(|network| network.contains(&ip));
    Some(if trusted {
        ConnectionOrigin::Trusted
    } else {
        ConnectionOrigin::Client(Address::of(ip))
    })
}

/// Admits a connection if there is a permit for it, or if closing another one frees a permit.
fn try_admit(core: &Core, address: Option<Address>) -> Acceptance {
    let engine = &core.engine;
    let place = || engine.connections.try_acquire(engine.limits.connections_max());
    if !place() {
        connection::evict(core, EVICTIONS_PER_ACCEPT);
        if !place() {
            return Acceptance::Refused(Kind::BUSY);
        }
    }
    let Some(address) = address else { return Acceptance::Admitted(None) };
    let count = engine.addresses.add(address);
    let most = engine.limits.connections_per_address();
    if most > 0 && count > most {
        engine.addresses.remove(address);
        engine.connections.release();
        return Acceptance::Refused(Kind::TOO_MANY_CONNECTIONS);
    }
    Acceptance::Admitted(Some(address))
}

/// Answers 503 to a connection that is not admitted, as far as possible without waiting. With TLS
/// that would take a handshake, so the connection is only closed.
fn refuse(core: &Core, secure: bool, kind: &'static Kind, connection: &OwnedFd) {
    core.counts.end(CloseReason::refused(kind));
    if secure {
        return;
    }
    let mut response = Vec::new();
    connection::write_refusal(kind, &core.date.borrow(), &mut response);
    let _ = rustix::io::read(connection, &mut [0u8; 1024]);
    let _ = rustix::net::send(connection, &response, rustix::net::SendFlags::NOSIGNAL);
    let _ = shutdown(connection, Shutdown::Write);
}
