//! Clients that show forged tokens: each costs the server the check of a signature, if it has the time
//! for it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use stampede::admission::{KeySet, Order, mint};

use super::silent::Pace;
use super::target::{EVENTS_MAX, address};
use crate::answer::TARGET;
use crate::error::{Because, Result, fail};
use crate::load::socket::{Epoll, Event, Peer, Socket};
use crate::pin;
use crate::process::Interrupted;

/// Addresses are 127.0.4.1 and the next ones.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
/// Between two looks at whether the next one is due.
const DUE_INTERVAL: Duration = Duration::from_millis(1);
/// Different tokens; none is ever kept, so they may come again.
const TOKENS: usize = 1_024;
const BUFFER_BYTES: usize = 64 * 1024;
/// What the status line of an answer begins with, and how long it is with the status.
const STATUS_LINE: &[u8] = b"HTTP/1.1 ";
const STATUS_BYTES: usize = STATUS_LINE.len() + 3;
/// How long a token would be good, if it were.
const TTL_MS: u64 = 3_600_000;

/// What it is told.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The server's address.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub to: SocketAddr,
    /// A file with keys that sign the tokens: with the names of the server's, and others than those.
    #[arg(long, value_name = "FILE")]
    pub keys: std::path::PathBuf,
    /// The name of the key.
    #[arg(long, value_name = "KID")]
    pub kid: String,
    /// Loopback addresses to come from, in turn: 127.0.4.1 and the next ones.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=250))]
    pub addresses: u32,
    /// Tokens per second at most.
    #[arg(long, value_name = "R", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Connections, each with one token on its way.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
}

/// What it did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Tokens whose signature was checked, and refused.
    pub refused: u64,
    /// Those that the server had no time for, or not for this address.
    pub busy: u64,
    /// Other answers.
    pub others: u64,
    /// Connections that the server closed.
    pub closed: u64,
    /// From the start to the end.
    pub seconds: f64,
}

struct Stream {
    socket: Socket,
    /// The end of what was received, in which a status line may have begun.
    rest: Vec<u8>,
}

/// Does so until it is interrupted.
pub fn run(settings: &Settings, interrupted: &Interrupted) -> Result<Report> {
    let &Settings { to, connections, addresses, .. } = settings;
    pin::demand_connections(connections)?;
    let requests = requests(settings)?;
    let epoll = Epoll::new().because(|| "making an epoll".into())?;
    let mut streams = (0..connections)
        .map(|number| {
            let source = u32::from(FIRST_ADDRESS) + number % addresses;
            let socket = Socket::connect(&Peer::tcp(to), Some(source.into()), true)
                .because(|| format!("connecting to {to}"))?;
            epoll.add(&socket, number).because(|| "watching a connection".into())?;
            Ok(Some(Stream { socket, rest: Vec::new() }))
        })
        .collect::<Result<Vec<_>>>()?;
    let (mut report, began) = (Report::default(), Instant::now());
    let mut pace = Pace::new(f64::from(settings.rate), began);
    let mut events = [Event { events: 0, u64: 0 }; EVENTS_MAX];
    let mut buffer = vec![0; BUFFER_BYTES];
    // Connected, and with nothing on its way.
    let mut idle: VecDeque<usize> = VecDeque::new();
    let mut greeted = vec![false; streams.len()];
    let mut tokens = requests.iter().cycle();
    while !interrupted.load(Ordering::Relaxed) {
        let count = epoll.wait(&mut events, DUE_INTERVAL).because(|| "waiting".into())?;
        for event in &events[..count] {
            let number = event.u64 as usize;
            let Some(stream) = &mut streams[number] else { continue };
            match stream.receive(&mut buffer, &mut report) {
                // The first event tells that it is connected.
                Some(answers) if answers > 0 || !std::mem::replace(&mut greeted[number], true) => {
                    idle.push_back(number);
                }
                Some(_) => {}
                None => {
                    report.closed += 1;
                    streams[number] = None;
                }
            }
        }
        for _ in 0..pace.take(Instant::now(), idle.len()) {
            let (Some(number), Some(token)) = (idle.pop_front(), tokens.next()) else { break };
            let sent = streams[number].as_ref().map(|stream| stream.socket.send(token));
            if !sent.is_some_and(|sent| sent.is_ok_and(|bytes| bytes == token.len())) {
                report.closed += 1;
                streams[number] = None;
            }
        }
        if streams.iter().all(Option::is_none) {
            return fail("the server has closed every connection");
        }
    }
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Requests with tokens that nobody believes.
fn requests(settings: &Settings) -> Result<Vec<Vec<u8>>> {
    let file = settings.keys.display();
    let text = std::fs::read(&settings.keys).because(|| format!("reading {file}"))?;
    let keys = KeySet::parse(&text).because(|| format!("reading {file}"))?;
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    let now_ms = since.as_millis() as u64;
    let request = |number: usize| {
        let order = Order {
            user: &format!("forger-{number}"),
            audience: "stampede",
            sales: &["ticket".to_owned()],
            max: None,
            from_ms: now_ms,
            until_ms: now_ms + TTL_MS,
        };
        let token = mint(&keys, &settings.kid, &order);
        let token = token.map_or_else(|| fail(format!("{file}: no such key that signs")), Ok)?;
        let to = settings.to;
        let head = format!("GET {TARGET} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {token}");
        Ok(format!("{head}\r\n\r\n").into_bytes())
    };
    (0..TOKENS).map(request).collect()
}

impl Stream {
    /// Takes what is there. Gives how many answers it was. `None`: the connection is closed.
    fn receive(&mut self, buffer: &mut [u8], report: &mut Report) -> Option<u32> {
        let mut answers = 0;
        loop {
            match self.socket.receive(buffer) {
                Ok(0) => return None,
                Ok(count) => {
                    self.rest.extend_from_slice(&buffer[..count]);
                    answers += self.take_answers(report);
                }
                Err(error) => {
                    return (error.kind() == std::io::ErrorKind::WouldBlock).then_some(answers);
                }
            }
        }
    }

    /// Counts the status lines that are there.
    fn take_answers(&mut self, report: &mut Report) -> u32 {
        let (mut done, mut answers) = (0, 0);
        for at in memchr::memmem::find_iter(&self.rest, STATUS_LINE) {
            let Some(status) = self.rest.get(at + STATUS_LINE.len()..at + STATUS_BYTES) else {
                break;
            };
            *match status {
                b"401" => &mut report.refused,
                b"503" => &mut report.busy,
                _ => &mut report.others,
            } += 1;
            answers += 1;
            done = at + STATUS_BYTES;
        }
        done = done.max(self.rest.len().saturating_sub(STATUS_BYTES - 1));
        self.rest.drain(..done);
        answers
    }
}
