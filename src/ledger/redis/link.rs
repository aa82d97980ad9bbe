//! One core's link to Redis: a socket of its own, waited for through the core's gate by one
//! coroutine that sends a batch, reads its replies and hands them back.
//!
//! The link reads top to bottom as if it blocked. A connection that fails, or does not answer in
//! time, is dropped, and tried again with a growing pause; meanwhile purchases are told at once that
//! the ledger is unavailable.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;

use redis::{Parser, Value};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, connect, send, socket_with};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::tls::{tls_config, tls_failure};
use super::{Codec, DecodeError, HandshakeError, RedisSettings, decode, handshake, load_scripts};
use crate::core::{Core, lock};
use crate::gate::Source;
use crate::ledger::batch::Failure;
use crate::ledger::{Batch, GroupReply, LedgerError};
use crate::limits::{RECONNECT_BACKOFF_MS_MAX, RECONNECT_BACKOFF_MS_MIN, REFUSAL_LOG_INTERVAL_MS};
use crate::server::LinkState;

/// What every connection to the same Redis shares.
pub struct RedisLedger {
    pub(super) settings: RedisSettings,
    pub(super) codec: Codec,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl RedisLedger {
    /// Prepares connections to a Redis. `ca` names a PEM file of roots to trust instead of the system's.
    ///
    /// # Errors
    /// The roots can't be read.
    pub fn new(settings: RedisSettings, codec: Codec, ca: Option<&Path>) -> io::Result<Self> {
        let tls = if settings.tls { Some(Arc::new(tls_config(ca)?)) } else { None };
        Ok(Self { settings, codec, tls })
    }
}

/// The life of a core's link.
pub fn run(core: &'static Core, ledger: &RedisLedger) {
    let mut backoff_ms = RECONNECT_BACKOFF_MS_MIN;
    let pause = core.gate.signal();
    loop {
        match Link::open(core, ledger) {
            Ok(mut link) => {
                backoff_ms = RECONNECT_BACKOFF_MS_MIN;
                core.batcher.set_available();
                core.report(LinkState::Up);
                let error = link.serve();
                core.batcher.set_unavailable();
                core.report(LinkState::Away { reason: error.to_string(), fatal: false });
            }
            Err(error) => {
                let fatal = error.is_fatal();
                core.report(LinkState::Away { reason: error.to_string(), fatal });
            }
        }
        let until_ms = core.clock.now_ms() + backoff_ms;
        let _ = pause.wait(|| core.clock.now_ms(), until_ms);
        backoff_ms = (backoff_ms * 2).min(RECONNECT_BACKOFF_MS_MAX);
    }
}

/// A connection that carries batches.
struct Link<'a> {
    core: &'static Core,
    ledger: &'a RedisLedger,
    stream: Stream,
    parser: Parser,
    out: Vec<u8>,
    /// When a refusal was logged last, if one was.
    refusal_logged_ms: Option<u64>,
    demoted: bool,
}

impl<'a> Link<'a> {
    fn open(core: &'static Core, ledger: &'a RedisLedger) -> Result<Self, HandshakeError> {
        let deadline_ms = core.clock.now_ms() + core.batcher.answer_deadline_ms();
        let settings = &ledger.settings;
        let socket = Socket::connect(core, &settings.host, settings.port, deadline_ms)?;
        let mut stream = match &ledger.tls {
            None => Stream::Plain(socket),
            Some(config) => {
                let name = ServerName::try_from(settings.host.clone()).map_err(io::Error::other)?;
                let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(tls, socket);
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock).map_err(tls_failure)?;
                }
                Stream::Tls(Box::new(stream))
            }
        };
        let name = format!("stampede-core-{}", core.index);
        handshake(&mut stream, settings, &name, ledger.codec.scripts())?;
        let (parser, out) = (Parser::new(), Vec::with_capacity(64 << 10));
        Ok(Self { core, ledger, stream, parser, out, refusal_logged_ms: None, demoted: false })
    }

    /// Carries batches until something fails, and says what.
    fn serve(&mut self) -> io::Error {
        loop {
            let source = self.stream.socket().source.clone();
            let interrupted = || {
                // Nothing is outstanding: whatever comes now is the end of the connection.
                source.attend();
                source.is_ready()
            };
            let Some((batch, flight)) = self.core.batcher.next_batch(interrupted) else {
                match self.stream.socket().probe() {
                    Ok(()) => continue,
                    Err(error) => return error,
                }
            };
            let deadline_ms = self.core.clock.now_ms() + self.core.batcher.answer_deadline_ms();
            self.stream.socket().deadline_ms.set(deadline_ms);
            match self.carry(&batch) {
                Ok(results) => {
                    self.core.batcher.complete(flight, results);
                    self.core.gate.hurry();
                    if self.demoted {
                        return io::Error::other("Redis has become a replica");
                    }
                }
                Err(error) => {
                    self.core.batcher.fail(flight, Failure::Unknown);
                    return error;
                }
            }
        }
    }

    /// Sends a batch and reads its replies. An error: the answer is lost.
    fn carry(&mut self, batch: &Batch) -> io::Result<Vec<Result<GroupReply, Failure>>> {
        let mut replies = self.exchange(batch)?;
        if replies.iter().any(|reply| matches!(reply, Err(DecodeError::NoScript))) {
            // Redis has been restarted or flushed. What it did not know it did not do.
            load_scripts(&mut self.stream, self.ledger.codec.scripts())
                .map_err(io::Error::other)?;
            for (group, reply) in batch.groups.iter().zip(&mut replies) {
                if matches!(reply, Err(DecodeError::NoScript)) {
                    let again = Batch { groups: vec![group.clone()] };
                    *reply = self.exchange(&again)?.swap_remove(0);
                }
            }
        }
        if let Some(error) = replies.iter().find_map(|reply| reply.as_ref().err()) {
            self.demoted = error.is_demotion();
            self.log_refusal(error);
        }
        let failure = |error: DecodeError| Failure::from(&LedgerError::from(error));
        Ok(replies.into_iter().map(|reply| reply.map_err(failure)).collect())
    }

    /// Now and then: every purchase is refused until somebody puts right what is wrong.
    fn log_refusal(&mut self, error: &DecodeError) {
        let now_ms = self.core.clock.now_ms();
        if self.refusal_logged_ms.is_none_or(|last| now_ms >= last + REFUSAL_LOG_INTERVAL_MS) {
            self.refusal_logged_ms = Some(now_ms);
            tracing::warn!(core = self.core.index, %error, "Redis refused a batch");
        }
    }

    fn exchange(&mut self, batch: &Batch) -> io::Result<Vec<Result<GroupReply, DecodeError>>> {
        self.out.clear();
        let codec = &self.ledger.codec;
        let counts: Vec<usize> =
            batch.groups.iter().map(|group| codec.encode(group, &mut self.out)).collect();
        self.stream.write_all(&self.out)?;
        self.stream.flush()?;
        // No reply can be here yet: a read would only find that out.
        self.stream.socket().wait()?;
        let mut replies = Vec::with_capacity(batch.groups.len());
        for (group, count) in batch.groups.iter().zip(counts) {
            let values = (0..count)
                .map(|_| self.parser.parse_value(&mut self.stream).map_err(io::Error::other))
                .collect::<io::Result<Vec<Value>>>()?;
            replies.push(decode(group, &values));
        }
        Ok(replies)
    }
}

enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Stream {
    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A socket that suspends its coroutine where it would block, until a deadline.
struct Socket {
    core: &'static Core,
    source: Rc<Source>,
    socket: OwnedFd,
    deadline_ms: Cell<u64>,
}

impl Socket {
    fn connect(core: &'static Core, host: &str, port: u16, deadline_ms: u64) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in resolve(core, host, port, deadline_ms)? {
            match Self::connect_to(core, address, deadline_ms) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
            }
        }
        Err(last)
    }

    fn connect_to(core: &'static Core, address: SocketAddr, deadline_ms: u64) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        set_tcp_nodelay(&socket, true)?;
        set_socket_keepalive(&socket, true)?;
        let source = core.gate.watch_source(&socket)?;
        let socket = Self { core, source, socket, deadline_ms: Cell::new(deadline_ms) };
        match connect(&socket.socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                // The first edge may be older than the connection; an unconnected socket has no
                // peer, which tells the two apart.
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

    fn wait(&self) -> io::Result<()> {
        let waited = self.source.wait(|| self.core.clock.now_ms(), self.deadline_ms.get());
        self.core.assert_here();
        waited.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
    }

    /// Whether an idle connection still stands.
    fn probe(&self) -> io::Result<()> {
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
        self.core.gate.forget_source(&self.source);
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

/// Finds a host's addresses. A name is looked up on a thread of its own: the system's resolver
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
    let found = Arc::new(Mutex::new(None));
    let (theirs, shared, index) = (found.clone(), core.shared.clone(), core.index);
    let query = (host.to_owned(), port);
    thread::Builder::new().name("resolver".into()).spawn(move || {
        let addresses = query.to_socket_addrs().map(Iterator::collect);
        *lock(&theirs) = Some(addresses);
        shared.mailboxes[index].send(Box::new(|core| core.ledger_signal.notify()));
    })?;
    loop {
        if let Some(addresses) = lock(&found).take() {
            return addresses;
        }
        let waited = core.ledger_signal.wait(|| core.clock.now_ms(), deadline_ms);
        waited.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the name is not resolved"))?;
    }
}
