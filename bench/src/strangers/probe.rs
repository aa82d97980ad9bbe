//! Requests at fixed times, each on a new connection and independent of earlier ones, like a liveness
//! check.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::target::{EVENTS_MAX, address, request};
use crate::client::parse;
use crate::error::{Because, Result, fail};
use crate::load::socket::{Epoll, Event, Peer, Socket, wake_on_time};
use crate::pin;
use crate::process::Interrupted;

/// Deadline of a request.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// Most requests in flight. A due request beyond them counts as failed.
const OPEN_MAX: u32 = 1_024;
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Settings of the probe.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Address of the server.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub to: SocketAddr,
    /// Path to request.
    #[arg(long, value_name = "PATH", default_value = "/livez")]
    pub path: String,
    /// Milliseconds between two requests.
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub every_ms: u64,
    /// Seconds to send requests for.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub seconds: u64,
}

/// The report of the probe.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Due requests.
    pub requests: u64,
    /// Requests without a 200 in time.
    pub failures: u64,
    /// Description of the first failure.
    pub first_failure: Option<String>,
    /// Median latency.
    pub p50_us: u64,
    /// 99th percentile of the latency.
    pub p99_us: u64,
    /// Longest latency.
    pub max_us: u64,
}

struct Question {
    socket: Socket,
    due: Instant,
    sent: bool,
    input: Vec<u8>,
}

struct Probe {
    epoll: Epoll,
    peer: Peer,
    request: Vec<u8>,
    questions: Vec<Option<Question>>,
    free: Vec<u32>,
    latencies: Histogram<u64>,
    report: Report,
}

/// Sends requests until the time is over or it is interrupted, and waits for the last answers.
pub fn run(settings: &Settings, interrupted: &Interrupted) -> Result<Report> {
    pin::demand_connections(OPEN_MAX)?;
    wake_on_time()?;
    let mut probe = Probe {
        epoll: Epoll::new().because(|| "creating an epoll instance".into())?,
        peer: Peer::tcp(settings.to),
        request: request(settings.to, &settings.path),
        questions: (0..OPEN_MAX).map(|_| None).collect(),
        free: (0..OPEN_MAX).rev().collect(),
        latencies: Histogram::new_with_bounds(1, 2 * ANSWER_DEADLINE.as_micros() as u64, 3)
            .because(|| "a histogram".into())?,
        report: Report::default(),
    };
    let every = Duration::from_millis(settings.every_ms);
    let mut due = Instant::now();
    let end = due + Duration::from_secs(settings.seconds);
    let mut events = [Event { events: 0, u64: 0 }; EVENTS_MAX];
    while !interrupted.load(Ordering::Relaxed) {
        let now = Instant::now();
        while due <= now && due < end {
            probe.ask(due);
            due += every;
        }
        if due >= end && probe.free.len() == OPEN_MAX as usize {
            break;
        }
        // One that is given up is noticed as late as the next one is due, or soon after the last.
        let timeout = if due < end { due.saturating_duration_since(now) } else { every };
        let count = probe.epoll.wait(&mut events, timeout).because(|| "waiting".into())?;
        for event in &events[..count] {
            probe.go_on(event.u64 as usize);
        }
        probe.give_up();
    }
    Ok(probe.finish())
}

impl Probe {
    fn ask(&mut self, due: Instant) {
        self.report.requests += 1;
        let Some(number) = self.free.pop() else { return self.fail("too many requests wait") };
        let socket = Socket::connect(&self.peer, None, true)
            .and_then(|socket| self.epoll.add(&socket, number).map(|()| socket));
        match socket {
            Ok(socket) => {
                let (sent, input) = (false, Vec::new());
                self.questions[number as usize] = Some(Question { socket, due, sent, input });
            }
            Err(error) => {
                self.free.push(number);
                self.fail(&error.to_string());
            }
        }
    }

    fn go_on(&mut self, number: usize) {
        let Some(question) = &mut self.questions[number] else { return };
        match question.go_on(&self.request) {
            Ok(false) => return,
            Ok(true) => {
                let took = question.due.elapsed().as_micros() as u64;
                self.latencies.saturating_record(took);
            }
            Err(failure) => self.fail(&failure.to_string()),
        }
        self.forget(number);
    }

    fn give_up(&mut self) {
        for number in 0..self.questions.len() {
            if let Some(question) = &self.questions[number]
                && question.due.elapsed() > ANSWER_DEADLINE
            {
                self.fail("no answer in time");
                self.forget(number);
            }
        }
    }

    fn forget(&mut self, number: usize) {
        self.questions[number] = None;
        self.free.push(number as u32);
    }

    /// A failure counts as the deadline.
    fn fail(&mut self, why: &str) {
        self.report.failures += 1;
        self.report.first_failure.get_or_insert_with(|| why.to_owned());
        self.latencies.saturating_record(ANSWER_DEADLINE.as_micros() as u64);
    }

    fn finish(self) -> Report {
        let Self { latencies, report, .. } = self;
        Report {
            p50_us: latencies.value_at_quantile(0.5),
            p99_us: latencies.value_at_quantile(0.99),
            max_us: latencies.max(),
            ..report
        }
    }
}

impl Question {
    /// Whether it has its answer.
    fn go_on(&mut self, request: &[u8]) -> Result<bool> {
        if !self.sent {
            // An empty socket takes the whole request.
            self.sent = self.socket.send(request)? > 0;
        }
        let mut chunk = [0; 4096];
        loop {
            match self.socket.receive(&mut chunk) {
                Ok(0) => return fail("the server closed without an answer"),
                Ok(bytes) => self.input.extend_from_slice(&chunk[..bytes]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
            if self.input.len() > ANSWER_BYTES_MAX {
                return fail("an answer without end");
            }
            match parse(&self.input)? {
                None => {}
                Some((response, _)) if response.status == 200 => return Ok(true),
                Some((response, _)) => return fail(format!("answered {}", response.status)),
            }
        }
    }
}
