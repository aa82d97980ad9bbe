//! A socket for threads outside of the cores: it blocks until a point in time and no longer,
//! however slowly bytes arrive.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_keepalive;
use rustix::net::{RecvFlags, recv};

use super::primary::Term;
use crate::limits::TERM_LOOK_INTERVAL_MS;

/// A blocking socket with a deadline.
pub(super) struct Timed {
    stream: TcpStream,
    deadline: Instant,
    /// The term of the primary that it leads to, if Sentinels name it.
    term: Option<Term>,
}

impl Timed {
    /// Connects to the first of the host's addresses that answers.
    pub(super) fn connect(
        host: &str,
        port: u16,
        deadline: Instant,
        term: Option<Term>,
    ) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    set_socket_keepalive(&stream, true)?;
                    return Ok(Self { stream, deadline, term });
                }
                Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
            }
        }
        Err(last)
    }

    /// Sets how long it may block from now on.
    pub(super) fn set_time(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    /// Whether it can't be used any more: the other side has closed it or sent unsolicited bytes,
    /// or it is no longer the primary.
    pub(super) fn is_stale(&self, tls: bool) -> bool {
        if self.term.as_ref().is_some_and(|term| term.check().is_err()) {
            return true;
        }
        match recv(&self.stream, &mut [0u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(error) => !matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
            // TLS may send messages of its own, such as a ticket.
            Ok((_, bytes)) => bytes == 0 || !tls,
        }
    }

    /// How long to block before the next check of the term.
    fn slice(&self) -> io::Result<Duration> {
        let left = left(self.deadline)?;
        let Some(term) = &self.term else { return Ok(left) };
        term.check()?;
        Ok(left.min(Duration::from_millis(TERM_LOOK_INTERVAL_MS)))
    }
}

/// The time until the deadline, which has not passed.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late()) } else { Ok(left) }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// Whether only the slice is over: a socket's time-out is reported as `WouldBlock`. Or the process
/// was stopped and continued (SIGSTOP, SIGCONT), which interrupts such a call whatever its handlers
/// are.
fn goes_on<T>(done: &io::Result<T>) -> bool {
    let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
    done.as_ref().is_err_and(|error| kinds.contains(&error.kind()))
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(self.slice()?))?;
            let done = self.stream.read(buffer);
            if !goes_on(&done) {
                return done;
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.stream.set_write_timeout(Some(self.slice()?))?;
            let done = self.stream.write(bytes);
            if !goes_on(&done) {
                return done;
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
