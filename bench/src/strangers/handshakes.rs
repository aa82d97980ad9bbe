//! TLS handshakes: as many as go, each on a connection of its own, or so many that stop half-way.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::silent::Pace;
use super::target::{CONNECTIONS_MAX, EVENTS_MAX, LOOK_INTERVAL, address};
use crate::error::{Because, Result, fail};
use crate::load::line::{Line, Tls};
use crate::load::socket::{Epoll, Event, Peer, Socket};
use crate::pin;
use crate::process::Interrupted;

/// Between two looks at whether the next one is due.
const DUE_INTERVAL: Duration = Duration::from_millis(1);
const BUFFER_BYTES: usize = 16 * 1024;
/// Addresses are 127.0.3.1 and the next ones.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);

/// What it is told.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The server's address.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub to: SocketAddr,
    /// Loopback addresses to come from, in turn: 127.0.3.1 and the next ones.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=250))]
    pub addresses: u32,
    /// Connections at a time.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: u32,
    /// Handshakes that are begun per second at most.
    #[arg(long, value_name = "R", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Answer nothing of what the server says, and hold the connection until it is closed.
    #[arg(long)]
    pub half: bool,
}

/// What it did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Connections that were begun.
    pub attempts: u64,
    /// Handshakes that came to an end.
    pub completed: u64,
    /// Connections that the server closed or refused before.
    pub closed: u64,
    /// Connections that could not be begun.
    pub failed: u64,
    /// The most that were open at a time.
    pub open_max: u64,
    /// From the start to the end.
    pub seconds: f64,
}

struct Strangers {
    epoll: Epoll,
    peer: Peer,
    tls: Tls,
    places: Vec<Option<Line>>,
    free: Vec<u32>,
    buffer: Vec<u8>,
    report: Report,
}

/// What came of an event.
#[derive(PartialEq, Eq)]
enum Fate {
    GoesOn,
    Completed,
    Closed,
}

/// Shakes hands until it is interrupted.
pub fn run(settings: &Settings, interrupted: &Interrupted) -> Result<Report> {
    let &Settings { to, addresses, connections, rate, half } = settings;
    if to.is_ipv6() {
        return fail("--to is no IPv4 address");
    }
    pin::demand_connections(connections)?;
    let mut strangers = Strangers {
        epoll: Epoll::new().because(|| "making an epoll".into())?,
        peer: Peer::tcp(to),
        tls: Tls::new(&to.ip().to_string(), false)?,
        places: (0..connections).map(|_| None).collect(),
        free: (0..connections).rev().collect(),
        buffer: vec![0; BUFFER_BYTES],
        report: Report::default(),
    };
    let began = Instant::now();
    let mut pace = Pace::new(f64::from(rate), began);
    let mut events = [Event { events: 0, u64: 0 }; EVENTS_MAX];
    while !interrupted.load(Ordering::Relaxed) {
        for _ in 0..pace.take(Instant::now(), strangers.free.len()) {
            strangers.begin(addresses);
        }
        let timeout = if strangers.free.is_empty() { LOOK_INTERVAL } else { DUE_INTERVAL };
        let count = strangers.epoll.wait(&mut events, timeout).because(|| "waiting".into())?;
        for event in &events[..count] {
            strangers.on_event(event.u64 as u32, event.events as libc::c_int, half);
        }
    }
    strangers.report.seconds = began.elapsed().as_secs_f64();
    Ok(strangers.report)
}

impl Strangers {
    fn begin(&mut self, addresses: u32) {
        let Some(number) = self.free.pop() else { return };
        let turn = (self.report.attempts % u64::from(addresses)) as u32;
        let source = Ipv4Addr::from(u32::from(FIRST_ADDRESS) + turn);
        let line = Socket::connect(&self.peer, Some(source), true)
            .and_then(|socket| socket.reset_when_closed().map(|()| socket))
            .and_then(|socket| self.tls.over(socket))
            .and_then(|line| self.epoll.add(&line, number).map(|()| line));
        match line {
            Ok(line) => {
                self.report.attempts += 1;
                self.places[number as usize] = Some(line);
                let open = (self.places.len() - self.free.len()) as u64;
                self.report.open_max = self.report.open_max.max(open);
            }
            Err(_) => {
                self.report.failed += 1;
                self.free.push(number);
            }
        }
    }

    fn on_event(&mut self, number: u32, flags: libc::c_int, half: bool) {
        let Some(line) = &mut self.places[number as usize] else { return };
        let fate = go_on(line, &mut self.tls, &mut self.buffer, flags, half);
        match fate {
            Fate::GoesOn => return,
            Fate::Completed => self.report.completed += 1,
            Fate::Closed => self.report.closed += 1,
        }
        self.places[number as usize] = None;
        self.free.push(number);
    }
}

fn go_on(
    line: &mut Line,
    tls: &mut Tls,
    buffer: &mut [u8],
    flags: libc::c_int,
    half: bool,
) -> Fate {
    if flags & libc::EPOLLOUT != 0 && line.flush().is_err() {
        return Fate::Closed;
    }
    let over = flags & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0;
    if half || flags & (libc::EPOLLIN | libc::EPOLLRDHUP) == 0 {
        return if over { Fate::Closed } else { Fate::GoesOn };
    }
    let received = line.receive(Some(tls), buffer);
    let waits = matches!(&received, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    match line.is_ready() {
        true => Fate::Completed,
        false if waits && !over => Fate::GoesOn,
        false => Fate::Closed,
    }
}
