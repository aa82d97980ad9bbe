//! Clients that send endlessly and never read: an endless head, or consecutive requests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::target::{CONNECTIONS_MAX, EVENTS_MAX, LOOK_INTERVAL, address, request};
use crate::answer::TARGET;
use crate::error::{Because, Result};
use crate::load::socket::{Epoll, Event, Peer, Socket};
use crate::pin;
use crate::process::Interrupted;

/// Bytes per write.
const PIECE_BYTES: usize = 256 * 1024;
/// Pause after a connection could not be opened.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Settings of the attack.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address of the server.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub to: SocketAddr,
    /// Open connections.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: u32,
}

/// The report of the attack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Started connections.
    pub opened: u64,
    /// Connections that the server closed or refused.
    pub closed: u64,
    /// Connections that could not be started.
    pub failed: u64,
    /// Bytes that the system accepted.
    pub bytes: u64,
}

/// The input per connection.
pub struct Flood {
    /// Sent once at first.
    first: Vec<u8>,
    /// Sent repeatedly afterwards.
    again: Vec<u8>,
}

impl Flood {
    /// An endless head.
    pub fn heads(to: SocketAddr) -> Self {
        let first = format!("GET /livez HTTP/1.1\r\nHost: {to}\r\nX: ").into_bytes();
        Self { first, again: vec![b'a'; PIECE_BYTES] }
    }

    /// Whole requests.
    pub fn requests(to: SocketAddr) -> Self {
        let request = request(to, TARGET);
        Self { first: Vec::new(), again: request.repeat(PIECE_BYTES / request.len()) }
    }

    /// The next bytes after this number of bytes.
    fn after(&self, sent: u64) -> &[u8] {
        match sent.checked_sub(self.first.len() as u64) {
            None => &self.first[sent as usize..],
            Some(sent) => &self.again[(sent % self.again.len() as u64) as usize..],
        }
    }
}

struct Stream {
    socket: Socket,
    sent: u64,
    /// Whether it is in the queue of writable connections.
    queued: bool,
}

struct Flooding {
    epoll: Epoll,
    peer: Peer,
    streams: Vec<Option<Stream>>,
    /// Writable connections, in turn.
    ready: VecDeque<u32>,
    /// Connections to reopen.
    absent: Vec<u32>,
    report: Report,
}

/// Sends until it is interrupted.
pub fn run(
    settings: &Settings,
    flood: impl FnOnce(SocketAddr) -> Flood,
    interrupted: &Interrupted,
) -> Result<Report> {
    let &Settings { to, connections } = settings;
    pin::demand_connections(connections)?;
    let flood = flood(to);
    let mut flooding = Flooding {
        epoll: Epoll::new().because(|| "creating an epoll instance".into())?,
        peer: Peer::tcp(to),
        streams: (0..connections).map(|_| None).collect(),
        ready: VecDeque::new(),
        absent: (0..connections).collect(),
        report: Report::default(),
    };
    let mut events = [Event { events: 0, u64: 0 }; EVENTS_MAX];
    let mut retry_at = Instant::now();
    while !interrupted.load(Ordering::Relaxed) {
        if !flooding.absent.is_empty() && Instant::now() >= retry_at {
            flooding.open_absent();
            retry_at = Instant::now() + RETRY_PAUSE;
        }
        let idle = flooding.ready.is_empty();
        let timeout = match (idle, flooding.absent.is_empty()) {
            (false, _) => Duration::ZERO,
            (true, true) => LOOK_INTERVAL,
            (true, false) => RETRY_PAUSE,
        };
        let count = flooding.epoll.wait(&mut events, timeout).because(|| "waiting".into())?;
        for event in &events[..count] {
            let number = event.u64 as u32;
            if let Some(stream) = &mut flooding.streams[number as usize]
                && !std::mem::replace(&mut stream.queued, true)
            {
                flooding.ready.push_back(number);
            }
        }
        for _ in 0..flooding.ready.len() {
            flooding.send_on_next(&flood);
        }
    }
    Ok(flooding.report)
}

impl Flooding {
    fn open_absent(&mut self) {
        for number in std::mem::take(&mut self.absent) {
            self.open(number);
        }
    }

    fn open(&mut self, number: u32) {
        let socket = Socket::connect(&self.peer, None, false)
            .and_then(|socket| self.epoll.add(&socket, number).map(|()| socket));
        match socket {
            Ok(socket) => {
                self.report.opened += 1;
                self.streams[number as usize] = Some(Stream { socket, sent: 0, queued: false });
            }
            Err(_) => {
                self.report.failed += 1;
                self.absent.push(number);
            }
        }
    }

    fn send_on_next(&mut self, flood: &Flood) {
        let Some(number) = self.ready.pop_front() else { return };
        let Some(stream) = &mut self.streams[number as usize] else { return };
        match stream.socket.send(flood.after(stream.sent)) {
            // An event will report room.
            Ok(0) => stream.queued = false,
            Ok(bytes) => {
                stream.sent += bytes as u64;
                self.report.bytes += bytes as u64;
                self.ready.push_back(number);
            }
            Err(_) => {
                self.report.closed += 1;
                let was_open = stream.sent > 0;
                self.streams[number as usize] = None;
                // Retry a connection that never opened after a pause, because the server may be down.
                if was_open { self.open(number) } else { self.absent.push(number) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(flood: &Flood, bytes: usize, pieces: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < bytes {
            let piece = flood.after(all.len() as u64);
            all.extend_from_slice(&piece[..piece.len().min(pieces)]);
        }
        all
    }

    #[test]
    fn partial_writes_do_not_change_the_bytes_sent() {
        let to = "127.0.0.1:80".parse().expect("an address");
        for flood in [Flood::heads(to), Flood::requests(to)] {
            let whole = sent(&flood, 3 * PIECE_BYTES, usize::MAX);
            let pieces = sent(&flood, 2 * PIECE_BYTES, 4_999);
            assert!(whole.starts_with(&pieces));
        }
    }

    #[test]
    fn flood_heads_never_end_and_flood_requests_do() {
        let to = "127.0.0.1:80".parse().expect("an address");
        let head = sent(&Flood::heads(to), 2 * PIECE_BYTES, usize::MAX);
        assert!(head.starts_with(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1:80\r\nX: aaa"));
        assert!(!head.windows(4).any(|bytes| bytes == b"\r\n\r\n"));
        let request = request(to, TARGET);
        let requests = sent(&Flood::requests(to), 2 * PIECE_BYTES, usize::MAX);
        assert!(requests.chunks_exact(request.len()).all(|bytes| bytes == request));
    }
}
