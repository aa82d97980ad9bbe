//! One connection: reads, has each request served in order, writes once a batch, keeps deadlines.
//!
//! An idle connection is a small entry in its core's table. Its buffers are the core's: taken when
//! it has something to read, given back when it is done. Only what has to be kept (half a request,
//! a response that the client does not take) is kept with the connection, within bounds.
//!
//! Descriptors are watched edge triggered, so `readable` is remembered here until a read has found
//! nothing more.
//!
//! While a request waits, its connection is back in the table with the number of a record; nothing more
//! is read, and no deadline runs.
//!
//! Architecture invariant: a connection is touched by its own core only.

use std::mem;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::core::{Core, Leader, Service};
use super::counts::End;
use super::gate::{Readiness, Token};
use crate::engine::http::{Kind, Reject};
use crate::limits::{CONNECTION_ENDS_MAX, CONNECTION_LOOKS_MAX, GIVE_WAY_PER_TICK, NEWCOMER_MS};

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
pub(super) use table::Entry;

use ending::{linger, put_back, send_last};
use proxied::take_header;
use session::Session;
pub use state::Beginning;
use state::{Closing, Connection, Drain, Phase, Turns, has_taken_enough};

/// Takes on an accepted connection. One that is refused is told so and closed.
///
/// Its first request is mostly here already, so it is read before the connection is watched; one
/// that is answered and closed at once never is.
pub fn add(core: &Core, socket: OwnedFd, begins: Beginning, entry: Entry) {
    let deadline_ms = core.clock.now_ms() + core.engine.limits.idle_timeout_ms();
    let mut connection = Box::new(Connection::new(socket, begins, deadline_ms));
    if let Entry::Refused(kind) = entry
        && !begins.secure
    {
        write_refusal(kind, &core.date.borrow(), &mut connection.output);
        connection.closing = Closing::Linger;
    }
    let token = core.connections.borrow_mut().insert(connection, entry);
    core.gate.look_at(token);
}

/// Something happened to a connection: serves it as far as that goes.
pub(super) fn on_event<S: Service>(leader: &Leader<S>, token: Token, readiness: Readiness) {
    let core = leader.core;
    let taken = core.connections.borrow_mut().take(token, readiness);
    let Some(mut connection) = taken else { return };
    connection.note(readiness);
    if connection.phase == Phase::Waiting && (readiness.broken || connection.output.is_empty()) {
        if readiness.broken {
            // Nobody will read the answer.
            leader.give_up(connection.of_phase);
            return close(core, token, End::Client);
        }
        return put_back(core, token, connection);
    }
    if connection.begins {
        match begin(core, token, connection, readiness) {
            Some(begun) => connection = begun,
            None => return,
        }
    }
    if connection.turns != Turns::AtOnce {
        if !readiness.turn {
            if mem::replace(&mut connection.turns, Turns::Waiting) == Turns::Later {
                core.gate.defer(token);
            }
            return put_back(core, token, connection);
        }
        connection.turns = Turns::Later;
    }
    if !readiness.turn && !connection.readable && connection.output.is_empty() {
        // Only room to write, and nothing to be written.
        return put_back(core, token, connection);
    }
    Session::new(leader, token, connection).run();
}

/// A connection that has not been read from: `None` while what must come before its first request is not
/// here, or it is not its turn.
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
    connection.begins = false;
    Some(connection)
}

/// A handshake costs more than a hundred requests: it has its turn behind those who are in, and of more
/// than can be made in time the last ones are turned away. One of which nothing has come has no turn.
#[cold]
fn await_handshake(core: &Core, token: Token, mut connection: Box<Connection>) {
    if connection.turns == Turns::Waiting {
        return put_back(core, token, connection);
    }
    match connection.peek() {
        Ok(1..) | Err(Errno::INTR) => {}
        Err(Errno::AGAIN) => {
            connection.readable = false;
            return put_back(core, token, connection);
        }
        Ok(0) | Err(_) => return close(core, token, End::Client),
    }
    if !core.handshakes.push(token) {
        return close(core, token, End::Handshakes);
    }
    connection.turns = Turns::Waiting;
    put_back(core, token, connection);
}

/// The request of a connection that waits may go on.
pub(super) fn on_answer<S: Service>(leader: &Leader<S>, token: Token) {
    let core = leader.core;
    let taken = core.connections.borrow_mut().take(token, Readiness::default());
    // The client may be gone by now.
    let Some(connection) = taken else { return };
    // In other phases that is no number of a record.
    let record = (connection.phase == Phase::Waiting).then_some(connection.of_phase);
    match record.and_then(|record| leader.take(record)) {
        Some(waiting) => Session::new(leader, token, connection).resume(waiting),
        None => put_back(core, token, connection),
    }
}

/// Once a tick: gives those that rest their turn, and ends what gives way and what has passed its
/// deadline. What is more than its turn allows is ended at the next tick; a drain allows more.
pub fn sweep(core: &Core) {
    core.gate.wake_resting();
    give_way(core, GIVE_WAY_PER_TICK);
    let now_ms = core.clock.now_ms();
    let ends = if core.draining() { CONNECTION_LOOKS_MAX } else { CONNECTION_ENDS_MAX };
    let mut looks = CONNECTION_LOOKS_MAX;
    for _ in 0..ends {
        let overdue = core.connections.borrow_mut().next_overdue(now_ms, &mut looks);
        let Some(token) = overdue else { return };
        end_overdue(core, token);
    }
}

/// Closes so many connections at most of the address that has most of them, while places run out.
/// Who has one connection alone never gives way.
pub(super) fn give_way(core: &Core, most: usize) {
    let engine = &core.engine;
    let most_open = engine.limits.connections_max();
    let enough = most_open - most_open / 10;
    let now_ms = core.clock.now_ms();
    let fresh_from_ms = (now_ms + engine.limits.idle_timeout_ms()).saturating_sub(NEWCOMER_MS);
    for _ in 0..most {
        if engine.connections.taken() <= enough {
            return;
        }
        let mut connections = core.connections.borrow_mut();
        let Some(address) = connections.who_gives_way(&engine.addresses) else { return };
        let token = connections.next_to_give_way(address, now_ms, fresh_from_ms);
        drop(connections);
        let Some(token) = token else { return };
        close(core, token, End::GaveWay);
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
        // Its next request is here already, and is answered first.
        Phase::Idle
            if core.draining()
                && (connection.turns == Turns::Waiting || connection.has_unread()) => {}
        // Without its header nothing can be said to it that a client would understand.
        Phase::Head if connection.proxied => return close(core, token, End::Timeout),
        Phase::Head | Phase::Body => {
            let mut response = Vec::new();
            let reject = Reject::of(Kind::REQUEST_TIMEOUT);
            reject.write(&connection.input, &core.date.borrow(), &mut response);
            send_last(&mut connection, response);
            linger(core, &mut connection);
        }
        Phase::Waiting => {}
        Phase::Idle => {
            send_last(&mut connection, Vec::new());
            return close(core, token, End::Idle);
        }
        Phase::Linger => return close(core, token, End::Answered),
        Phase::Handshake | Phase::Write => return close(core, token, End::Timeout),
    }
    put_back(core, token, connection);
}

/// The server drains: from now on connections that are between two requests are closed, and clients
/// that are in the middle of one, or don't take their answers, have little time left.
pub fn begin_drain(core: &Core) {
    let drain = Drain {
        began_ms: core.clock.now_ms(),
        idle_timeout_ms: core.engine.limits.idle_timeout_ms(),
    };
    core.connections.borrow_mut().begin_drain(drain);
}
