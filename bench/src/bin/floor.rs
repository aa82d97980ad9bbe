//! The floor: the least that a TCP server can do for a rejection.
//!
//! One thread, one epoll, one `read` and one `write` a wake-up, the answer encoded once a second.
//! It parses nothing but the blank line that ends a request and whether the client wants the
//! connection closed. No server that answers HTTP from user space through epoll can be expected to
//! use less CPU than this, so the others are measured against it.
//!
//! It reads no bodies and enforces no bound: it is a yardstick, not a server.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, SystemTime};

use bench::answer::SOLD_OUT;
use bench::error::{Because, Result};
use clap::Parser;

const EVENTS_MAX: usize = 512;
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// A bare epoll loop that tells everyone "sold out": the floor that stampede is measured against.
#[derive(Parser)]
struct Settings {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:3005")]
    listen: SocketAddr,
    /// Core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
}

fn main() {
    if let Err(failure) = serve(&Settings::parse()) {
        eprintln!("floor: {failure}");
        std::process::exit(1);
    }
}

fn serve(settings: &Settings) -> Result<()> {
    bench::pin::to_core(settings.core)?;
    let listener = TcpListener::bind(settings.listen)
        .because(|| format!("listening on {}", settings.listen))?;
    listener.set_nonblocking(true)?;
    set_nodelay(listener.as_raw_fd())?;
    let epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd())?;

    let mut floor = Floor {
        epoll,
        connections: Vec::new(),
        answer: Answer::new(),
        input: vec![0; READ_BUFFER_BYTES],
        output: Vec::new(),
    };
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
    loop {
        let ready = floor.epoll.wait(&mut events)?;
        floor.answer.refresh();
        for event in &events[..ready] {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                floor.accept(fd)?;
            } else if floor.turn(fd, event.events).is_err() {
                // The peer is gone: dropping the connection closes it, which leaves the epoll.
                floor.connections[fd as usize] = None;
            }
        }
    }
}

struct Floor {
    epoll: Epoll,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    answer: Answer,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// The buffers hold what one read or one write left over, which is nearly always nothing.
struct Connection {
    socket: File,
    unparsed: Vec<u8>,
    unsent: Vec<u8>,
    closing: bool,
}

impl Floor {
    fn accept(&mut self, listener: RawFd) -> io::Result<()> {
        loop {
            // SAFETY: no address is asked for, so both pointers may be null.
            let fd = unsafe {
                libc::accept4(
                    listener,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                )
            };
            if fd < 0 {
                // None left, or no descriptor left: either way, what is open goes on.
                return Ok(());
            }
            // SAFETY: the kernel has just given us this descriptor; nothing else owns it.
            let socket = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
            self.epoll.add(fd)?;
            if self.connections.len() <= fd as usize {
                self.connections.resize_with(fd as usize + 1, || None);
            }
            let (unparsed, unsent) = (Vec::new(), Vec::new());
            self.connections[fd as usize] =
                Some(Connection { socket, unparsed, unsent, closing: false });
        }
    }

    /// One wake-up of a connection. `Err`: it is over.
    fn turn(&mut self, fd: RawFd, events: u32) -> io::Result<()> {
        let connection = self.connections[fd as usize].as_mut().ok_or(io::ErrorKind::NotFound)?;
        if events & libc::EPOLLOUT as u32 != 0 {
            let sent = send(&mut connection.socket, &connection.unsent)?;
            connection.unsent.drain(..sent);
            if !connection.unsent.is_empty() {
                return Ok(());
            }
            if connection.closing {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            return self.epoll.watch(fd, libc::EPOLLIN);
        }

        let len = match connection.socket.read(&mut self.input) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        self.output.clear();
        let out = &mut self.output;
        if connection.unparsed.is_empty() {
            let (used, closing) = answer_each(&self.input[..len], &self.answer.bytes, out);
            connection.unparsed.extend_from_slice(&self.input[used..len]);
            connection.closing = closing;
        } else {
            connection.unparsed.extend_from_slice(&self.input[..len]);
            let (used, closing) = answer_each(&connection.unparsed, &self.answer.bytes, out);
            connection.unparsed.drain(..used);
            connection.closing = closing;
        }
        if out.is_empty() {
            return Ok(());
        }
        let sent = send(&mut connection.socket, out)?;
        if sent < out.len() {
            connection.unsent.extend_from_slice(&out[sent..]);
            return self.epoll.watch(fd, libc::EPOLLOUT);
        }
        if connection.closing { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// Answers every whole request of the input, in order. Returns the bytes used and whether the last
/// of them asked for the connection to be closed, after which nothing more is answered.
fn answer_each(input: &[u8], answer: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
    let mut used = 0;
    while let Some(len) = input[used..].windows(4).position(|w| w == b"\r\n\r\n") {
        let head = &input[used..used + len];
        used += len + 4;
        out.extend_from_slice(answer);
        if wants_close(head) {
            return (used, true);
        }
    }
    (used, false)
}

/// HTTP/1.0, or `Connection: close` (RFC 9112, section 9.3).
fn wants_close(head: &[u8]) -> bool {
    let mut lines = head.split(|&b| b == b'\n').map(|line| line.trim_ascii_end());
    lines.next().is_some_and(|line| line.ends_with(b"HTTP/1.0"))
        || lines.any(|line| line.eq_ignore_ascii_case(b"connection: close"))
}

/// Bytes that the socket took; 0 when it is full.
fn send(socket: &mut File, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// The whole answer, encoded again when the second in its Date changes.
struct Answer {
    bytes: Vec<u8>,
    second: u64,
}

impl Answer {
    fn new() -> Self {
        let mut answer = Self { bytes: Vec::new(), second: 0 };
        answer.refresh();
        answer
    }

    fn refresh(&mut self) {
        let second = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let second = second.map_or(self.second, |since| since.as_secs());
        if second == self.second {
            return;
        }
        self.second = second;
        let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        self.bytes = format!(
            "HTTP/1.1 200 OK\r\nServer: stampede\r\nDate: {date}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{SOLD_OUT}",
            SOLD_OUT.len()
        )
        .into_bytes();
    }
}

/// Accepted sockets inherit it on Linux, so that it costs nothing a connection.
fn set_nodelay(listener: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is a `c_int` that outlives the call, and its size is passed.
    let done = unsafe {
        libc::setsockopt(
            listener,
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Level-triggered epoll; the user data of an entry is its descriptor.
struct Epoll(OwnedFd);

impl Epoll {
    fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor; nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn add(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN)
    }

    fn watch(&self, fd: RawFd, interest: libc::c_int) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest)
    }

    fn control(&self, verb: libc::c_int, fd: RawFd, interest: libc::c_int) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest as u32, u64: fd as u64 };
        // SAFETY: the event outlives the call; a descriptor that isn't open is an error, not harm.
        let done = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), verb, fd, &mut event) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn wait(&self, events: &mut [libc::epoll_event]) -> io::Result<usize> {
        let max = events.len() as libc::c_int;
        // SAFETY: the kernel writes at most `max` events, which is the length of the slice.
        let ready = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), max, -1) };
        match usize::try_from(ready) {
            Ok(ready) => Ok(ready),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_request_is_answered_until_one_closes() {
        let mut out = Vec::new();
        let two = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
        assert_eq!(answer_each(two, b"x", &mut out), (two.len() - 3, false));
        assert_eq!(out, b"xx");
        out.clear();
        let close = b"GET / HTTP/1.1\r\nconnection: CLOSE\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(answer_each(close, b"x", &mut out), (37, true));
        assert_eq!(out, b"x");
        assert_eq!(answer_each(b"GET / HTTP/1.0\r\n\r\n", b"x", &mut out), (18, true));
        assert_eq!(answer_each(b"GET / HTTP/1.0\r\n\r", b"x", &mut out), (0, false));
    }
}
