//! One connection: reads, serves each request in order, writes once per batch, keeps deadlines.
//!
//! An idle connection is a small entry in its core's table. Its buffers belong to the core: it
//! takes them when there is something to read, and returns them afterwards. Only data that must be
//! kept (half a request, an answer that the client does not read) stays with the connection, within
//! bounds.
//!
//! Descriptors are watched edge triggered, so `readable` is remembered here until a read has found
//! nothing more.
//!
//! While a request waits, its connection is back in the table with the index of a record. Nothing
//! more is read, and no deadline runs.
//!
//! Architecture invariant: only its own core touches a connection.

use std::mem;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::core::{Core, Leader, Service};
use super::counts::CloseReason;
use super::reactor::{Readiness, Token};
use crate::engine::http::{Kind, ParseError};
use crate::limits::{CONNECTION_ENDS_MAX, CONNECTION_LOOKS_MAX, EVICTIONS_PER_TICK, NEWCOMER_MS};

mod buffers;
mod ending;
mod progress;
mod proxied;
mod refusal;
mod secure;
mod session;
mod state;
pub(super) mod table;
mod turn;
mod wheel;

pub(super) use ending::close;
pub(super) use refusal::write_refusal;
pub(super) use table::Acceptance;

use ending::{linger, put_back, send_last};
use proxied::take_header;
use session::Session;
pub use state::Preamble;
use state::{Closing, Connection, Drain, Phase, TurnState, has_taken_enough};

/// Adds an accepted connection. A refused one gets its answer and is closed.
///
/// Mostly its first request has already arrived, so it is read before the connection is watched. A
/// connection that is answered and closed at once is never watched.
pub fn add(core: &Core, socket: OwnedFd, preamble: Preamble, acceptance: Acceptance) {
    let deadline_ms = core.clock.now_ms() + core.engine.limits.idle_timeout_ms();
    let mut connection = Box::new(Connection::new(socket, preamble, deadline_ms));
    if let Acceptance::Refused(kind) = acceptance
        && !preamble.secure
    {
        write_refusal(kind, &core.date.borrow(), &mut connection.output);
        connection.closing = Closing::Linger;
    }
    let token = core.connections.borrow_mut().insert(connection, acceptance);
    core.reactor.queue_first_read(token);
}

/// Handles an event of a connection: serves it as far as possible.
pub(super) fn on_event<S: Service>(leader: &Leader<S>, token: Token, readiness: Readiness) {
    let core = leader.core;
    let taken = core.connections.borrow_mut().take(token, readiness);
    let Some(mut connection) = taken else { return };
    connection.note(readiness);
    if connection.phase == Phase::Waiting && (readiness.broken || connection.output.is_empty()) {
        if readiness.broken {
            // The client can't read the answer.
            leader.cancel(connection.of_phase);
            return close(core, token, CloseReason::Client);
        }
        return put_back(core, token, connection);
    }
    if connection.awaits_preamble {
        match begin(core, token, connection, readiness) {
            Some(begun) => connection = begun,
            None => return,
        }
    }
    if connection.turn_state != TurnState::AtOnce {
        if !readiness.turn {
            if mem::replace(&mut connection.turn_state, TurnState::Waiting) == TurnState::Later {
                core.reactor.defer(token);
            }
            return put_back(core, token, connection);
        }
        connection.turn_state = TurnState::Later;
    }
    if !readiness.turn && !connection.readable && connection.output.is_empty() {
        // There is room to write, but nothing to write.
        return put_back(core, token, connection);
    }
    Session::new(leader, token, connection).run();
}

/// Handles the preamble of a new connection. `None` while the preamble is incomplete, or it is not
/// the connection's turn.
#[cold]
fn begin(
    core: &Core,
    token: Token,
    mut connection: Box<Connection>,
    readiness: Readiness,
) -> Option<Box<Connection>> {
    if connection.proxied {
        connection = take_header(core, token, connection)?;
    }
    if connection.secure && !readiness.turn {
        await_handshake(core, token, connection);
        return None;
    }
    connection.awaits_preamble = false;
    Some(connection)
}

/// Queues a connection for its handshake. A handshake costs more than a hundred requests, so it
/// comes after established connections. When too many wait, new ones are closed. A connection that
/// has sent nothing is not queued.
#[cold]
fn await_handshake(core: &Core, token: Token, mut connection: Box<Connection>) {
    if connection.turn_state == TurnState::Waiting {
        return put_back(core, token, connection);
    }
    match connection.peek() {
        Ok(1..) | Err(Errno::INTR) => {}
        Err(Errno::AGAIN) => {
            connection.readable = false;
            return put_back(core, token, connection);
        }
        Ok(0) | Err(_) => return close(core, token, CloseReason::Client),
    }
    if !core.handshakes.push(token) {
        return close(core, token, CloseReason::Handshakes);
    }
    connection.turn_state = TurnState::Waiting;
    put_back(core, token, connection);
}

/// Resumes the waiting request of a connection.
pub(super) fn on_answer<S: Service>(leader: &Leader<S>, token: Token) {
    let core = leader.core;
    let taken = core.connections.borrow_mut().take(token, Readiness::default());
    // The client may be gone by now.
    let Some(connection) = taken else { return };
    // In other phases `of_phase` is not the index of a record.
    let record = (connection.phase == Phase::Waiting).then_some(connection.of_phase);
    match record.and_then(|record| leader.take(record)) {
        Some(waiting) => Session::new(leader, token, connection).resume(waiting),
        None => put_back(core, token, connection),
    }
}

/// Runs once per tick: gives a turn to connections that waited for the tick, closes connections to
/// make room, and ends those past their deadline. The work per tick is bounded; the rest is done at
/// the next tick. A drain allows more.
pub fn sweep(core: &Core) {
    core.reactor.end_tick_wait();
    evict(core, EVICTIONS_PER_TICK);
    let now_ms = core.clock.now_ms();
    let ends = if core.draining() { CONNECTION_LOOKS_MAX } else { CONNECTION_ENDS_MAX };
    let mut looks = CONNECTION_LOOKS_MAX;
    for _ in 0..ends {
        let overdue = core.connections.borrow_mut().next_overdue(now_ms, &mut looks);
        let Some(token) = overdue else { return };
        end_overdue(core, token);
    }
}

/// While connections run out, closes up to `most` connections of the address that has most. The
/// only connection of an address is never closed for this.
pub(super) fn evict(core: &Core, most: usize) {
    let engine = &core.engine;
    let most_open = engine.limits.connections_max();
    let enough = most_open - most_open / 10;
    let now_ms = core.clock.now_ms();
    let fresh_from_ms = (now_ms + engine.limits.idle_timeout_ms()).saturating_sub(NEWCOMER_MS);
    for _ in 0..most {
        if engine.connections.in_use() <= enough {
            return;
        }
        let mut connections = core.connections.borrow_mut();
        let Some(address) = connections.address_to_evict(&engine.addresses) else { return };
        let token = connections.next_to_evict(address, now_ms, fresh_from_ms);
        drop(connections);
        let Some(token) = token else { return };
        close(core, token, CloseReason::Evicted);
    }
}

fn end_overdue(core: &Core, token: Token) {
    let taken = core.connections.borrow_mut().take(token, Readiness::default());
    let Some(mut connection) = taken else { return };
    let phase = connection.phase;
    match phase {
        Phase::Write
            if !core.draining()
                && has_taken_enough(&mut connection, core.engine.limits.write_timeout_ms()) =>
        {
            connection.deadline_ms = core.clock.now_ms() + core.engine.limits.write_timeout_ms();
        }
        // Its next request has arrived already, and is answered first.
        Phase::Idle
            if core.draining()
                && (connection.turn_state == TurnState::Waiting || connection.has_unread()) => {}
        // Without the header, the client would not understand an answer.
        Phase::Head if connection.proxied => return close(core, token, CloseReason::Timeout),
        Phase::Head | Phase::Body => {
            let mut response = Vec::new();
            let reject = ParseError::of(Kind::REQUEST_TIMEOUT);
            reject.write(&connection.input, &core.date.borrow(), &mut response);
            send_last(&mut connection, response);
            linger(core, &mut connection);
        }
        Phase::Waiting => {}
        Phase::Idle => {
            send_last(&mut connection, Vec::new());
            return close(core, token, CloseReason::Idle);
        }
        Phase::Linger => return close(core, token, CloseReason::Answered),
        Phase::Handshake | Phase::Write => return close(core, token, CloseReason::Timeout),
    }
    put_back(core, token, connection);
}

/// Begins a drain: closes idle connections, and leaves little time to clients that are in the
/// middle of a request or don't read their answers.
pub fn begin_drain(core: &Core) {
    let drain = Drain {
        began_ms: core.clock.now_ms(),
        idle_timeout_ms: core.engine.limits.idle_timeout_ms(),
    };
    core.connections.borrow_mut().begin_drain(drain);
}
