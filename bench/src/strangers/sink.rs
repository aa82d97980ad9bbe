//! A program that accepts every connection, discards the input and never answers. Shows the cost of an
//! attack for the machine itself.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::target::{EVENTS_MAX, LOOK_INTERVAL, address};
use crate::error::{Because, Result};
use crate::load::socket::{Epoll, Event, Socket};
use crate::pin;
use crate::process::Interrupted;

/// Bytes per read: more than a server reads, so the sink does not slow the sender.
const READ_BYTES: usize = 256 * 1024;
/// Descriptors that are not connections.
const DESCRIPTORS_RESERVE: u64 = 64;
/// Connections accepted in one go.
const ACCEPT_MAX: usize = 64;

/// Settings of the sink.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Addresses to listen on, separated by commas.
    #[arg(long, value_name = "HOST:PORT", value_parser = address, value_delimiter = ',', required = true)]
    pub listen: Vec<SocketAddr>,
}

/// The report of the sink.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Accepted connections.
    pub accepted: u64,
    /// Largest number of open connections.
    pub open_max: u64,
    /// Bytes read.
    pub bytes: u64,
}

struct Source {
    socket: Socket,
    /// Whether it is in the queue of readable connections.
    queued: bool,
}

struct Sink {
    epoll: Epoll,
    listeners: Vec<TcpListener>,
    /// By number, less that of the listeners, whose numbers come first.
    sources: Vec<Option<Source>>,
    free: Vec<u32>,
    /// Readable sockets, in turn.
    ready: VecDeque<u32>,
    /// Listeners in that queue.
    listener_queued: Vec<bool>,
    open: u64,
    open_max: u64,
    report: Report,
}

/// Reads and drops until it is interrupted.
pub fn run(settings: &Settings, interrupted: &Interrupted) -> Result<Report> {
    let open_max = pin::raise_descriptor_limit()?.saturating_sub(DESCRIPTORS_RESERVE).max(1);
    let epoll = Epoll::new().because(|| "creating an epoll instance".into())?;
    let mut listeners = Vec::new();
    for (address, number) in settings.listen.iter().zip(0..) {
        let listener = TcpListener::bind(address).because(|| format!("listening on {address}"))?;
        listener.set_nonblocking(true)?;
        epoll.add(&listener, number)?;
        listeners.push(listener);
    }
    let mut sink = Sink {
        epoll,
        listener_queued: vec![false; listeners.len()],
        listeners,
        sources: Vec::new(),
        free: Vec::new(),
        ready: VecDeque::new(),
        open: 0,
        open_max,
        report: Report::default(),
    };
    let mut events = [Event { events: 0, u64: 0 }; EVENTS_MAX];
    let mut buffer = vec![0; READ_BYTES];
    while !interrupted.load(Ordering::Relaxed) {
        let timeout = if sink.ready.is_empty() { LOOK_INTERVAL } else { Duration::ZERO };
        let count = sink.epoll.wait(&mut events, timeout).because(|| "waiting".into())?;
        events[..count].iter().for_each(|event| sink.queue(event.u64 as u32));
        for _ in 0..sink.ready.len() {
            sink.serve_next(&mut buffer);
        }
    }
    Ok(sink.report)
}

impl Sink {
    fn queue(&mut self, number: u32) {
        let at = number as usize;
        let queued = match at.checked_sub(self.listeners.len()) {
            None => &mut self.listener_queued[at],
            Some(at) => match &mut self.sources[at] {
                Some(source) => &mut source.queued,
                None => return,
            },
        };
        if !std::mem::replace(queued, true) {
            self.ready.push_back(number);
        }
    }

    fn serve_next(&mut self, buffer: &mut [u8]) {
        let Some(number) = self.ready.pop_front() else { return };
        let at = number as usize;
        let Some(at) = at.checked_sub(self.listeners.len()) else { return self.accept(at) };
        let Some(source) = &mut self.sources[at] else { return };
        match source.socket.receive(buffer) {
            Ok(bytes @ 1..) => {
                self.report.bytes += bytes as u64;
                self.ready.push_back(number);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => source.queued = false,
            Ok(0) | Err(_) => {
                self.sources[at] = None;
                self.free.push(at as u32);
                self.open -= 1;
            }
        }
    }

    fn accept(&mut self, listener: usize) {
        for _ in 0..ACCEPT_MAX {
            let Ok((stream, _)) = self.listeners[listener].accept() else {
                self.listener_queued[listener] = false;
                return;
            };
            self.report.accepted += 1;
            if self.open < self.open_max
                && let Ok(socket) = Socket::try_from(stream)
            {
                self.keep(socket);
            }
        }
        self.ready.push_back(listener as u32);
    }

    fn keep(&mut self, socket: Socket) {
        let at = self.free.pop().unwrap_or_else(|| {
            self.sources.push(None);
            self.sources.len() as u32 - 1
        });
        if self.epoll.add(&socket, at + self.listeners.len() as u32).is_err() {
            self.free.push(at);
            return;
        }
        self.sources[at as usize] = Some(Source { socket, queued: false });
        self.open += 1;
        self.report.open_max = self.report.open_max.max(self.open);
    }
}
