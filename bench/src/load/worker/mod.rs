//! A thread of the load generator: an epoll, its connections, and the loop that sends requests and
//! reads answers.
//!
//! Closed loop: a connection sends a request as soon as it has read an answer. Open loop: a due
//! request takes the connection that has been free for longest, and waits if none is free. A request
//! costs one `send`, one `recv` and its share of an `epoll_pwait2`.

mod traffic;

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::connection::{Asked, Connection, State};
use super::line::Tls;
use super::pace::Pace;
use super::reader::Reader;
use super::request::Request;
use super::settings::{End, Plan};
use super::shared::{Progress, Shared};
use super::socket::{Epoll, Event, thread_cpu_ns};
use super::tally::{Failure, Tally};
use crate::error::{Because, Result, fail};

const EVENTS_MAX: usize = 512;
const BUFFER_BYTES: usize = 64 * 1024;
/// Interval of less urgent checks: Ctrl-C, reconnects, time-outs.
const TICK_NS: u64 = 10_000_000;
/// Interval of the search for overdue connections.
const OVERDUE_NS: u64 = 100_000_000;
/// Most connections that connect at the same time and start in one go.
const CONNECTING_MAX: u32 = 64;
/// Longest time without progress in connecting.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time for a server to close a finished connection.
const CLOSE_DEADLINE_NS: u64 = 2_000_000_000;
/// Longest wait for answers after a timed run.
const DRAIN_NS: u64 = 5_000_000_000;
/// Failures after which a thread gives up.
const FAILURES_MAX: u64 = 1_000;

/// The result of a thread.
pub struct Seen {
    /// The counters.
    pub tally: Tally,
    /// CPU time of the counted part, without idle polling.
    pub cpu_ns: u64,
    /// Duration of the counted part.
    pub wall_ns: u64,
    /// Due requests that were not sent.
    pub never_sent: u64,
    /// Largest number of requests that waited for a free connection.
    pub backlog_max: u64,
    /// Whether the thread gave up after too many failures.
    pub gave_up: bool,
}

/// One thread.
pub struct Worker<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    progress: &'a Progress,
    epoll: Epoll,
    buffer: Vec<u8>,
    tls: Option<Tls>,
    connections: Vec<Connection>,
    asked: Asked,
    reader: Reader,
    request: Request,
    tally: Tally,
    pace: Option<Pace>,
    /// Open loop: connections without a request, in the order in which they became free.
    free: VecDeque<u32>,
    /// Connections to reopen at the next tick.
    retry: Vec<u32>,
    /// Requests left to send.
    budget: u64,
    in_flight: u64,
    connecting: u32,
    open: u32,
    /// Whether the load has started.
    running: bool,
    /// Whether requests are sent.
    sending: bool,
    origin: Instant,
    count_from_ns: u64,
    end_ns: u64,
    /// Time of the next search for overdue connections.
    look_ns: u64,
    /// Offset of the source address on loopback.
    sources_used_up: u32,
    gave_up: bool,
}

impl<'a> Worker<'a> {
    /// One of several threads, with its share of connections, requests and rate.
    pub fn new(plan: &'a Plan, shared: &'a Shared, thread: usize) -> Result<Self> {
        let threads = plan.cores.len();
        let connections = share(u64::from(plan.connections), thread, threads) as u32;
        let count_from_ns = plan.warm_up.as_nanos() as u64;
        let (end_ns, budget) = match plan.end {
            End::After(time) => (count_from_ns + time.as_nanos() as u64, u64::MAX),
            End::Requests(requests) => (u64::MAX, share(requests, thread, threads)),
        };
        let pace = plan.rate.map(|rate| Pace::new(plan.arrivals, rate, thread, threads, end_ns));
        Ok(Self {
            plan,
            shared,
            progress: &shared.progress[thread],
            epoll: Epoll::new().because(|| "creating an epoll instance".into())?,
            buffer: vec![0; BUFFER_BYTES],
            tls: plan.tls.as_ref().map(|host| Tls::new(host, plan.resumes)).transpose()?,
            connections: (0..connections).map(|_| Connection::default()).collect(),
            asked: Asked::new(connections, plan.pipeline),
            reader: Reader::default(),
            request: plan.request.for_thread(thread, threads),
            tally: Tally::new(plan.expected, plan.ids_max()),
            pace,
            free: VecDeque::with_capacity(connections as usize),
            retry: Vec::new(),
            budget,
            in_flight: 0,
            connecting: 0,
            open: 0,
            running: false,
            sending: true,
            origin: Instant::now(),
            count_from_ns,
            end_ns,
            look_ns: 0,
            sources_used_up: 0,
            gave_up: false,
        })
    }

    fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Opens every connection at a bounded rate, few at the same time, so no server's accept queue
    /// overflows. `Err`: impossible.
    pub fn connect_all(&mut self) -> Result<()> {
        if self.plan.connection_each {
            return Ok(());
        }
        let mut events = [Event { events: 0, u64: 0 }; EVENTS_MAX];
        let all = self.connections.len() as u32;
        let per_ns = self.plan.connect_rate / self.plan.cores.len() as f64 / 1e9;
        let (mut next, mut moved, mut open) = (0, Instant::now(), 0);
        let (mut allowed, mut before_ns) = (0.0, self.now_ns());
        while self.open < all && !self.shared.stopped() {
            // Unused starts are lost: the rate must prevent bursts.
            let now_ns = self.now_ns();
            let more = (now_ns - before_ns) as f64 * per_ns;
            (allowed, before_ns) = (f64::min(allowed + more, f64::from(CONNECTING_MAX)), now_ns);
            for number in std::mem::take(&mut self.retry) {
                self.open_or_retry(number);
            }
            while next < all && allowed >= 1.0 && self.connecting < CONNECTING_MAX {
                self.open_or_retry(next);
                (next, allowed) = (next + 1, allowed - 1.0);
            }
            self.round(&mut events, Duration::from_millis(1))?;
            if self.tally.failed() > 0 {
                return fail(self.tally.samples.concat());
            }
            if self.open != open {
                (open, moved) = (self.open, Instant::now());
                self.progress.open.store(u64::from(open), Ordering::Relaxed);
            } else if moved.elapsed() > CONNECT_DEADLINE {
                return fail(format!("only {open} of {all} connections are open"));
            }
        }
        Ok(())
    }

    /// Starts the load and runs to the end.
    pub fn run(mut self, origin: Instant) -> Result<Seen> {
        let mut events = [Event { events: 0, u64: 0 }; EVENTS_MAX];
        (self.origin, self.running) = (origin, true);
        let all = self.connections.len() as u32;
        if self.pace.is_some() {
            self.free.extend(0..all);
        }
        let mut unstarted = if self.pace.is_some() { all } else { 0 };
        let (mut next_tick_ns, mut drain_ns, mut counted) = (0, u64::MAX, None);
        let mut spun_ns = 0;
        loop {
            let now = self.now_ns();
            if counted.is_none() && now >= self.count_from_ns {
                counted = Some((thread_cpu_ns(), now));
                spun_ns = 0;
            }
            self.send_due(now);
            // One part at a time: answers to the first requests are read before the last ones are
            // sent.
            let until = all.min(unstarted + CONNECTING_MAX);
            (unstarted..until).for_each(|number| self.begin_closed(number, now));
            unstarted = until;
            if now >= next_tick_ns {
                next_tick_ns = now + TICK_NS;
                self.tick(now);
            }
            if self.sending && (now >= self.end_ns || self.budget == 0) {
                self.sending = false;
            }
            if !self.sending {
                if drain_ns == u64::MAX {
                    let requests = matches!(self.plan.end, End::Requests(_));
                    let patience = self.plan.answer_deadline.as_nanos() as u64;
                    drain_ns = now + if requests { patience.max(DRAIN_NS) } else { DRAIN_NS };
                }
                if self.in_flight == 0 || now >= drain_ns {
                    self.shared.end();
                    return Ok(self.finish(now, counted, spun_ns));
                }
            }
            let (timeout_ns, spins) = self.timeout(now, next_tick_ns, unstarted < all);
            let ready = self.round(&mut events, Duration::from_nanos(timeout_ns))?;
            if spins && ready == 0 {
                spun_ns += self.now_ns() - now;
            }
        }
    }

    /// Timeout of the wait for events, and whether to poll instead.
    fn timeout(&self, now: u64, next_tick_ns: u64, unstarted: bool) -> (u64, bool) {
        if unstarted {
            return (0, false);
        }
        let tick_ns = next_tick_ns - now;
        let next = self.pace.as_ref().filter(|_| self.sending && !self.free.is_empty());
        match next.and_then(Pace::next_ns) {
            Some(next) => {
                let due_ns = next.saturating_sub(now);
                let spins = due_ns <= self.plan.spin.as_nanos() as u64;
                (
                    if spins {
                        0
                    } else {
                        (due_ns - self.plan.spin.as_nanos() as u64).min(tick_ns)
                    },
                    spins,
                )
            }
            None => (tick_ns, false),
        }
    }

    /// Waits for events and handles them. Returns their number.
    fn round(&mut self, events: &mut [Event; EVENTS_MAX], timeout: Duration) -> Result<usize> {
        let ready = self
            .epoll
            .wait(events, timeout)
            .because(|| "waiting for answers (epoll_pwait2)".into())?;
        for event in &events[..ready] {
            self.on_event(event.u64 as u32, event.events as libc::c_int);
        }
        Ok(ready)
    }

    fn tick(&mut self, now: u64) {
        if self.shared.stopped() {
            self.sending = false;
        }
        if self.tally.failed() >= FAILURES_MAX && !self.gave_up {
            (self.gave_up, self.sending) = (true, false);
            self.shared.stop();
        }
        for number in std::mem::take(&mut self.retry) {
            if self.sending {
                self.reopen(number, now);
            }
        }
        if now >= self.look_ns {
            self.look_ns = now + OVERDUE_NS;
            self.end_overdue(now);
        }
        let backlog = self.pace.as_ref().map_or(0, Pace::backlog);
        let progress = self.progress;
        progress.answered.store(self.tally.answered() + self.tally.warm_up, Ordering::Relaxed);
        progress.grants.store(self.tally.grants, Ordering::Relaxed);
        progress.failures.store(self.tally.failed(), Ordering::Relaxed);
        progress.backlog.store(backlog, Ordering::Relaxed);
    }

    fn end_overdue(&mut self, now: u64) {
        let patience = self.plan.answer_deadline.as_nanos() as u64;
        for number in 0..self.connections.len() as u32 {
            let connection = &self.connections[number as usize];
            let waited = now.saturating_sub(connection.moved_ns);
            let overdue = match connection.state {
                State::Closed => continue,
                State::Connecting => waited > patience,
                State::Open => connection.in_flight > 0 && waited > patience,
                State::Closing => waited > CLOSE_DEADLINE_NS,
            };
            if !overdue {
                continue;
            }
            if connection.state == State::Closing {
                self.broke(number, Failure::KeptOpen, now, || {
                    "the server kept a connection that it had to close".into()
                });
            } else {
                let seconds = waited / 1_000_000_000;
                self.broke(number, Failure::TimedOut, now, || format!("no answer for {seconds} s"));
            }
        }
    }

    /// Open loop: sends the due requests, as far as connections are free.
    fn send_due(&mut self, now: u64) {
        if !self.sending {
            return;
        }
        let Some(mut pace) = self.pace.take() else { return };
        // Requests in the backlog wait for the server. Newly due requests wait for the generator.
        let waiting = pace.backlog();
        pace.advance_to(now);
        let mut taken = 0;
        while self.budget > 0 && pace.backlog() > 0 {
            let Some(number) = self.free.pop_front() else { break };
            let connection = &self.connections[number as usize];
            let usable = match connection.state {
                State::Closed => self.plan.connection_each,
                State::Open => connection.in_flight == 0,
                _ => false,
            };
            if !usable {
                continue;
            }
            let Some(due_ns) = pace.take() else { break };
            let now = self.now_ns();
            if taken >= waiting {
                self.tally.late.saturating_record(now.saturating_sub(due_ns));
            }
            taken += 1;
            self.begin(number, 1, due_ns, now);
        }
        pace.note_backlog();
        self.pace = Some(pace);
    }

    fn finish(mut self, now: u64, counted: Option<(u64, u64)>, spun_ns: u64) -> Seen {
        let (cpu_ns, from_ns) = counted.unwrap_or((thread_cpu_ns(), now));
        let cpu_ns = thread_cpu_ns().saturating_sub(cpu_ns).saturating_sub(spun_ns);
        for number in 0..self.connections.len() as u32 {
            let connection = &mut self.connections[number as usize];
            while let Some(since) = self.asked.pop(number, connection) {
                self.tally.fail(Failure::Unanswered, || "no answer before the end".into());
                self.tally.lose(since, now);
            }
        }
        let (mut never_sent, mut backlog_max) = (0, 0);
        if let Some(pace) = &mut self.pace {
            backlog_max = pace.backlog_max();
            while never_sent < self.budget
                && let Some(due_ns) = pace.take()
            {
                never_sent += 1;
                self.tally.waited.saturating_record(now.saturating_sub(due_ns));
            }
        }
        let wall_ns = now.saturating_sub(from_ns);
        Seen { tally: self.tally, cpu_ns, wall_ns, never_sent, backlog_max, gave_up: self.gave_up }
    }
}

/// One of `parts` shares of a number. Shares differ by at most one.
fn share(number: u64, part: usize, parts: usize) -> u64 {
    number / parts as u64 + u64::from((part as u64) < number % parts as u64)
}
