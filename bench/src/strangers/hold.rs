//! Honest clients that connect early from several addresses, send one request, wait, and send a second
//! one.

use std::io::{BufRead, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::target::{CONNECTIONS_MAX, EVENTS_MAX, LOOK_INTERVAL, address, request};
use crate::answer::TARGET;
use crate::client::parse;
use crate::error::{Because, Result, fail};
use crate::load::socket::{Epoll, Event, Peer, Socket};
use crate::pin;
use crate::process::Interrupted;

/// Most requests in flight: fewer than any backlog.
const ASKING_MAX: usize = 64;
/// Time for all answers of a turn, beside what each connection adds.
const TURN_TIME: Duration = Duration::from_secs(60);
const TIME_PER_CONNECTION: Duration = Duration::from_millis(2);
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Settings of the attack.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address of the server.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub to: SocketAddr,
    /// Number of source addresses: 127.0.1.1 and the following.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u8).range(1..=254))]
    pub addresses: u8,
    /// Connections, spread over the addresses.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: u32,
    /// Path to request.
    #[arg(long, value_name = "PATH", default_value = TARGET)]
    pub path: String,
}

/// The report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Connections whose first request got a 200.
    pub held: u64,
    /// Connections whose second request got a 200, too.
    pub survived: u64,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its request waits for room.
    Unsent,
    /// It waits for its answer.
    Sent,
    /// It has its answer.
    Answered,
}

struct Honest {
    socket: Socket,
    state: State,
    input: Vec<u8>,
}

struct Crowd<'a> {
    epoll: Epoll,
    request: Vec<u8>,
    /// `None`: a lost connection.
    clients: Vec<Option<Honest>>,
    interrupted: &'a Interrupted,
}

/// Opens the connections, sends requests, waits for a line, and sends requests again.
pub fn run(settings: &Settings, interrupted: &Interrupted) -> Result<Report> {
    let Settings { to, addresses, connections, path } = settings;
    if to.is_ipv6() {
        return fail("--to must be an IPv4 address");
    }
    pin::demand_connections(*connections)?;
    let peer = Peer::tcp(*to);
    let mut crowd = Crowd {
        epoll: Epoll::new().because(|| "creating an epoll instance".into())?,
        request: request(*to, path),
        clients: (0..*connections).map(|_| None).collect(),
        interrupted,
    };
    let line = next_line();
    let held = crowd.take_turns(|epoll, number| {
        let source = source(number, *addresses);
        let socket = Socket::connect(&peer, Some(source), false)?;
        epoll.add(&socket, number)?;
        Ok(socket)
    })?;
    println!("held {held}");
    std::io::stdout().flush()?;
    while let Err(RecvTimeoutError::Timeout) = line.recv_timeout(LOOK_INTERVAL) {
        if interrupted.load(Ordering::Relaxed) {
            return Ok(Report { held, survived: 0 });
        }
    }
    let survived = crowd.take_turns(|_, _| Err(ErrorKind::NotConnected.into()))?;
    Ok(Report { held, survived })
}

/// Receives a message when standard input has a line or ends.
fn next_line() -> Receiver<()> {
    let (told, line) = channel();
    thread::spawn(move || {
        // The end of the input counts as a line.
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        told.send(())
    });
    line
}

/// Source address of a connection.
fn source(number: u32, addresses: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, 1 + (number % u32::from(addresses)) as u8)
}

impl Crowd<'_> {
    /// Sends one request per open connection, or per connection from `open`, a few at a time. Returns
    /// the number with a 200. The others are dropped.
    fn take_turns(
        &mut self,
        mut open: impl FnMut(&Epoll, u32) -> std::io::Result<Socket>,
    ) -> Result<u64> {
        let count = self.clients.len();
        let until = Instant::now() + TURN_TIME + TIME_PER_CONNECTION * count as u32;
        let mut events = [Event { events: 0, u64: 0 }; EVENTS_MAX];
        let (mut begun, mut asking, mut answered) = (0, 0, 0);
        while begun < count || asking > 0 {
            if self.interrupted.load(Ordering::Relaxed) || Instant::now() > until {
                break;
            }
            while begun < count && asking < ASKING_MAX {
                let number = begun;
                begun += 1;
                if self.clients[number].is_none()
                    && let Ok(socket) = open(&self.epoll, number as u32)
                {
                    let (state, input) = (State::Answered, Vec::new());
                    self.clients[number] = Some(Honest { socket, state, input });
                }
                if let Some(client) = &mut self.clients[number] {
                    client.state = State::Unsent;
                    asking += 1;
                    self.go_on(number, &mut asking, &mut answered);
                }
            }
            let ready = self.epoll.wait(&mut events, LOOK_INTERVAL).because(|| "waiting".into())?;
            for event in &events[..ready] {
                self.go_on(event.u64 as usize, &mut asking, &mut answered);
            }
        }
        for client in &mut self.clients {
            if client.as_ref().is_some_and(|client| client.state != State::Answered) {
                *client = None;
            }
        }
        Ok(answered)
    }

    /// Sends and reads. Drops a connection that is closed or gets another answer than 200.
    fn go_on(&mut self, number: usize, asking: &mut usize, answered: &mut u64) {
        let Some(client) = &mut self.clients[number] else { return };
        if client.state == State::Answered {
            return;
        }
        match client.go_on(&self.request) {
            Ok(false) => {}
            Ok(true) => {
                *asking -= 1;
                *answered += 1;
            }
            Err(_) => {
                *asking -= 1;
                self.clients[number] = None;
            }
        }
    }
}

impl Honest {
    /// Whether it has its answer.
    fn go_on(&mut self, request: &[u8]) -> Result<bool> {
        if self.state == State::Unsent {
            match self.socket.send(request)? {
                0 => return Ok(false),
                // An empty socket takes the whole request.
                _ => self.state = State::Sent,
            }
        }
        let mut chunk = [0; 4096];
        loop {
            match self.socket.receive(&mut chunk) {
                Ok(0) => return fail("closed"),
                Ok(bytes) => self.input.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if self.input.len() > ANSWER_BYTES_MAX {
                return fail("an answer without end");
            }
            let Some((response, _)) = parse(&self.input)? else { continue };
            if response.status != 200 {
                return fail(format!("answered {}", response.status));
            }
            self.input = Vec::new();
            self.state = State::Answered;
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_over_the_addresses() {
        let all: Vec<_> = (0..150).map(|number| source(number, 50)).collect();
        assert_eq!(all[0], Ipv4Addr::new(127, 0, 1, 1));
        assert_eq!(all[49], Ipv4Addr::new(127, 0, 1, 50));
        assert_eq!(all[..50], all[50..100]);
    }
}
