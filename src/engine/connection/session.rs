//! Serves a connection: reads, serves and writes until there is nothing more to read or no room to
//! write.

use std::mem;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::buffers::{buffer_with, take_front, take_kept};
use super::ending::{close, linger, put_back};
use super::progress::{self, Measured, Progress, START};
use super::state::{Closing, Connection, Phase, TurnState, queued_bytes};
use super::turn::Turn;
use crate::engine::core::{Action, Leader, Service};
use crate::engine::counts::CloseReason;
use crate::engine::http::{Framing, Head, ParseError, Problem, parse_head, write_request_id};
use crate::engine::reactor::Token;
use crate::engine::response_options::ResponseOptions;
use crate::engine::settings::Limits;
use crate::limits::{
    LINGER_BYTES_MAX, OUT_BUFFER_BYTES_MAX, READ_BUFFER_BYTES, READS_PER_TURN_MAX,
};

/// Whether the connection stays open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Yes,
    No,
}

/// The result of a flush.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    All,
    Blocked,
    Broken,
}

/// The result of serving the next request.
enum Served {
    /// The answer, or several answers, are in the out-buffer.
    Answered,
    /// The request is incomplete.
    Incomplete,
    /// The request waits.
    Waits,
}

/// A connection that is being served.
pub(super) struct Session<'a, S: Service> {
    pub(super) leader: &'a Leader<S>,
    pub(super) token: Token,
    pub(super) connection: Box<Connection>,
    pub(super) input: Vec<u8>,
    pub(super) out: Vec<u8>,
    turn: Turn,
    /// Requests served in this session.
    requests: u64,
}

impl<'a, S: Service> Session<'a, S> {
    /// Takes a connection with its kept bytes, and buffers of the core.
    pub(super) fn new(
        leader: &'a Leader<S>,
        token: Token,
        mut connection: Box<Connection>,
    ) -> Self {
        let core = leader.core;
        let input = buffer_with(&mut connection.input, || core.take_input());
        let out = buffer_with(&mut connection.output, || core.take_buffer());
        let at_once = connection.turn_state == TurnState::AtOnce;
        let turn = if at_once { Turn::PROMPT } else { Turn::DEFERRED };
        Self { leader, token, connection, input, out, turn, requests: 0 }
    }

    /// Serves the connection as far as possible, and puts it back or closes it.
    pub(super) fn run(mut self) {
        let keep = self.drive();
        self.end(keep);
    }

    /// Resumes the request that waited, and then continues with the connection.
    pub(super) fn resume(mut self, waiting: S::Waiting) {
        let core = self.leader.core;
        let keep = match self.leader.service.resume(core, self.token, waiting, &mut self.out) {
            Action::Wait(waiting) => {
                self.connection.of_phase = self.leader.keep(waiting);
                Keep::Yes
            }
            Action::Answered => {
                self.turn = Turn::PROMPT;
                self.after_answer(0);
                self.drive()
            }
        };
        self.end(keep);
    }

    /// Reads, serves and writes until there is nothing more to read or no room to write.
    fn drive(&mut self) -> Keep {
        if S::WANTS_PEER_ADDRESS {
            let peer = rustix::net::getpeername(&self.connection.socket).ok().flatten();
            self.leader.core.peer_address.set(peer.and_then(|peer| peer.try_into().ok()));
        }
        if self.must_shake_hands()
            && let Some(keep) = self.shake_hands()
        {
            return keep;
        }
        let mut reads = 0;
        loop {
            if self.connection.phase == Phase::Linger {
                return self.discard();
            }
            match self.flush() {
                Flushed::Broken => return Keep::No,
                _ if self.connection.phase == Phase::Waiting => return Keep::Yes,
                Flushed::Blocked => {
                    if self.connection.phase != Phase::Write {
                        self.await_room();
                    }
                    return Keep::Yes;
                }
                Flushed::All => self.resume_phase(),
            }
            match self.connection.closing {
                Closing::No => {}
                Closing::Now => return Keep::No,
                Closing::Linger => {
                    linger(self.leader.core, &mut self.connection);
                    continue;
                }
            }
            if self.turn.is_over() {
                return self.yield_turn();
            }
            if self.serve_input() || self.connection.phase == Phase::Waiting {
                continue;
            }
            if self.connection.ended {
                self.say_goodbye();
                return Keep::No;
            }
            self.note_events();
            if !self.connection.readable {
                if !self.turn.was_long() {
                    self.connection.turn_state = TurnState::AtOnce;
                }
                return Keep::Yes;
            }
            if reads == READS_PER_TURN_MAX {
                return self.yield_turn();
            }
            reads += 1;
            if !self.read() {
                return Keep::No;
            }
        }
    }

    /// Ends the turn, since other connections wait: this one gets another turn later.
    pub(super) fn yield_turn(&mut self) -> Keep {
        self.connection.turn_state = TurnState::Waiting;
        self.leader.core.reactor.defer(self.token);
        Keep::Yes
    }

    /// Ends the turn until the next tick.
    fn rest(&mut self) -> Keep {
        self.connection.turn_state = TurnState::Waiting;
        self.leader.core.reactor.defer_until_tick(self.token);
        Keep::Yes
    }

    /// Returns the buffers, and puts the connection back or closes it.
    fn end(mut self, keep: Keep) {
        let core = self.leader.core;
        self.note_events();
        core.counts.requests.add(self.requests);
        if keep == Keep::No {
            if self.connection.phase == Phase::Waiting {
                self.leader.cancel(self.connection.of_phase);
            }
            let answered = self.connection.closing != Closing::No;
            close(
                core,
                self.token,
                if answered { CloseReason::Answered } else { CloseReason::Client },
            );
        } else {
            if !self.input.is_empty() {
                self.connection.input = take_kept(&mut self.input);
            }
            if !self.out.is_empty() {
                self.connection.output = take_kept(&mut self.out);
            }
            put_back(core, self.token, self.connection);
        }
        core.give_input(self.input);
        core.give_buffer(self.out);
    }

    pub(super) fn limits(&self) -> &'static Limits {
        &self.leader.core.engine.limits
    }

    pub(super) fn set_phase(&mut self, phase: Phase, timeout_ms: u64) {
        self.connection.phase = phase;
        self.connection.deadline_ms = self.leader.core.clock.now_ms() + timeout_ms;
    }

    fn await_room(&mut self) {
        self.set_phase(Phase::Write, self.limits().write_timeout_ms());
        self.connection.of_phase = queued_bytes(&self.connection.socket);
    }

    /// After the client has read everything: returns to the phase before it stopped reading.
    fn resume_phase(&mut self) {
        if self.connection.phase == Phase::Write {
            let limits = self.limits();
            match self.connection.progress {
                Progress::Head { .. } if self.input.is_empty() => {
                    self.set_phase(Phase::Idle, limits.idle_timeout_ms());
                }
                Progress::Head { .. } => self.set_phase(Phase::Head, limits.head_timeout_ms()),
                _ => self.set_phase(Phase::Body, limits.body_timeout_ms()),
            }
        }
    }

    /// Takes over the events that came while the leader had the connection.
    pub(super) fn note_events(&mut self) {
        let noted = self.leader.core.connections.borrow_mut().take_noted(self.token);
        self.connection.note(noted);
    }

    /// Reads once. `false`: the connection is broken.
    fn read(&mut self) -> bool {
        if self.connection.secure {
            return self.read_records();
        }
        if self.input.capacity() == 0 {
            self.input = self.leader.core.take_input();
        }
        // No more than the rest of the request, or a buffer that fits a head: bytes after a waiting
        // request are kept with the connection.
        let wanted = match &self.connection.progress {
            Progress::Head { .. } => READ_BUFFER_BYTES,
            Progress::Length { total_bytes } => *total_bytes,
            Progress::Chunked(_) => 2 * READ_BUFFER_BYTES,
        };
        self.input.reserve_exact(wanted.saturating_sub(self.input.len()));
        let room = self.input.capacity() - self.input.len();
        debug_assert!(room > 0, "a request within its bounds leaves room to read");
        if room == 0 {
            return false;
        }
        let before = self.input.len();
        let alive = self.connection.receive(&mut self.input);
        self.leader.core.counts.received_bytes.add((self.input.len() - before) as u64);
        alive
    }

    /// Writes pending answers: often there are none.
    #[inline]
    fn flush(&mut self) -> Flushed {
        if self.out.is_empty() {
            return Flushed::All;
        }
        if self.connection.secure { self.flush_records() } else { self.write_out().0 }
    }

    /// Writes pending answers. Returns how far that went, and the number of bytes. Inlined, since
    /// every answer passes here.
    #[inline(always)]
    pub(super) fn write_out(&mut self) -> (Flushed, usize) {
        let mut written = 0;
        let flushed = loop {
            if written == self.out.len() {
                break Flushed::All;
            }
            match send(&self.connection.socket, &self.out[written..], SendFlags::NOSIGNAL) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break Flushed::Blocked,
                Err(_) => break Flushed::Broken,
            }
        };
        self.leader.core.counts.sent_bytes.add(written as u64);
        take_front(&mut self.out, written);
        if self.connection.phase == Phase::Write {
            self.connection.of_phase = self.connection.of_phase.saturating_add(written as u32);
        }
        (flushed, written)
    }

    /// Serves the complete requests in order. `true`: there is something to write before
    /// continuing.
    fn serve_input(&mut self) -> bool {
        let mut start = 0;
        while self.connection.closing == Closing::No
            && start < self.input.len()
            && self.out.len() < OUT_BUFFER_BYTES_MAX
            && !self.turn.is_over()
        {
            match self.serve_next(&mut start) {
                Ok(Served::Answered) => {}
                Ok(Served::Incomplete | Served::Waits) => break,
                Err(reject) => {
                    let (core, code) = (self.leader.core.index, reject.kind.code);
                    tracing::debug!(core, code, detail = reject.detail, "bad request");
                    let date = self.leader.core.date.borrow();
                    self.requests += 1;
                    reject.write(&self.input[start..], &date, &mut self.out);
                    self.connection.closing = Closing::Linger;
                    break;
                }
            }
        }
        take_front(&mut self.input, start);
        !self.out.is_empty() || self.connection.closing != Closing::No
    }

    /// Serves the next request, or several, and moves `start` past them.
    fn serve_next(&mut self, start: &mut usize) -> Result<Served, ParseError> {
        let action = match self.handle_whole(start)? {
            Some(action) => action,
            None => match self.handle_measured(start)? {
                Some(action) => action,
                None => return Ok(Served::Incomplete),
            },
        };
        match action {
            Action::Answered => {}
            Action::Wait(waiting) => {
                self.suspend(waiting);
                return Ok(Served::Waits);
            }
        }
        self.after_answer(*start);
        Ok(Served::Answered)
    }

    /// Keeps a waiting request with its connection. No deadline runs meanwhile.
    fn suspend(&mut self, waiting: S::Waiting) {
        let connection = &mut self.connection;
        connection.phase = Phase::Waiting;
        connection.of_phase = self.leader.keep(waiting);
        connection.deadline_ms = u64::MAX;
    }

    /// Runs after an answer; the next request begins at `start` of the input.
    fn after_answer(&mut self, start: usize) {
        if self.leader.core.leaving() {
            // The client doesn't know yet, and may be sending the next request.
            self.connection.closing = Closing::Linger;
        } else if self.connection.closing == Closing::Now {
            self.note_events();
            if start < self.input.len() || self.connection.readable {
                self.connection.closing = Closing::Linger;
            }
        }
        self.set_phase(Phase::Idle, self.limits().idle_timeout_ms());
    }

    /// The common case: serves requests that are complete in the input and not chunked, up to one
    /// that waits or is the last. Each head is parsed once. A head that repeats the one before it
    /// byte by byte, as in a pipeline, is not parsed at all. `None`: the next request is not of
    /// this kind.
    fn handle_whole(
        &mut self,
        start: &mut usize,
    ) -> Result<Option<Action<S::Waiting>>, ParseError> {
        if !matches!(self.connection.progress, Progress::Head { seen_bytes: 0 }) {
            return Ok(None);
        }
        let core = self.leader.core;
        let secure = self.connection.secure;
        let mut answered = false;
        let mut known: Option<Head<'_>> = None;
        while *start < self.input.len()
            && self.out.len() < OUT_BUFFER_BYTES_MAX
            && !self.turn.is_over()
        {
            let rest = &self.input[*start..];
            if !known.as_ref().is_some_and(|head| rest.starts_with(head.bytes)) {
                known =
                    parse_head(rest)?.filter(|head| head.problem_before_routing(secure).is_none());
            }
            let Some(head) = &known else { break };
            let behind = &rest[head.bytes.len()..];
            let body = match head.framing {
                Framing::None => &behind[..0],
                Framing::Length(bytes) => match behind.get(..bytes as usize) {
                    Some(body) => body,
                    None => break,
                },
                Framing::Chunked => break,
            };
            *start += head.bytes.len() + body.len();
            self.turn.count();
            self.requests += 1;
            let action = self.leader.service.serve(core, self.token, head, body, &mut self.out);
            if !head.keep_alive {
                self.connection.closing = Closing::Now;
            }
            if let Action::Wait(_) = action {
                return Ok(Some(action));
            }
            answered = true;
            if !head.keep_alive || core.leaving() {
                break;
            }
        }
        Ok(answered.then_some(Action::Answered))
    }

    /// Where the request at `start` ends: bytes of its head and, unless it is chunked, of its body.
    /// `None`: not known yet.
    fn measure(&mut self, start: usize) -> Result<Option<(usize, usize)>, ParseError> {
        let progress = &mut self.connection.progress;
        match progress::measure(progress, &mut self.input, start, &mut self.out)? {
            Measured::Whole { head_bytes, body_bytes } => {
                return Ok(Some((head_bytes, body_bytes)));
            }
            Measured::Head if self.connection.phase != Phase::Head => {
                self.set_phase(Phase::Head, self.limits().head_timeout_ms());
            }
            Measured::BodyBegins => self.set_phase(Phase::Body, self.limits().body_timeout_ms()),
            Measured::Head | Measured::AsBefore => {}
        }
        Ok(None)
    }

    /// Serves a request of any other kind; its framing is determined step by step.
    fn handle_measured(
        &mut self,
        start: &mut usize,
    ) -> Result<Option<Action<S::Waiting>>, ParseError> {
        let Some((head_bytes, body_bytes)) = self.measure(*start)? else { return Ok(None) };
        let progress = mem::replace(&mut self.connection.progress, START);
        let request = &self.input[*start..*start + head_bytes + body_bytes];
        let Some(head) = parse_head(request)? else { return Ok(None) };
        let body = match &progress {
            Progress::Chunked(chunked) => &chunked.body[..],
            _ => &request[head_bytes..],
        };
        if !head.keep_alive {
            self.connection.closing = Closing::Now;
        }
        *start += head_bytes + body_bytes;
        self.turn.count();
        let core = self.leader.core;
        self.requests += 1;
        if let Some(kind) = head.problem_before_routing(self.connection.secure) {
            let (options, answer_at) = (ResponseOptions::of(core, &head), self.out.len());
            Problem::of(kind).write(&options.context(&core.date.borrow()), &mut self.out);
            if let Some(trace) = head.trace() {
                write_request_id(trace.request_id(), answer_at, &mut self.out);
            }
            return Ok(Some(Action::Answered));
        }
        Ok(Some(self.leader.service.serve(core, self.token, &head, body, &mut self.out)))
    }

    /// Reads and discards what a client still sends after its last answer, at most one turn per
    /// tick. A client that sends without end is slowed down by its own system, and costs hardly
    /// anything while it has a connection.
    fn discard(&mut self) -> Keep {
        let mut scratch = self.leader.core.take_buffer();
        let mut reads = 0;
        let keep = loop {
            if reads == READS_PER_TURN_MAX {
                break self.rest();
            }
            reads += 1;
            scratch.clear();
            match rustix::io::read(&self.connection.socket, spare_capacity(&mut scratch)) {
                Ok(0) => break Keep::No,
                Ok(count) => {
                    self.connection.of_phase += count as u32;
                    if self.connection.of_phase > LINGER_BYTES_MAX {
                        break Keep::No;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.connection.readable = false;
                    break if reads > 1 { self.rest() } else { Keep::Yes };
                }
                Err(_) => break Keep::No,
            }
        };
        self.leader.core.give_buffer(scratch);
        self.input.clear();
        keep
    }
}
