//! One thread of the load generator: an epoll, its connections, and the loop that asks and reads.
//!
//! Closed loop: whoever has read an answer asks again at once. Open loop: what is due takes the
//! connection that has been free for longest, and waits where there is none. Either way a request
//! costs one `send`, one `recv` and its share of an `epoll_pwait2`.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::connection::{Asked, Connection, State};
use super::pace::Pace;
use super::reader::Reader;
use super::request::Request;
use super::settings::{End, Plan};
use super::socket::{Epoll, Event, Socket, thread_cpu_ns};
use super::tally::{Failure, Tally, shown};
use super::{Progress, Shared};
use crate::error::{Because, Result, fail};

const EVENTS_MAX: usize = 512;
const BUFFER_BYTES: usize = 64 * 1024;
/// How often it looks at what is not urgent: Ctrl-C, connections to try again, time-outs.
const TICK_NS: u64 = 10_000_000;
/// How often it looks at every connection for what is overdue.
const OVERDUE_NS: u64 = 100_000_000;
/// Connections that may be on their way at a time, and that are started in one go.
const CONNECTING_MAX: u32 = 64;
/// How long connecting may stand still.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a server may take to close a connection that is over.
const CLOSE_DEADLINE_NS: u64 = 2_000_000_000;
/// How long answers are waited for after the end of a run by time.
const DRAIN_NS: u64 = 5_000_000_000;
/// After so many failures a thread gives up.
const FAILURES_MAX: u64 = 1_000;
/// Connections from one loopback address: with more, the kernel searches long for a free port.
const SOURCE_CONNECTIONS_MAX: u32 = 8_000;
/// Loopback addresses to come from: 127.0.0.2 to 127.0.0.201.
const SOURCES_MAX: u32 = 200;

/// What a thread hands back.
pub struct Seen {
    /// Its counters.
    pub tally: Tally,
    /// CPU time while answers counted, less what it spun in vain.
    pub cpu_ns: u64,
    /// The time that this took.
    pub wall_ns: u64,
    /// Requests that were due and never sent.
    pub never_sent: u64,
    /// The most that waited for a free connection.
    pub backlog_max: u64,
    /// It had too many failures to go on.
    pub gave_up: bool,
}

/// One thread.
pub struct Worker<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    progress: &'a Progress,
    epoll: Epoll,
    buffer: Vec<u8>,
    connections: Vec<Connection>,
    asked: Asked,
    reader: Reader,
    request: Request,
    tally: Tally,
    pace: Option<Pace>,
    /// Open loop: connections without a request, in the order in which they became free.
    free: VecDeque<u32>,
    /// Connections to be opened at the next tick.
    retry: Vec<u32>,
    /// Requests that may still be sent.
    budget: u64,
    in_flight: u64,
    connecting: u32,
    open: u32,
    /// The crowd has been let in.
    running: bool,
    /// Requests are sent.
    sending: bool,
    origin: Instant,
    count_from_ns: u64,
    end_ns: u64,
    /// When to look next for what is overdue.
    look_ns: u64,
    /// Added to the number of the loopback address to come from.
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
            epoll: Epoll::new().because(|| "making an epoll".into())?,
            buffer: vec![0; BUFFER_BYTES],
            connections: (0..connections).map(|_| Connection::new()).collect(),
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

    /// Opens every connection, at a bounded rate and with few on their way at a time, so that no
    /// server's queue of new connections overflows. `Err`: it can't be done.
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
            // What was not used is lost: catching up in one go is what the rate is there against.
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
                return fail(format!("{open} of {all} connections are open, and no more will be"));
            }
        }
        Ok(())
    }

    /// Lets the crowd in and runs to the end.
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
            for number in unstarted..all.min(unstarted + CONNECTING_MAX) {
                self.begin_closed(number, now);
                unstarted = number + 1;
            }
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

    /// How long to wait for events, and whether to ask again and again instead.
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

    /// Waits for events and deals with them. Returns how many there were.
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
                self.broke(number, Failure::KeptOpen, now, || "it should have been closed".into());
            } else {
                let seconds = waited / 1_000_000_000;
                self.broke(number, Failure::TimedOut, now, || format!("no answer for {seconds} s"));
            }
        }
    }

    /// Open loop: sends what is due, as far as connections are free.
    fn send_due(&mut self, now: u64) {
        if !self.sending {
            return;
        }
        let Some(mut pace) = self.pace.take() else { return };
        // What was waiting before waits for the server; what has just become due waits for us.
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
            if taken >= waiting {
                let late = self.now_ns().saturating_sub(due_ns);
                self.tally.late.saturating_record(late);
            }
            taken += 1;
            self.begin(number, 1, due_ns);
        }
        pace.note_backlog();
        self.pace = Some(pace);
    }

    /// Closed loop: fills a connection's pipeline, while there is something to send.
    fn begin_closed(&mut self, number: u32, now: u64) {
        if !self.sending || now >= self.end_ns {
            return;
        }
        let room = self.plan.pipeline - self.connections[number as usize].in_flight;
        let count = u64::from(room).min(self.budget) as u32;
        if count > 0 {
            self.begin(number, count, now);
        }
    }

    /// Sends requests that are waited for since then, on a new socket if each is to have its own.
    fn begin(&mut self, number: u32, count: u32, since_ns: u64) {
        if self.plan.connection_each
            && let Err(error) = self.open(number)
        {
            self.tally.fail(Failure::Connect, || error.to_string());
            self.tally.lose(since_ns, self.now_ns());
            self.tally.sent += 1;
            self.budget -= 1;
            self.retry.push(number);
            return;
        }
        let connection = &mut self.connections[number as usize];
        if connection.socket.is_none() {
            return;
        }
        if connection.in_flight == 0 {
            // Not when it was due: that may be long ago.
            connection.moved_ns = self.origin.elapsed().as_nanos() as u64;
        }
        for _ in 0..count {
            self.asked.push(number, connection, since_ns);
        }
        self.in_flight += u64::from(count);
        self.tally.sent += u64::from(count);
        self.budget -= u64::from(count);
        if since_ns >= self.count_from_ns && self.tally.first_ns.is_none() {
            self.tally.first_ns = Some(since_ns);
        }
        let bytes = self.request.take(count);
        let sent = match &connection.socket {
            Some(socket) if connection.unsent.is_empty() => socket.send(bytes),
            _ => Ok(0),
        };
        match sent {
            Ok(sent) => connection.unsent.extend_from_slice(&bytes[sent..]),
            Err(error) => self.socket_failed(number, &error),
        }
    }

    fn on_event(&mut self, number: u32, events: libc::c_int) {
        let connection = &mut self.connections[number as usize];
        let Some(socket) = &connection.socket else { return };
        if connection.state == State::Connecting {
            if events & libc::EPOLLERR != 0 {
                let error = socket.error();
                return self.socket_failed(number, &error);
            }
            if events & libc::EPOLLOUT != 0 {
                connection.state = State::Open;
                self.connecting -= 1;
                self.opened(number);
            }
        }
        let connection = &mut self.connections[number as usize];
        if events & libc::EPOLLOUT != 0 && !connection.unsent.is_empty() {
            let Some(socket) = &connection.socket else { return };
            match socket.send(&connection.unsent) {
                Ok(sent) => drop(connection.unsent.drain(..sent)),
                Err(error) => return self.socket_failed(number, &error),
            }
        }
        let closing = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
        if events & (libc::EPOLLIN | closing) != 0 {
            self.receive(number, events & closing != 0);
        }
    }

    /// A connection that is not one for a single request has come to be.
    fn opened(&mut self, number: u32) {
        self.open += 1;
        if !self.running || self.plan.connection_each {
            return;
        }
        let now = self.now_ns();
        match self.pace {
            Some(_) => self.free.push_back(number),
            None => self.begin_closed(number, now),
        }
    }

    /// Reads what is there: once, unless the buffer was filled or the server has `closed` its side.
    fn receive(&mut self, number: u32, closed: bool) {
        loop {
            let Some(socket) = &self.connections[number as usize].socket else { return };
            match socket.receive(&mut self.buffer) {
                Ok(0) => return self.ended(number),
                Ok(read) => {
                    self.take_in(number, read);
                    if read < BUFFER_BYTES && !closed {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.socket_failed(number, &error),
            }
        }
    }

    /// Understands what was read into the buffer, and goes on.
    fn take_in(&mut self, number: u32, read: usize) {
        let now = self.now_ns();
        let connection = &mut self.connections[number as usize];
        let mut unread = std::mem::take(&mut connection.unread);
        let buffer = std::mem::take(&mut self.buffer);
        let result = if unread.is_empty() {
            let result = self.read_answers(number, &buffer[..read], now);
            if let Ok(used) = result {
                unread.extend_from_slice(&buffer[used..read]);
            }
            result
        } else {
            unread.extend_from_slice(&buffer[..read]);
            let result = self.read_answers(number, &unread, now);
            if let Ok(used) = result {
                unread.drain(..used);
            }
            result
        };
        self.buffer = buffer;
        let connection = &mut self.connections[number as usize];
        connection.unread = unread;
        if let Err((failure, what)) = result {
            return self.broke(number, failure, now, || what);
        }
        match (connection.state, &self.pace) {
            (State::Closing, _) => {}
            (_, Some(_)) if connection.in_flight == 0 => self.free.push_back(number),
            (_, Some(_)) => {}
            (_, None) => self.begin_closed(number, now),
        }
    }

    /// Counts every whole answer and returns how many bytes they took.
    fn read_answers(
        &mut self,
        number: u32,
        input: &[u8],
        now: u64,
    ) -> std::result::Result<usize, (Failure, String)> {
        let connection = &mut self.connections[number as usize];
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            let answer = match self.reader.read(rest, false) {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(why) => return Err((Failure::Broken, format!("{why}: {}", shown(rest)))),
            };
            let Some(since) =
                self.asked.pop(number, connection).filter(|_| connection.state != State::Closing)
            else {
                return Err((Failure::Unasked, shown(rest)));
            };
            self.in_flight -= 1;
            let counts = since >= self.count_from_ns;
            self.tally.answer(&rest[..answer.bytes], answer, since, now, counts);
            (connection.served, connection.moved_ns) = (true, now);
            used += answer.bytes;
            if answer.closes || self.plan.connection_each {
                connection.state = State::Closing;
            }
        }
        Ok(used)
    }

    /// The server has closed its side: nothing more will come.
    fn ended(&mut self, number: u32) {
        let now = self.now_ns();
        let connection = &mut self.connections[number as usize];
        let unread = std::mem::take(&mut connection.unread);
        if connection.in_flight > 0
            && let Ok(Some(answer)) = self.reader.read(&unread, true)
            && let Some(since) = self.asked.pop(number, connection)
        {
            // An answer whose end is the connection's.
            self.in_flight -= 1;
            let counts = since >= self.count_from_ns;
            self.tally.answer(&unread, answer, since, now, counts);
            connection.served = true;
        }
        if connection.in_flight > 0 {
            let what = match connection.unread.len().max(unread.len()) {
                0 => "the server closed instead of answering".to_owned(),
                _ => format!("the server closed within {}", shown(&unread)),
            };
            return self.broke(number, Failure::ClosedEarly, now, || what);
        }
        let served = connection.served;
        self.close(number, now);
        if !self.running {
            self.tally.fail(Failure::ClosedEarly, || "the server closed a new connection".into());
        } else if self.plan.connection_each {
            match self.pace {
                Some(_) => self.free.push_back(number),
                None => self.begin_closed(number, now),
            }
        } else if self.sending {
            self.tally.reopened += 1;
            // One that was closed unused would be closed again at once: not in a circle.
            if served { self.open_or_retry(number) } else { self.retry.push(number) }
        }
    }

    fn socket_failed(&mut self, number: u32, error: &io::Error) {
        let connecting = self.connections[number as usize].state == State::Connecting;
        let failure = match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe if !connecting => {
                Failure::Reset
            }
            _ if connecting => Failure::Connect,
            _ => Failure::Reset,
        };
        let now = self.now_ns();
        self.broke(number, failure, now, || error.to_string());
    }

    /// A connection can't go on: what it asked is lost. It is tried again at the next tick.
    fn broke(&mut self, number: u32, failure: Failure, now: u64, what: impl FnOnce() -> String) {
        self.tally.fail(failure, what);
        self.close(number, now);
        self.retry.push(number);
    }

    fn close(&mut self, number: u32, now: u64) {
        let connection = &mut self.connections[number as usize];
        while let Some(since) = self.asked.pop(number, connection) {
            self.in_flight -= 1;
            self.tally.lose(since, now);
        }
        match connection.state {
            State::Connecting => self.connecting -= 1,
            State::Open | State::Closing => self.open -= 1,
            State::Closed => {}
        }
        connection.close();
    }

    fn reopen(&mut self, number: u32, now: u64) {
        if !self.plan.connection_each {
            return self.open_or_retry(number);
        }
        match self.pace {
            Some(_) => self.free.push_back(number),
            None => self.begin_closed(number, now),
        }
    }

    /// Opens a connection that is kept; where that is impossible at the moment, later.
    fn open_or_retry(&mut self, number: u32) {
        if let Err(error) = self.open(number) {
            // A Unix socket whose queue is full says so at once. TCP's would keep us waiting.
            if error.kind() != io::ErrorKind::WouldBlock {
                self.tally.fail(Failure::Connect, || error.to_string());
            }
            self.retry.push(number);
        }
    }

    fn open(&mut self, number: u32) -> io::Result<()> {
        let nodelay = !self.plan.connection_each;
        let socket = loop {
            match Socket::connect(&self.plan.peer, self.source(number), nodelay) {
                // All ports of this address are in use, or wait for the end of their quarantine.
                Err(error)
                    if error.kind() == io::ErrorKind::AddrNotAvailable
                        && self.plan.loopback
                        && self.sources_used_up < SOURCES_MAX =>
                {
                    self.sources_used_up += 1;
                }
                done => break done?,
            }
        };
        self.epoll.add(&socket, number)?;
        let connection = &mut self.connections[number as usize];
        (connection.socket, connection.state) = (Some(socket), State::Connecting);
        connection.moved_ns = self.origin.elapsed().as_nanos() as u64;
        self.connecting += 1;
        Ok(())
    }

    /// The loopback address to come from, if one has too few ports. `None`: the kernel's choice.
    fn source(&self, number: u32) -> Option<Ipv4Addr> {
        let source = number / SOURCE_CONNECTIONS_MAX + self.sources_used_up;
        if source == 0 || !self.plan.loopback {
            return None;
        }
        Some(Ipv4Addr::new(127, 0, 0, (1 + source % (SOURCES_MAX + 1)) as u8))
    }

    fn finish(mut self, now: u64, counted: Option<(u64, u64)>, spun_ns: u64) -> Seen {
        let (cpu_ns, from_ns) = counted.unwrap_or((thread_cpu_ns(), now));
        let cpu_ns = thread_cpu_ns().saturating_sub(cpu_ns).saturating_sub(spun_ns);
        for number in 0..self.connections.len() as u32 {
            let connection = &mut self.connections[number as usize];
            while let Some(since) = self.asked.pop(number, connection) {
                self.tally.fail(Failure::Unanswered, || "no answer until the end".into());
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

/// One of `parts` shares of a number that differ by one at most.
fn share(number: u64, part: usize, parts: usize) -> u64 {
    number / parts as u64 + u64::from((part as u64) < number % parts as u64)
}
