//! Connections from one address that send nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::target::{CONNECTIONS_MAX, EVENTS_MAX, LOOK_INTERVAL, address};
use crate::error::{Because, Result, fail};
use crate::load::socket::{Epoll, Event, Peer, Socket};
use crate::pin;
use crate::process::Interrupted;

const RATE_DEFAULT: f64 = 10_000.0;
/// Attempts that are made up for at least, after we did not get the processor; at most those of a
/// quarter of a second.
const BURST: f64 = 256.0;
/// Interval of the checks for the next due attempt.
const DUE_INTERVAL: Duration = Duration::from_millis(1);

/// Settings of the attack.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address of the server.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub to: SocketAddr,
    /// Source address of all connections on loopback, such as 127.0.9.9.
    #[arg(long, value_name = "IP")]
    pub from: Ipv4Addr,
    /// Connections to hold.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub attempts: u32,
    /// Most attempts per second.
    #[arg(long, value_name = "R", default_value_t = RATE_DEFAULT)]
    pub rate: f64,
}

/// The report of the attack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Started connections.
    pub attempts: u64,
    /// Connections that the server closed or refused.
    pub closed: u64,
    /// Connections that could not be started.
    pub failed: u64,
    /// Largest number of open connections.
    pub open_max: u64,
    /// Connections open at the end.
    pub open_at_end: u64,
}

/// Number of due attempts.
pub struct Pace {
    per_s: f64,
    last: Instant,
    due: f64,
}

impl Pace {
    /// This number per second, from now on.
    pub fn new(per_s: f64, now: Instant) -> Self {
        Self { per_s, last: now, due: 0.0 }
    }

    /// Takes the attempts that are due now.
    pub fn take(&mut self, now: Instant, wanted: usize) -> usize {
        let passed = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        self.due = (self.due + passed * self.per_s).min(BURST.max(self.per_s / 4.0));
        let taken = (self.due as usize).min(wanted);
        self.due -= taken as f64;
        taken
    }
}

struct Silence {
    /// Open until it is dropped.
    _socket: Socket,
    open: bool,
}

/// Attacks until it is interrupted.
pub fn run(settings: &Settings, interrupted: &Interrupted) -> Result<Report> {
    let &Settings { to, from, attempts, rate } = settings;
    if !(rate > 0.0 && rate.is_finite()) {
        return fail(format!("--rate {rate}: must be above 0"));
    }
    if to.is_ipv6() {
        return fail("--from is an IPv4 address, so --to must be one, too");
    }
    pin::demand_connections(attempts)?;
    let (epoll, peer) =
        (Epoll::new().because(|| "creating an epoll instance".into())?, Peer::tcp(to));
    let mut places: Vec<Option<Silence>> = (0..attempts).map(|_| None).collect();
    let mut free: Vec<u32> = (0..attempts).rev().collect();
    let (mut open, mut report) = (0, Report::default());
    let mut pace = Pace::new(rate, Instant::now());
    let mut events = [Event { events: 0, u64: 0 }; EVENTS_MAX];
    while !interrupted.load(Ordering::Relaxed) {
        for _ in 0..pace.take(Instant::now(), free.len()) {
            let Some(number) = free.pop() else { break };
            let socket = Socket::connect(&peer, Some(from), false)
                .and_then(|socket| epoll.add(&socket, number).map(|()| socket));
            match socket {
                Ok(socket) => {
                    report.attempts += 1;
                    places[number as usize] = Some(Silence { _socket: socket, open: false });
                }
                Err(_) => {
                    report.failed += 1;
                    free.push(number);
                }
            }
        }
        let timeout = if free.is_empty() { LOOK_INTERVAL } else { DUE_INTERVAL };
        let count = epoll.wait(&mut events, timeout).because(|| "waiting".into())?;
        for event in &events[..count] {
            let Some(silence) = &mut places[event.u64 as usize] else { continue };
            let flags = event.events as libc::c_int;
            if flags & (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0 {
                report.closed += 1;
                open -= u64::from(silence.open);
                places[event.u64 as usize] = None;
                free.push(event.u64 as u32);
            } else if !std::mem::replace(&mut silence.open, true) {
                open += 1;
                report.open_max = report.open_max.max(open);
            }
        }
    }
    report.open_at_end = open;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_keep_their_rate_and_the_backlog_is_bounded() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000.0, start);
        let at = |ms| start + Duration::from_millis(ms);
        let taken: usize = (1..=100).map(|ms| pace.take(at(ms), 10)).sum();
        assert!((99..=100).contains(&taken), "{taken}");
        assert_eq!(pace.take(at(200), 0), 0);
        assert!((100..=101).contains(&pace.take(at(200), 1_000)));
        assert_eq!(pace.take(at(60_000), 100_000), 256);
        let mut fast = Pace::new(10_000.0, start);
        assert_eq!(fast.take(at(60_000), 100_000), 2_500);
    }
}
