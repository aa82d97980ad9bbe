//! The floor: the least that a TCP server can do for a rejection.
//!
//! A thread and an epoll a core, one `read` and one `write` a wake-up, the answer encoded once a
//! second. It parses nothing but the blank line that ends a request and whether the client wants the
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
        scanner: Scanner::default(),
        input: vec![0; READ_BUFFER_BYTES],
    };
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
    loop {
        let ready = floor.epoll.wait(&mut events)?;
        floor.answers.refresh();
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
        let scan = if connection.unparsed.is_empty() {
            let scan = self.scanner.scan(&self.input[..len]);
            connection.unparsed.extend_from_slice(&self.input[scan.used..len]);
            scan
        } else {
            connection.unparsed.extend_from_slice(&self.input[..len]);
            let scan = self.scanner.scan(&connection.unparsed);
            connection.unparsed.drain(..scan.used);
            scan
        };
        connection.closing = scan.closing;
        connection.answer(&self.answers, scan.requests)?;
        if !connection.unsent.is_empty() {
            return self.epoll.watch(fd, libc::EPOLLOUT);
        }
        if connection.closing { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl Connection {
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
