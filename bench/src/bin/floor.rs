//! The floor: the least that a TCP server can do for a rejection.
//!
//! A thread and an epoll a core, one `read` and one `write` a wake-up, the answer encoded once a
//! second. A connection is read at once when it is accepted, since its first request is mostly there:
//! one that is closed after it never comes to the epoll. It parses nothing but the blank line that
//! ends a request (with its body, where sums are asked for) and whether the client wants the
//! connection closed. No server that answers HTTP from user space through epoll can be expected to
//! use less CPU than this, so the others are measured against it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use bench::answer::Content;
use bench::error::Result;
use bench::floor::{Answers, BLOCK_ANSWERS, Epoll, Scanner, Settings};
use clap::Parser;

const EVENTS_MAX: usize = 512;
/// Connections accepted and answered before those that wait have their turn.
const ACCEPT_MAX: usize = 64;
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// A bare epoll loop that gives everyone the same answer: the floor that stampede is measured
/// against.
#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    settings: Settings,
}

fn main() {
    let Settings { place, answer } = CommandLine::parse().settings;
    if let Err(failure) = place.run(move |listener| serve(&listener, answer)) {
        eprintln!("floor: {failure}");
        std::process::exit(1);
    }
}

/// One core's loop.
fn serve(listener: &TcpListener, content: Content) -> Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd())?;
    let mut floor = Floor {
        epoll,
        connections: Vec::new(),
        answers: Answers::new(content),
        scanner: Scanner::of(content),
        input: vec![0; READ_BUFFER_BYTES],
    };
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
    loop {
        let ready = floor.epoll.wait(&mut events)?;
        floor.answers.refresh();
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
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    answers: Answers,
    scanner: Scanner,
    input: Vec<u8>,
}

/// The buffers hold what one read or one write left over, which is nearly always nothing.
struct Connection {
    socket: File,
    unparsed: Vec<u8>,
    unsent: Vec<u8>,
    closing: bool,
    /// What the epoll tells of it.
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
                // None left, or no descriptor left: either way, what is open goes on.
                return;
            }
            // SAFETY: the kernel has just given us this descriptor; nothing else owns it.
            let socket = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
            if self.connections.len() <= fd as usize {
                self.connections.resize_with(fd as usize + 1, || None);
            }
            let (unparsed, unsent) = (Vec::new(), Vec::new());
            let connection = Connection { socket, unparsed, unsent, closing: false, watched: None };
            self.connections[fd as usize] = Some(connection);
            self.turn(fd);
        }
    }

    /// What a connection is ready for, and what it waits for then. One that is over is closed, by
    /// which it leaves the epoll.
    fn turn(&mut self, fd: RawFd) {
        let Some(connection) = &mut self.connections[fd as usize] else { return };
        let (input, answers) = (&mut self.input, &self.answers);
        let served = match connection.unsent.is_empty() {
            true => connection.read(input, &self.scanner, answers),
            false => connection.send_on(),
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
    /// Reads once and answers what has become whole. `Err`: it is over.
    fn read(&mut self, input: &mut [u8], scanner: &Scanner, answers: &Answers) -> io::Result<()> {
        let len = match self.socket.read(input) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
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

    /// Sends what an earlier answer left over. `Err`: it is over.
    fn send_on(&mut self) -> io::Result<()> {
        let sent = send(&mut self.socket, &self.unsent)?;
        self.unsent.drain(..sent);
        self.end_if_done()
    }

    fn end_if_done(&self) -> io::Result<()> {
        let done = self.closing && self.unsent.is_empty();
        if done { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Sends so many answers; what the socket doesn't take is unsent.
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

/// Bytes that the socket took; 0 when it is full.
fn send(socket: &mut File, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
