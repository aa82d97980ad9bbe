//! The floor: the least work that a TCP server can do for a rejection.
//!
//! One thread and one epoll per core, one `read` and one `write` per wake-up. The answer is encoded
//! once per second. The loop reads a connection as soon as it accepts it, because the first request
//! has mostly arrived. A connection that ends after its first request therefore never enters the
//! epoll. The loop parses only the blank line that ends a request (and its body, for sums) and the
//! wish to close the connection. No server that answers HTTP from user space through epoll can be
//! expected to use less CPU, so the bench compares the others with it.
//!
//! With a certificate it is the floor of TLS: the same loop, with rustls between socket and answer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use bench::answer::Content;
use bench::error::Result;
use bench::floor::{Answers, BLOCK_ANSWERS, Epoll, Room, Scanner, Secure, Settings};
use bench::secure::TlsFiles;
use clap::Parser;
use rustls::ServerConfig;

const EVENTS_MAX: usize = 512;
/// Connections accepted and answered before the waiting ones have their turn.
const ACCEPT_MAX: usize = 64;
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Runs a bare epoll loop that gives every request the same answer: the floor of stampede.
#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    tls: TlsFiles,
}

fn main() {
    let CommandLine { settings: Settings { place, answer }, tls } = CommandLine::parse();
    let run = |tls| place.run(move |listener| serve(&listener, answer, Clone::clone(&tls)));
    if let Err(failure) = tls.config().and_then(run) {
        eprintln!("floor: {failure}");
        std::process::exit(1);
    }
}

/// One core's loop.
fn serve(listener: &TcpListener, content: Content, tls: Option<Arc<ServerConfig>>) -> Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd())?;
    let mut floor = Floor {
        epoll,
        connections: Vec::new(),
        tls,
        shared: Shared {
            answers: Answers::new(content),
            scanner: Scanner::of(content),
            input: vec![0; READ_BUFFER_BYTES],
            room: Room::default(),
        },
    };
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
    loop {
        let ready = floor.epoll.wait(&mut events)?;
        floor.shared.answers.refresh();
        for event in &events[..ready] {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                floor.accept(fd);
            } else {
                floor.turn(fd);
            }
        }
    }
}

struct Floor {
    epoll: Epoll,
    /// Connections by descriptor.
    connections: Vec<Option<Connection>>,
    /// None without TLS.
    tls: Option<Arc<ServerConfig>>,
    shared: Shared,
}

/// Buffers that all connections use in turn.
struct Shared {
    answers: Answers,
    scanner: Scanner,
    input: Vec<u8>,
    room: Room,
}

/// The buffers hold the remainder of one read or one write. They are nearly always empty.
struct Connection {
    socket: File,
    secure: Option<Box<Secure>>,
    unparsed: Vec<u8>,
    unsent: Vec<u8>,
    closing: bool,
    /// The events that the epoll watches.
    watched: Option<libc::c_int>,
}

impl Floor {
    fn accept(&mut self, listener: RawFd) {
        for _ in 0..ACCEPT_MAX {
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
                // None left, or no descriptor left. Open connections go on in both cases.
                return;
            }
            // SAFETY: the kernel has just given us this descriptor; nothing else owns it.
            let socket = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
            if self.connections.len() <= fd as usize {
                self.connections.resize_with(fd as usize + 1, || None);
            }
            let Ok(secure) = self.tls.as_ref().map(Secure::new).transpose() else { return };
            self.connections[fd as usize] = Some(Connection {
                socket,
                secure,
                unparsed: Vec::new(),
                unsent: Vec::new(),
                closing: false,
                watched: None,
            });
            self.turn(fd);
        }
    }

    /// Handles a connection's events and updates the watched ones. Closing an ended connection removes
    /// it from the epoll.
    fn turn(&mut self, fd: RawFd) {
        let Some(connection) = &mut self.connections[fd as usize] else { return };
        let served = match (connection.unsent.is_empty(), &connection.secure) {
            (false, _) => connection.send_on(),
            (true, None) => connection.read(&mut self.shared),
            (true, Some(_)) => connection.read_records(&mut self.shared),
        };
        let watched = served.and_then(|()| {
            let interest =
                if connection.unsent.is_empty() { libc::EPOLLIN } else { libc::EPOLLOUT };
            if connection.watched.is_none() {
                self.epoll.add(fd)?;
                connection.watched = Some(libc::EPOLLIN);
            }
            match connection.watched.replace(interest) {
                Some(before) if before == interest => Ok(()),
                _ => self.epoll.watch(fd, interest),
            }
        });
        if watched.is_err() {
            self.connections[fd as usize] = None;
        }
    }
}

impl Connection {
    /// Reads once and answers every whole request. `Err`: the connection has ended.
    fn read(&mut self, shared: &mut Shared) -> io::Result<()> {
        let Shared { answers, scanner, input, .. } = shared;
        let Some(len) = receive(&mut self.socket, input)? else { return Ok(()) };
        let scan = if self.unparsed.is_empty() {
            let scan = scanner.scan(&input[..len]);
            self.unparsed.extend_from_slice(&input[scan.used..len]);
            scan
        } else {
            self.unparsed.extend_from_slice(&input[..len]);
            let scan = scanner.scan(&self.unparsed);
            self.unparsed.drain(..scan.used);
            scan
        };
        self.closing = scan.closing;
        self.answer(answers, scan.requests)?;
        self.end_if_done()
    }

    /// Reads once through TLS and answers every whole request.
    fn read_records(&mut self, shared: &mut Shared) -> io::Result<()> {
        let Shared { answers, scanner, input, room } = shared;
        let Some(secure) = &mut self.secure else { return Ok(()) };
        let kept = secure.unopened.len();
        input[..kept].copy_from_slice(&secure.unopened);
        let Some(len) = receive(&mut self.socket, &mut input[kept..])? else { return Ok(()) };
        let (records, closing) = secure.answer(&mut input[..kept + len], scanner, answers, room)?;
        self.closing = closing;
        if !records.is_empty() {
            let sent = send(&mut self.socket, records)?;
            self.unsent.extend_from_slice(&records[sent..]);
        }
        self.end_if_done()
    }

    /// Sends the remainder of an earlier answer. `Err`: the connection has ended.
    fn send_on(&mut self) -> io::Result<()> {
        let sent = send(&mut self.socket, &self.unsent)?;
        self.unsent.drain(..sent);
        self.end_if_done()
    }

    fn end_if_done(&self) -> io::Result<()> {
        let done = self.closing && self.unsent.is_empty();
        if done { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Sends this number of answers. Keeps the bytes that the socket does not take.
    fn answer(&mut self, answers: &Answers, mut count: usize) -> io::Result<()> {
        while count > 0 {
            let (block, len) = answers.first(count);
            count -= count.min(BLOCK_ANSWERS);
            let sent = match self.unsent.is_empty() {
                true => send(&mut self.socket, &block[..len])?,
                false => 0,
            };
            self.unsent.extend_from_slice(&block[sent..len]);
        }
        Ok(())
    }
}

/// Receives bytes. `None`: none yet. `Err`: the connection has ended.
fn receive(socket: &mut File, input: &mut [u8]) -> io::Result<Option<usize>> {
    match socket.read(input) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(len) => Ok(Some(len)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends bytes. Returns the number that the socket took, which is 0 if it is full.
fn send(socket: &mut File, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
