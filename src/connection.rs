//! One connection: reads, has each request served in order, writes once a batch, keeps deadlines.
//!
//! An idle connection is a small entry in its core's table. Its buffers are the core's: taken when
//! it has something to read, given back when it is done. Only what has to be kept (half a request,
//! a response that the client does not take) is kept with the connection, within bounds.
//!
//! Descriptors are watched edge triggered, so `readable` is remembered here until a read has found
//! nothing more.
//!
//! Architecture invariant: a connection is touched by its own core only, and while a worker serves
//! it by that worker only; events that come meanwhile are noted for it.

use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::core::{Core, Worker};
use crate::gate::{Readiness, Token};
use crate::handler::{self, Action};
use crate::http::{CONTINUE, ChunkedDecoder, Code, Framing, Head, Reject, Version, parse_head};
use crate::limits::{
    BODY_BYTES_MAX, HEAD_BYTES_MAX, LINGER_BYTES_MAX, LINGER_DEADLINE_MS, OUT_BUFFER_BYTES_MAX,
    READS_PER_TURN_MAX, REQUEST_LINE_BYTES_MAX,
};
use crate::listener;

/// Growth of an unfinished head after which it is looked at again though no line has ended.
const HEAD_STEP_BYTES: usize = 512;

/// What a connection is doing between two events; decides its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Body,
    Write,
    Linger,
}

/// How far the request at the start of the input has come.
enum Progress {
    /// Its head is incomplete; this much was there when it was last looked at.
    Head { seen_bytes: usize },
    /// Its head and body together have this many bytes.
    Length { total_bytes: usize },
    /// Its head has been read, its chunked body is being decoded.
    Chunked(Box<Chunked>),
}

struct Chunked {
    head_bytes: usize,
    decoder: ChunkedDecoder,
    body: Vec<u8>,
    done: bool,
}

const START: Progress = Progress::Head { seen_bytes: 0 };

/// What is kept of a connection while nobody serves it.
struct Connection {
    socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    progress: Progress,
    phase: Phase,
    deadline_ms: u64,
    readable: bool,
    hung_up: bool,
    ended: bool,
    closing: Closing,
    discarded_bytes: usize,
    queued_bytes: i32,
}

impl Connection {
    /// Whether the client has sent something that has not been read yet.
    fn has_unread(&self) -> bool {
        let peeked = recv(&self.socket, &mut [0u8; 1][..], RecvFlags::PEEK);
        matches!(peeked, Ok((1.., _)))
    }

    fn note(&mut self, readiness: Readiness) {
        self.hung_up |= readiness.hung_up;
        self.readable |= readiness.readable || readiness.hung_up || readiness.broken;
    }
}

/// Whether and how the connection closes once its output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// The client has nothing more to say.
    Now,
    /// The client may still be sending: closing at once could take our answer away from it.
    Linger,
}

enum Place {
    Free,
    /// Between two events.
    Waiting(Box<Connection>),
    /// With a worker. What happened meanwhile.
    Served(Readiness),
}

struct Slot {
    generation: u32,
    /// Its connection is one of those that the server may have.
    admitted: bool,
    place: Place,
}

/// A core's connections.
#[derive(Default)]
pub struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Connections {
    /// Connections open on this core.
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.index as usize)?;
        (slot.generation == token.generation).then_some(slot)
    }

    fn insert(&mut self, connection: Box<Connection>, admitted: bool) -> Token {
        let place = Place::Waiting(connection);
        match self.free.pop() {
            Some(index) => {
                let slot = &mut self.slots[index as usize];
                slot.place = place;
                slot.admitted = admitted;
                Token { index, generation: slot.generation }
            }
            None => {
                self.slots.push(Slot { generation: 0, admitted, place });
                Token { index: self.slots.len() as u32 - 1, generation: 0 }
            }
        }
    }

    /// Takes a connection to serve it. `None`: it is gone, or a worker has it, who is told.
    fn take(&mut self, token: Token, readiness: Readiness) -> Option<Box<Connection>> {
        let slot = self.slot(token)?;
        match &mut slot.place {
            Place::Free => None,
            Place::Served(noted) => {
                noted.readable |= readiness.readable;
                noted.hung_up |= readiness.hung_up;
                noted.broken |= readiness.broken;
                None
            }
            Place::Waiting(_) => {
                match mem::replace(&mut slot.place, Place::Served(Readiness::default())) {
                    Place::Waiting(connection) => Some(connection),
                    _ => None,
                }
            }
        }
    }

    /// Frees the place of a connection. Returns whether it was admitted.
    fn remove(&mut self, token: Token) -> Option<bool> {
        let slot = self.slot(token)?;
        slot.place = Place::Free;
        slot.generation = (slot.generation + 1) & 0x7fff_ffff;
        let admitted = slot.admitted;
        self.free.push(token.index);
        Some(admitted)
    }
}

/// Takes on an accepted connection. One that is not `admitted` is told so and closed.
pub fn add(core: &Core, socket: OwnedFd, admitted: bool) -> std::io::Result<()> {
    let mut connection = Box::new(Connection {
        socket,
        input: Vec::new(),
        output: Vec::new(),
        progress: START,
        phase: Phase::Idle,
        deadline_ms: core.clock.now_ms() + core.shared.config.idle_timeout_ms,
        readable: false,
        hung_up: false,
        ended: false,
        closing: Closing::No,
        discarded_bytes: 0,
        queued_bytes: 0,
    });
    if !admitted {
        listener::refusal(core, &mut connection.output);
        connection.closing = Closing::Linger;
    }
    let mut connections = core.connections.borrow_mut();
    let token = connections.insert(connection, admitted);
    let Some(Slot { place: Place::Waiting(connection), .. }) = connections.slot(token) else {
        unreachable!("just inserted");
    };
    // The first event comes at once, since there is room to write.
    let watched = core.gate.watch_connection(&connection.socket, token);
    if watched.is_err() {
        connections.remove(token);
    }
    watched
}

/// Closes a connection whatever its state.
pub fn close(core: &Core, token: Token) {
    let removed = core.connections.borrow_mut().remove(token);
    if let Some(admitted) = removed {
        core.shared.counter(admitted).fetch_sub(1, Ordering::Relaxed);
    }
}

/// Something happened to a connection: serves it as far as that goes.
pub fn on_event(worker: &Worker, token: Token, readiness: Readiness) {
    let core = worker.core;
    let taken = core.connections.borrow_mut().take(token, readiness);
    let Some(mut connection) = taken else { return };
    connection.note(readiness);
    if !connection.readable && connection.output.is_empty() {
        // Only room to write, and nothing to be written.
        return put_back(core, token, connection);
    }
    let mut session =
        Session { worker, token, input: core.take_buffer(), out: core.take_buffer(), connection };
    session.input.append(&mut session.connection.input);
    session.out.append(&mut session.connection.output);
    session.connection.input = Vec::new();
    session.connection.output = Vec::new();
    let keep = session.drive();
    session.end(keep);
}

fn put_back(core: &Core, token: Token, connection: Box<Connection>) {
    if let Some(slot) = core.connections.borrow_mut().slot(token) {
        slot.place = Place::Waiting(connection);
    }
}

/// Ends what has passed its deadline.
pub fn sweep(core: &Core) {
    let now_ms = core.clock.now_ms();
    let slots = core.connections.borrow().slots.len();
    for index in 0..slots {
        let overdue = {
            let connections = core.connections.borrow();
            let slot = &connections.slots[index];
            match &slot.place {
                Place::Waiting(connection) if connection.deadline_ms <= now_ms => {
                    Some(Token { index: index as u32, generation: slot.generation })
                }
                _ => None,
            }
        };
        if let Some(token) = overdue {
            end_overdue(core, token);
        }
    }
}

fn end_overdue(core: &Core, token: Token) {
    let taken = core.connections.borrow_mut().take(token, Readiness::default());
    let Some(mut connection) = taken else { return };
    if connection.phase == Phase::Write && has_taken(&mut connection) {
        connection.deadline_ms = core.clock.now_ms() + core.shared.config.write_timeout_ms;
        return put_back(core, token, connection);
    }
    if !matches!(connection.phase, Phase::Head | Phase::Body) {
        return close(core, token);
    }
    let mut response = Vec::new();
    Reject::of(Code::RequestTimeout).write(&core.date.borrow(), &mut response);
    let _ = send(&connection.socket, &response, SendFlags::NOSIGNAL);
    linger(core, &mut connection);
    put_back(core, token, connection);
}

/// Whether the client has taken some of what the system holds for it since that was last noted. The
/// system tells of room to write only when there is much of it: of a client that takes its answers
/// slowly nothing may be heard for longer than the deadline.
fn has_taken(connection: &mut Connection) -> bool {
    let before = mem::replace(&mut connection.queued_bytes, queued_bytes(&connection.socket));
    connection.queued_bytes < before
}

/// Bytes that the system holds for a connection's client.
fn queued_bytes(socket: &OwnedFd) -> i32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (of a socket: SIOCOUTQ, tcp(7)) writes one int, which lives through the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if done == 0 { bytes } else { i32::MAX }
}

/// In a drain: closes the connections that are between two requests. One whose next request is here
/// already has that answered first.
pub fn close_idle(core: &Core) {
    let slots = core.connections.borrow().slots.len();
    for index in 0..slots {
        let idle = {
            let connections = core.connections.borrow();
            let slot = &connections.slots[index];
            let token = Token { index: index as u32, generation: slot.generation };
            match &slot.place {
                Place::Waiting(connection)
                    if connection.phase == Phase::Idle && !connection.has_unread() =>
                {
                    Some(token)
                }
                _ => None,
            }
        };
        if let Some(token) = idle {
            close(core, token);
        }
    }
}

fn linger(core: &Core, connection: &mut Connection) {
    let _ = shutdown(&connection.socket, Shutdown::Write);
    connection.phase = Phase::Linger;
    connection.deadline_ms = core.clock.now_ms() + LINGER_DEADLINE_MS;
    connection.input = Vec::new();
    connection.readable = true;
}

/// Whether the connection lives on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

/// How far a flush came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flushed {
    All,
    Blocked,
    Broken,
}

/// A worker serving a connection.
struct Session<'a> {
    worker: &'a Worker,
    token: Token,
    connection: Box<Connection>,
    input: Vec<u8>,
    out: Vec<u8>,
}

impl Session<'_> {
    /// Reads, serves and writes until there is nothing more to read or no room to write.
    fn drive(&mut self) -> Keep {
        let mut reads = 0;
        loop {
            if self.connection.phase == Phase::Linger {
                return self.discard();
            }
            match self.flush() {
                Flushed::Broken => return Keep::No,
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
                    linger(self.worker.core, &mut self.connection);
                    continue;
                }
            }
            if self.serve_input() {
                continue;
            }
            if self.connection.ended {
                return Keep::No;
            }
            self.note_events();
            if !self.connection.readable {
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

    /// There may be more to read, but others wait too: the core comes back to this connection.
    fn yield_turn(&self) -> Keep {
        let gate = &self.worker.core.gate;
        match gate.watch_again(&self.connection.socket, self.token) {
            Ok(()) => Keep::Yes,
            Err(_) => Keep::No,
        }
    }

    /// Gives the buffers back, and the connection to its table.
    fn end(mut self, keep: Keep) {
        let core = self.worker.core;
        self.note_events();
        if keep == Keep::No {
            close(core, self.token);
        } else {
            if !self.input.is_empty() {
                self.connection.input = self.input.as_slice().to_vec();
            }
            if !self.out.is_empty() {
                self.connection.output = self.out.as_slice().to_vec();
            }
            put_back(core, self.token, self.connection);
        }
        core.give_buffer(self.input);
        core.give_buffer(self.out);
    }

    fn config(&self) -> &'static crate::config::Config {
        &self.worker.core.shared.config
    }

    fn set_phase(&mut self, phase: Phase, timeout_ms: u64) {
        self.connection.phase = phase;
        self.connection.deadline_ms = self.worker.core.clock.now_ms() + timeout_ms;
    }

    fn await_room(&mut self) {
        self.set_phase(Phase::Write, self.config().write_timeout_ms);
        self.connection.queued_bytes = queued_bytes(&self.connection.socket);
    }

    /// After the client has taken everything: what it was doing before it stopped taking.
    fn resume_phase(&mut self) {
        if self.connection.phase == Phase::Write {
            let config = self.config();
            match self.connection.progress {
                Progress::Head { .. } if self.input.is_empty() => {
                    self.set_phase(Phase::Idle, config.idle_timeout_ms);
                }
                Progress::Head { .. } => self.set_phase(Phase::Head, config.head_timeout_ms),
                _ => self.set_phase(Phase::Body, config.body_timeout_ms),
            }
        }
    }

    /// Takes over what events brought while this worker had the connection.
    fn note_events(&mut self) {
        let mut connections = self.worker.core.connections.borrow_mut();
        if let Some(Slot { place: Place::Served(noted), .. }) = connections.slot(self.token) {
            self.connection.note(mem::take(noted));
        }
    }

    /// Reads once. `false`: the connection is broken.
    fn read(&mut self) -> bool {
        if self.input.capacity() == 0 {
            self.input = self.worker.core.take_buffer();
        }
        let room = self.input.capacity() - self.input.len();
        debug_assert!(room > 0, "a request within its bounds leaves room to read");
        if room == 0 {
            return false;
        }
        match rustix::io::read(
            &self.connection.socket,
            rustix::buffer::spare_capacity(&mut self.input),
        ) {
            Ok(0) => {
                self.connection.ended = true;
                self.connection.readable = false;
            }
            // Less than there was room for: that was all, and more will be a new edge, unless the
            // edge that tells of the end has come already.
            Ok(count) if count < room => self.connection.readable = self.connection.hung_up,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => self.connection.readable = false,
            Err(_) => return false,
        }
        true
    }

    /// Writes what there is to write.
    fn flush(&mut self) -> Flushed {
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
        self.out.drain(..written);
        if written > 0 && self.connection.phase == Phase::Write {
            // The client takes some: its time starts anew.
            self.await_room();
        }
        flushed
    }

    /// Serves the requests that are complete, in order. `true`: there is something to write, then
    /// it goes on.
    fn serve_input(&mut self) -> bool {
        let mut start = 0;
        while self.connection.closing == Closing::No && self.out.len() < OUT_BUFFER_BYTES_MAX {
            match self.serve_one(&mut start) {
                Ok(true) => {}
                Ok(false) => break,
                Err(reject) => {
                    reject.write(&self.worker.core.date.borrow(), &mut self.out);
                    self.connection.closing = Closing::Linger;
                    break;
                }
            }
        }
        self.input.drain(..start);
        !self.out.is_empty() || self.connection.closing != Closing::No
    }

    /// Serves the request at `start` and moves `start` behind it. `Ok(false)`: it is incomplete.
    fn serve_one(&mut self, start: &mut usize) -> Result<bool, Reject> {
        let (head_bytes, body_bytes) = match self.measure(*start)? {
            Some(measured) => measured,
            None => return Ok(false),
        };
        let progress = mem::replace(&mut self.connection.progress, START);
        let core = self.worker.core;
        let request = &self.input[*start..*start + head_bytes + body_bytes];
        let Some(head) = parse_head(request)? else { return Ok(false) };
        let body = match &progress {
            Progress::Chunked(chunked) => &chunked.body[..],
            _ => &request[head_bytes..],
        };
        if !head.keep_alive {
            self.connection.closing = Closing::Now;
        }
        let action = handler::handle(core, &head, body, &mut self.out);
        *start += head_bytes + body_bytes;
        match action {
            Action::Answered => {}
            Action::Wait(waiting) => {
                self.before_wait(start);
                waiting.wait(self.worker, &mut self.out);
            }
        }
        if core.draining() {
            // The client doesn't know yet, and may be sending the next one.
            self.connection.closing = Closing::Linger;
        } else if self.connection.closing == Closing::Now {
            self.note_events();
            if *start < self.input.len() || self.connection.readable {
                self.connection.closing = Closing::Linger;
            }
        }
        self.set_phase(Phase::Idle, self.config().idle_timeout_ms);
        Ok(true)
    }

    /// Finds where the request at `start` ends: bytes of its head and, unless it is chunked, of its
    /// body. `None`: not yet.
    fn measure(&mut self, start: usize) -> Result<Option<(usize, usize)>, Reject> {
        match &mut self.connection.progress {
            Progress::Head { seen_bytes } => {
                let input = &self.input[start..];
                let new = input.get(*seen_bytes..).unwrap_or(input);
                let reached = |bound| *seen_bytes < bound && bound <= input.len();
                if input.is_empty()
                    || (*seen_bytes > 0
                        && new.len() < HEAD_STEP_BYTES
                        && !reached(REQUEST_LINE_BYTES_MAX)
                        && !reached(HEAD_BYTES_MAX)
                        && memchr::memchr(b'\n', new).is_none())
                {
                    return Ok(None);
                }
                match parse_head(input)? {
                    Some(head) => {
                        let facts = Facts::of(&head);
                        self.begin_body(start, facts)
                    }
                    None => {
                        *seen_bytes = input.len();
                        if self.connection.phase != Phase::Head {
                            self.set_phase(Phase::Head, self.config().head_timeout_ms);
                        }
                        Ok(None)
                    }
                }
            }
            Progress::Length { total_bytes } => {
                let total_bytes = *total_bytes;
                if self.input.len() - start < total_bytes {
                    return Ok(None);
                }
                let head = parse_head(&self.input[start..])?;
                Ok(head.map(|head| (head.head_bytes, total_bytes - head.head_bytes)))
            }
            Progress::Chunked(chunked) => {
                decode(chunked, &mut self.input, start)?;
                Ok(chunked.done.then_some((chunked.head_bytes, 0)))
            }
        }
    }

    /// A head is complete: so is the request, or its body is awaited from now on.
    fn begin_body(&mut self, start: usize, facts: Facts) -> Result<Option<(usize, usize)>, Reject> {
        let Facts { head_bytes, framing, wants_continue } = facts;
        let complete = match framing {
            Framing::None => return Ok(Some((head_bytes, 0))),
            Framing::Length(body_bytes) => {
                // `parse_head` refuses more than BODY_BYTES_MAX.
                let body_bytes = (body_bytes as usize).min(BODY_BYTES_MAX);
                let total_bytes = head_bytes + body_bytes;
                if self.input.len() - start >= total_bytes {
                    return Ok(Some((head_bytes, body_bytes)));
                }
                self.connection.progress = Progress::Length { total_bytes };
                None
            }
            Framing::Chunked => {
                let mut chunked = Box::new(Chunked {
                    head_bytes,
                    decoder: ChunkedDecoder::new(),
                    body: Vec::new(),
                    done: false,
                });
                decode(&mut chunked, &mut self.input, start)?;
                let done = chunked.done;
                self.connection.progress = Progress::Chunked(chunked);
                done.then_some((head_bytes, 0))
            }
        };
        if complete.is_none() {
            self.set_phase(Phase::Body, self.config().body_timeout_ms);
            if wants_continue && self.input.len() - start == head_bytes {
                self.out.extend_from_slice(CONTINUE);
            }
        }
        Ok(complete)
    }

    /// Before the worker waits for the ledger: answers that are ready go out, and buffers that hold
    /// nothing go back.
    fn before_wait(&mut self, start: &mut usize) {
        self.flush();
        let core = self.worker.core;
        self.input.drain(..*start);
        *start = 0;
        if self.input.is_empty() {
            core.give_buffer(mem::take(&mut self.input));
        }
        if self.out.is_empty() {
            core.give_buffer(mem::take(&mut self.out));
        }
    }

    /// Reads and forgets what a client still sends after its connection was answered for good.
    fn discard(&mut self) -> Keep {
        let mut scratch = self.worker.core.take_buffer();
        let mut reads = 0;
        let keep = loop {
            if reads == READS_PER_TURN_MAX {
                break self.yield_turn();
            }
            reads += 1;
            scratch.clear();
            match rustix::io::read(
                &self.connection.socket,
                rustix::buffer::spare_capacity(&mut scratch),
            ) {
                Ok(0) => break Keep::No,
                Ok(count) => {
                    self.connection.discarded_bytes += count;
                    if self.connection.discarded_bytes > LINGER_BYTES_MAX {
                        break Keep::No;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.connection.readable = false;
                    break Keep::Yes;
                }
                Err(_) => break Keep::No,
            }
        };
        self.worker.core.give_buffer(scratch);
        self.input.clear();
        keep
    }
}

/// What the framing of a request needs of its head, without borrowing it.
struct Facts {
    head_bytes: usize,
    framing: Framing,
    wants_continue: bool,
}

impl Facts {
    fn of(head: &Head<'_>) -> Self {
        Self {
            head_bytes: head.head_bytes,
            framing: head.framing,
            wants_continue: head.expect_continue && head.version == Version::Http11,
        }
    }
}

/// Decodes what has come of a chunked body and takes it out of the input.
fn decode(chunked: &mut Chunked, input: &mut Vec<u8>, start: usize) -> Result<(), Reject> {
    if !chunked.done {
        let body_at = start + chunked.head_bytes;
        let (consumed, done) = chunked.decoder.feed(&input[body_at..], &mut chunked.body)?;
        input.drain(body_at..body_at + consumed);
        chunked.done = done;
    }
    Ok(())
}
