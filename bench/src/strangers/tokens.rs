//! Clients that send forged tokens. Each token costs the server a check of a signature, if it has time
//! for it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};
use stampede::admission::{Claims, KeySet, mint};

use super::silent::Pace;
use super::target::{EVENTS_MAX, address};
use crate::answer::TARGET;
use crate::error::{Because, Result, fail};
use crate::load::socket::{Epoll, Event, Peer, Socket};
use crate::pin;
use crate::process::Interrupted;

/// First source address.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
/// Interval of the checks for the next due token.
const DUE_INTERVAL: Duration = Duration::from_millis(1);
/// Number of different tokens. The server keeps none, so they can repeat.
const TOKENS: usize = 1_024;
const BUFFER_BYTES: usize = 64 * 1024;
/// What the status line of an answer begins with, and how long it is with the status.
const STATUS_LINE: &[u8] = b"HTTP/1.1 ";
const STATUS_BYTES: usize = STATUS_LINE.len() + 3;
/// How long a token would be good, if it were.
const TTL_MS: u64 = 3_600_000;

/// Settings of the attack.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address of the server.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub to: SocketAddr,
    /// File with keys that sign the tokens: the names of the server's keys with other secrets.
    #[arg(long, value_name = "FILE")]
    pub keys: std::path::PathBuf,
    /// Name of the key.
    #[arg(long, value_name = "KID")]
    pub kid: String,
    /// Source addresses, used in turn: 127.0.4.1 and the following.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=250))]
    pub addresses: u32,
    /// Most tokens per second.
    #[arg(long, value_name = "R", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Connections, each with one token in flight.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
}

/// The report of the attack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Tokens that the server checked and refused.
    pub refused: u64,
    /// Tokens that the server did not check for lack of time, in total or for this address.
    pub busy: u64,
    /// Other answers.
    pub others: u64,
    /// Connections that the server closed.
    pub closed: u64,
    /// Duration.
    pub seconds: f64,
}

struct Stream {
    socket: Socket,
    /// The end of what was received, in which a status line may have begun.
    rest: Vec<u8>,
}

/// Attacks until it is interrupted.
pub fn run(settings: &Settings, interrupted: &Interrupted) -> Result<Report> {
    let &Settings { to, connections, addresses, .. } = settings;
    pin::demand_connections(connections)?;
    let requests = requests(settings)?;
    let epoll = Epoll::new().because(|| "creating an epoll instance".into())?;
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
    // Connections without a token in flight.
    let mut idle: VecDeque<usize> = VecDeque::new();
    let mut greeted = vec![false; streams.len()];
    let mut tokens = requests.iter().cycle();
    while !interrupted.load(Ordering::Relaxed) {
        let count = epoll.wait(&mut events, DUE_INTERVAL).because(|| "waiting".into())?;
        for event in &events[..count] {
            let number = event.u64 as usize;
            let Some(stream) = &mut streams[number] else { continue };
            match stream.receive(&mut buffer, &mut report) {
                // The first event reports the connection.
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

/// Requests with forged tokens.
fn requests(settings: &Settings) -> Result<Vec<Vec<u8>>> {
    let file = settings.keys.display();
    let text = std::fs::read(&settings.keys).because(|| format!("reading {file}"))?;
    let keys = KeySet::parse(&text).because(|| format!("reading {file}"))?;
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    let now_ms = since.as_millis() as u64;
    let request = |number: usize| {
        let claims = Claims {
            user: &format!("forger-{number}"),
            audience: "stampede",
            sales: &["ticket".to_owned()],
            max: None,
            from_ms: now_ms,
            until_ms: now_ms + TTL_MS,
        };
        let token = mint(&keys, &settings.kid, &claims);
        let token =
            token.map_or_else(|| fail(format!("{file}: no signing key of this name")), Ok)?;
        let to = settings.to;
        let head = format!("GET {TARGET} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {token}");
        Ok(format!("{head}\r\n\r\n").into_bytes())
    };
    (0..TOKENS).map(request).collect()
}

impl Stream {
    /// Receives input. Returns the number of answers. `None`: the connection is closed.
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
