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

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::core::{Core, Worker};
use crate::gate::{Readiness, Token};
use crate::http::{Code, Reject};
use crate::limits::{
    CONNECTION_ENDS_MAX, CONNECTION_LOOKS_MAX, DRAIN_CLIENT_MS, DRAIN_LINGER_MS, LINGER_DEADLINE_MS,
};
use crate::listener;

mod progress;
mod session;
mod table;
mod wheel;

use progress::{Progress, START};
use session::Session;
pub use table::Connections;

/// What a connection is doing between two events; decides its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Body,
    Write,
    Linger,
}

/// In place of a step of the wheel.
const NOT_FILED: u32 = u32::MAX;

/// What is kept of a connection while nobody serves it.
struct Connection {
    socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    progress: Progress,
    phase: Phase,
    deadline_ms: u64,
    /// When the table looks at it, at the latest: before or soon after its deadline.
    filed_step: u32,
    /// The gate tells of it.
    watched: bool,
    readable: bool,
    hung_up: bool,
    ended: bool,
    closing: Closing,
    discarded_bytes: u32,
    queued_bytes: i32,
}

// What an idle connection costs, beside its place in the table.
const _: () = assert!(size_of::<Connection>() <= 96);

impl Connection {
    /// Whether the client has sent something that has not been read yet.
    fn has_unread(&self) -> bool {
        let peeked = recv(&self.socket, &mut [0u8; 1][..], RecvFlags::PEEK);
        matches!(peeked, Ok((1.., _)))
    }

    /// Sees to it that the gate tells of it from now on, also of what is there by now.
    fn watch(&mut self, core: &Core, token: Token) -> io::Result<()> {
        if !self.watched {
            core.gate.watch_connection(&self.socket, token)?;
            self.watched = true;
        }
        Ok(())
    }

    /// Leaves the client no more time than a drain has, which began then. What it has sent already is
    /// looked for before an idle one is closed.
    fn hurry(&mut self, began_ms: u64) {
        let latest_ms = match self.phase {
            Phase::Idle => began_ms,
            Phase::Head | Phase::Body | Phase::Write => began_ms + DRAIN_CLIENT_MS,
            Phase::Linger => return,
        };
        self.deadline_ms = self.deadline_ms.min(latest_ms);
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

/// Takes on an accepted connection. One that is not `admitted` is told so and closed.
///
/// Its first request is mostly here already, so it is read before the connection is watched; one
/// that is answered and closed at once never is.
pub fn add(core: &Core, socket: OwnedFd, admitted: bool) {
    let mut connection = Box::new(Connection {
        socket,
        input: Vec::new(),
        output: Vec::new(),
        progress: START,
        phase: Phase::Idle,
        deadline_ms: core.clock.now_ms() + core.shared.config.idle_timeout_ms,
        filed_step: NOT_FILED,
        watched: false,
        readable: true,
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
    let token = core.connections.borrow_mut().insert(connection, admitted);
    core.gate.look_at(token);
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
    Session::new(worker, token, connection).run();
}

/// Puts a connection back that was taken. One that can't be watched is closed.
fn put_back(core: &Core, token: Token, mut connection: Box<Connection>) {
    match connection.watch(core, token) {
        Ok(()) => core.connections.borrow_mut().put_back(token, connection),
        Err(error) => {
            tracing::debug!(core = core.index, %error, "a connection can't be watched");
            close(core, token);
        }
    }
}

/// Ends what has passed its deadline. What is more than its turn allows is ended at the next tick; a
/// drain allows more.
pub fn sweep(core: &Core) {
    let now_ms = core.clock.now_ms();
    let ends = if core.draining() { CONNECTION_LOOKS_MAX } else { CONNECTION_ENDS_MAX };
    let mut looks = CONNECTION_LOOKS_MAX;
    for _ in 0..ends {
        let overdue = core.connections.borrow_mut().next_overdue(now_ms, &mut looks);
        let Some(token) = overdue else { return };
        end_overdue(core, token);
    }
}

fn end_overdue(core: &Core, token: Token) {
    let taken = core.connections.borrow_mut().take(token, Readiness::default());
    let Some(mut connection) = taken else { return };
    let phase = connection.phase;
    match phase {
        Phase::Write if !core.draining() && has_taken(&mut connection) => {
            connection.deadline_ms = core.clock.now_ms() + core.shared.config.write_timeout_ms;
        }
        // Its next request is here already, and is answered first.
        Phase::Idle if core.draining() && connection.has_unread() => {}
        Phase::Head | Phase::Body => {
            let mut response = Vec::new();
            Reject::of(Code::RequestTimeout).write(&core.date.borrow(), &mut response);
            let _ = send(&connection.socket, &response, SendFlags::NOSIGNAL);
            linger(core, &mut connection);
        }
        Phase::Idle | Phase::Write | Phase::Linger => return close(core, token),
    }
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

/// The server drains: from now on connections that are between two requests are closed, and clients
/// that are in the middle of one, or don't take their answers, have little time left.
pub fn begin_drain(core: &Core) {
    core.connections.borrow_mut().begin_drain(core.clock.now_ms());
}

fn linger(core: &Core, connection: &mut Connection) {
    let _ = shutdown(&connection.socket, Shutdown::Write);
    connection.phase = Phase::Linger;
    let time_ms = if core.draining() { DRAIN_LINGER_MS } else { LINGER_DEADLINE_MS };
    connection.deadline_ms = core.clock.now_ms() + time_ms;
    connection.input = Vec::new();
    connection.readable = true;
}
