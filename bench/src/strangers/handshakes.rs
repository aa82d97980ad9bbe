//! TLS handshakes, each on its own connection: full ones, ones that stop half-way or then stay idle,
//! and bytes that are no handshake.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::silent::Pace;
use super::target::{CONNECTIONS_MAX, EVENTS_MAX, LOOK_INTERVAL, address};
use crate::error::{Because, Result, fail};
use crate::load::line::{Line, Tls};
use crate::load::socket::{Epoll, Event, Peer, Socket};
use crate::pin;
use crate::process::Interrupted;

/// Interval of the checks for the next due handshake.
const DUE_INTERVAL: Duration = Duration::from_millis(1);
const BUFFER_BYTES: usize = 16 * 1024;
/// First source address.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);

/// Settings of the attack.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address of the server.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub to: SocketAddr,
    /// Source addresses, used in turn: 127.0.3.1 and the following.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=250))]
    pub addresses: u32,
    /// Open connections.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: u32,
    /// Most handshakes started per second.
    #[arg(long, value_name = "R", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// What each connection sends.
    #[arg(long, value_enum, default_value = "full")]
    pub manner: Manner,
}

/// What a connection sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Manner {
    /// A full handshake, then a reset.
    Full,
    /// The first half of a handshake. Waits until the server closes the connection.
    Half,
    /// A full handshake and no request. Waits until the server closes the connection. Prints "come"
    /// when as many handshakes as --connections are complete.
    Idle,
    /// Bytes that are no TLS record.
    Garbage,
    /// The beginning of a record whose length exceeds the limit of TLS.
    Oversized,
}

impl Manner {
    /// The bytes instead of a handshake.
    fn nonsense(self) -> Option<&'static [u8]> {
        match self {
            Self::Garbage => {
                Some(b"\x01\x02\x03\x04 what is no record of TLS, however it is read\r\n\r\n")
            }
            Self::Oversized => {
                Some(b"\x16\x03\x01\xff\xff\x01\x00\xff\xfb\x03\x03 the rest never comes")
            }
            Self::Full | Self::Half | Self::Idle => None,
        }
    }

    /// Whether the connection is held afterwards.
    fn holds(self) -> bool {
        matches!(self, Self::Half | Self::Idle)
    }
}

/// The report of the attack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Started connections.
    pub attempts: u64,
    /// Complete handshakes.
    pub completed: u64,
    /// Connections that the server closed or refused.
    pub closed: u64,
    /// Connections that could not be started.
    pub failed: u64,
    /// Largest number of open connections.
    pub open_max: u64,
    /// Duration.
    pub seconds: f64,
}

struct Strangers<'a> {
    settings: &'a Settings,
    epoll: Epoll,
    peer: Peer,
    tls: Tls,
    places: Vec<Option<Place>>,
    free: Vec<u32>,
    buffer: Vec<u8>,
    report: Report,
}

/// A connection.
struct Place {
    line: Line,
    /// Whether its handshake is complete.
    completed: bool,
}

/// Attacks until it is interrupted.
pub fn run(settings: &Settings, interrupted: &Interrupted) -> Result<Report> {
    let &Settings { to, connections, rate, manner, .. } = settings;
    if to.is_ipv6() {
        return fail("--to must be an IPv4 address");
    }
    pin::demand_connections(connections)?;
    let mut strangers = Strangers {
        settings,
        epoll: Epoll::new().because(|| "creating an epoll instance".into())?,
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
    let mut said = false;
    while !interrupted.load(Ordering::Relaxed) {
        for _ in 0..pace.take(Instant::now(), strangers.free.len()) {
            strangers.begin();
        }
        let timeout = if strangers.free.is_empty() { LOOK_INTERVAL } else { DUE_INTERVAL };
        let count = strangers.epoll.wait(&mut events, timeout).because(|| "waiting".into())?;
        for event in &events[..count] {
            strangers.on_event(event.u64 as u32, event.events as libc::c_int);
        }
        let all = strangers.report.completed >= u64::from(connections);
        if manner == Manner::Idle && !said && all {
            said = true;
            println!("come");
            std::io::stdout().flush()?;
        }
    }
    strangers.report.seconds = began.elapsed().as_secs_f64();
    Ok(strangers.report)
}

impl Strangers<'_> {
    fn begin(&mut self) {
        let Some(number) = self.free.pop() else { return };
        match self.connect(number) {
            Ok(line) => {
                self.report.attempts += 1;
                self.places[number as usize] = Some(Place { line, completed: false });
                let open = (self.places.len() - self.free.len()) as u64;
                self.report.open_max = self.report.open_max.max(open);
            }
            Err(_) => {
                self.report.failed += 1;
                self.free.push(number);
            }
        }
    }

    fn connect(&self, number: u32) -> io::Result<Line> {
        let turn = (self.report.attempts % u64::from(self.settings.addresses)) as u32;
        let source = Ipv4Addr::from(u32::from(FIRST_ADDRESS) + turn);
        let socket = Socket::connect(&self.peer, Some(source), true)?;
        socket.reset_when_closed()?;
        let line = match self.settings.manner.nonsense() {
            Some(_) => Line::Plain(socket),
            None => self.tls.over(socket)?,
        };
        self.epoll.add(&line, number)?;
        Ok(line)
    }

    fn on_event(&mut self, number: u32, flags: libc::c_int) {
        let Some(place) = &mut self.places[number as usize] else { return };
        let manner = self.settings.manner;
        let goes_on = go_on(&mut place.line, &mut self.tls, &mut self.buffer, flags, manner);
        let shakes = manner.nonsense().is_none();
        if shakes && place.line.is_ready() && !place.completed {
            place.completed = true;
            self.report.completed += 1;
        }
        if goes_on && (manner.holds() || !place.completed) {
            return;
        }
        self.report.closed += u64::from(!goes_on);
        self.places[number as usize] = None;
        self.free.push(number);
    }
}

/// Sends and receives as far as possible. `false`: the server has closed.
fn go_on(
    line: &mut Line,
    tls: &mut Tls,
    buffer: &mut [u8],
    flags: libc::c_int,
    manner: Manner,
) -> bool {
    if flags & libc::EPOLLOUT != 0 {
        let sent = match manner.nonsense() {
            Some(bytes) => line.send(bytes).map(drop),
            None => line.flush(),
        };
        if sent.is_err() {
            return false;
        }
    }
    let over = flags & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0;
    if manner != Manner::Half && flags & libc::EPOLLIN != 0 {
        match line.receive(Some(tls), buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
    !over
}
