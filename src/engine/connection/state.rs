//! The state of a connection that is not being served.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::progress::{Progress, START};
use crate::engine::reactor::{Reactor, Readiness, Token};
use crate::engine::tls::Tls;
use crate::limits::{DRAIN_CLIENT_MS, DRAIN_NEWCOMER_MS, TAKEN_BYTES_PER_S_MIN};

/// What comes before the first request of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Preamble {
    /// A TLS handshake.
    pub secure: bool,
    /// A PROXY header, before all else.
    pub proxied: bool,
}

/// What a connection is doing between two events; it determines the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// The handshake has begun.
    Handshake,
    Head,
    Body,
    Write,
    Linger,
    /// Its request waits for its answer.
    Waiting,
}

/// When a connection with an event is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnState {
    /// In the round in which the event comes.
    AtOnce,
    /// After the others: it had more to do than one turn allows.
    Later,
    /// It has had its turn, or has an event, and waits for its turn.
    Waiting,
}

/// In place of a step of the wheel: not scheduled.
pub(super) const UNSCHEDULED: u32 = u32::MAX;

/// The state of a connection that is not being served.
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// The TLS state, from the first byte on.
    pub(super) tls: Option<Box<Tls>>,
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    pub(super) progress: Progress,
    pub(super) phase: Phase,
    pub(super) deadline_ms: u64,
    /// The step at which the table checks it, at the latest: before or soon after its deadline.
    pub(super) scheduled_step: u32,
    /// The reactor watches it.
    pub(super) watched: bool,
    pub(super) readable: bool,
    pub(super) hung_up: bool,
    pub(super) ended: bool,
    /// It has never sent a byte, or nothing since its handshake.
    pub(super) silent: bool,
    /// Something must come before its first request.
    pub(super) awaits_preamble: bool,
    /// It uses TLS.
    pub(super) secure: bool,
    /// It begins with a PROXY header that has not been read yet.
    pub(super) proxied: bool,
    pub(super) turn_state: TurnState,
    pub(super) closing: Closing,
    /// Depends on the phase. [`Phase::Linger`]: number of discarded bytes. [`Phase::Write`]: bytes
    /// that the system would hold for the client if it had read none since that was last noted.
    /// [`Phase::Waiting`]: the index of its record.
    pub(super) of_phase: u32,
}

// The memory of an idle connection, besides its slot in the table.
const _: () = assert!(size_of::<Connection>() <= 104);

impl Connection {
    /// A connection that has just been accepted.
    pub(super) fn new(socket: OwnedFd, preamble: Preamble, deadline_ms: u64) -> Self {
        Self {
            socket,
            tls: None,
            input: Vec::new(),
            output: Vec::new(),
            progress: START,
            phase: Phase::Idle,
            deadline_ms,
            scheduled_step: UNSCHEDULED,
            watched: false,
            readable: true,
            hung_up: false,
            ended: false,
            silent: true,
            awaits_preamble: preamble.secure || preamble.proxied,
            secure: preamble.secure,
            proxied: preamble.proxied,
            turn_state: TurnState::AtOnce,
            closing: Closing::No,
            of_phase: 0,
        }
    }

    /// Its rank and time for being closed to make room, or `None` if it must not be: see
    /// `Connections::next_to_evict`. A later deadline means that it began later.
    pub(super) fn rank(&self, fresh_from_ms: u64) -> Option<(u8, u64)> {
        // A lingering connection has its answer, however long it waits for its next turn.
        if !self.watched || self.turn_state == TurnState::Waiting && self.phase != Phase::Linger {
            return None;
        }
        let rank = match self.phase {
            Phase::Idle if self.silent && self.deadline_ms > fresh_from_ms => 4,
            Phase::Idle if self.silent => 0,
            Phase::Idle | Phase::Linger => 1,
            Phase::Handshake | Phase::Head | Phase::Body => 2,
            Phase::Write => 3,
            Phase::Waiting => return None,
        };
        Some((rank, self.deadline_ms))
    }

    /// Receives once, as far as there is room in the buffer. `false`: the connection is broken.
    #[inline]
    pub(super) fn receive(&mut self, buffer: &mut Vec<u8>) -> bool {
        let room = buffer.capacity() - buffer.len();
        match recv(&self.socket, spare_capacity(buffer), RecvFlags::empty()) {
            Ok((0, _)) => {
                self.ended = true;
                self.readable = false;
            }
            // Less than there was room for: that was all, and more will be a new edge, unless the
            // edge for the end has come already.
            Ok((count, _)) => {
                self.silent = false;
                if count < room {
                    self.readable = self.hung_up;
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => self.readable = false,
            Err(_) => return false,
        }
        true
    }

    /// Whether there are bytes to read: 1 if there are any, 0 once the client has closed.
    pub(super) fn peek(&self) -> rustix::io::Result<usize> {
        recv(&self.socket, &mut [0u8; 1][..], RecvFlags::PEEK).map(|(count, _)| count)
    }

    /// Whether the client has sent bytes that have not been read yet.
    pub(super) fn has_unread(&self) -> bool {
        matches!(self.peek(), Ok(1..))
    }

    /// Whether its handshake is incomplete.
    pub(super) fn shakes_hands(&self) -> bool {
        self.secure && self.tls.as_ref().is_none_or(|tls| tls.is_handshaking())
    }

    /// Lets the reactor watch it from now on. Events that are already there are reported too.
    pub(super) fn watch(&mut self, reactor: &Reactor, token: Token) -> io::Result<()> {
        if !self.watched {
            match self.shakes_hands() {
                true => reactor.watch_handshaking(&self.socket, token)?,
                false => reactor.watch_connection(&self.socket, token)?,
            }
            self.watched = true;
        }
        Ok(())
    }

    /// Limits its remaining time to that of a drain. Before an idle connection is closed, unread
    /// input is looked for. The first request of a new connection is probably on its way.
    pub(super) fn hurry(&mut self, drain: Drain) {
        let Drain { began_ms, idle_timeout_ms } = drain;
        let latest_ms = match self.phase {
            // It was limited before.
            Phase::Idle if self.silent && self.deadline_ms <= began_ms + DRAIN_NEWCOMER_MS => {
                return;
            }
            Phase::Idle if self.silent => {
                let came_ms = self.deadline_ms.saturating_sub(idle_timeout_ms);
                (came_ms + DRAIN_NEWCOMER_MS).max(began_ms)
            }
            Phase::Idle => began_ms,
            Phase::Handshake | Phase::Head | Phase::Body | Phase::Write => {
                began_ms + DRAIN_CLIENT_MS
            }
            Phase::Linger | Phase::Waiting => return,
        };
        self.deadline_ms = self.deadline_ms.min(latest_ms);
    }

    pub(super) fn note(&mut self, readiness: Readiness) {
        self.hung_up |= readiness.hung_up;
        self.readable |= readiness.readable || readiness.hung_up || readiness.broken;
    }
}

/// A drain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    pub(super) began_ms: u64,
    /// The idle time-out that applied when the connection came.
    pub(super) idle_timeout_ms: u64,
}

/// Whether and how the connection closes once its output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    No,
    /// The client has nothing more to send.
    Now,
    /// The client may still be sending: closing at once could discard our answer before it is read.
    Linger,
}

/// Whether the client has read enough of its answers since that was last noted. The system reports
/// room to write only when there is much of it, so a slow reader may cause no event for longer than
/// the deadline.
pub(super) fn has_taken_enough(connection: &mut Connection, time_ms: u64) -> bool {
    let left = queued_bytes(&connection.socket);
    let before = mem::replace(&mut connection.of_phase, left);
    u64::from(before.saturating_sub(left)) >= time_ms * TAKEN_BYTES_PER_S_MIN / 1000
}

/// Bytes that the system holds for a connection's client.
pub(super) fn queued_bytes(socket: &OwnedFd) -> u32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (of a socket: SIOCOUTQ, tcp(7)) writes one int, which lives through the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    u32::try_from(bytes).ok().filter(|_| done == 0).unwrap_or(u32::MAX)
}
