//! What is kept of a connection while nobody serves it.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::progress::{Progress, START};
use crate::engine::gate::{Gate, Readiness, Token};
use crate::engine::tls::Tls;
use crate::limits::{DRAIN_CLIENT_MS, DRAIN_NEWCOMER_MS, TAKEN_BYTES_PER_S_MIN};

/// How a connection begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beginning {
    /// With a TLS handshake.
    pub secure: bool,
    /// With whose it is, before all else.
    pub proxied: bool,
}

/// What a connection is doing between two events; decides its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// It has begun its handshake.
    Handshake,
    Head,
    Body,
    Write,
    Linger,
    /// Its request waits for its answer.
    Waiting,
}

/// When a connection is served that something has come for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turns {
    /// In the round of events in which it comes.
    AtOnce,
    /// After the others: it has asked for more at a time than is given at once.
    Later,
    /// It has had its turn, or something has come for it, and it waits for its turn.
    Waiting,
}

/// In place of a step of the wheel.
pub(super) const NOT_FILED: u32 = u32::MAX;

/// What is kept of a connection while nobody serves it.
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// From the first byte on, if it is one that speaks TLS.
    pub(super) tls: Option<Box<Tls>>,
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    pub(super) progress: Progress,
    pub(super) phase: Phase,
    pub(super) deadline_ms: u64,
    /// When the table looks at it, at the latest: before or soon after its deadline.
    pub(super) filed_step: u32,
    /// The gate tells of it.
    pub(super) watched: bool,
    pub(super) readable: bool,
    pub(super) hung_up: bool,
    pub(super) ended: bool,
    /// It has never sent a byte, or nothing since its handshake.
    pub(super) silent: bool,
    /// Something other than its first request is to come first.
    pub(super) begins: bool,
    /// It speaks TLS.
    pub(super) secure: bool,
    /// It begins with whose it is, and has not said so yet.
    pub(super) proxied: bool,
    pub(super) turns: Turns,
    pub(super) closing: Closing,
    /// Of a phase. [`Phase::Linger`]: bytes that were discarded. [`Phase::Write`]: bytes that the
    /// system would hold for the client had it taken none since that was last noted.
    /// [`Phase::Waiting`]: its record.
    pub(super) of_phase: u32,
}

// What an idle connection costs, beside its place in the table.
const _: () = assert!(size_of::<Connection>() <= 104);

impl Connection {
    /// One that has just been accepted.
    pub(super) fn new(socket: OwnedFd, begins: Beginning, deadline_ms: u64) -> Self {
        Self {
            socket,
            tls: None,
            input: Vec::new(),
            output: Vec::new(),
            progress: START,
            phase: Phase::Idle,
            deadline_ms,
            filed_step: NOT_FILED,
            watched: false,
            readable: true,
            hung_up: false,
            ended: false,
            silent: true,
            begins: begins.secure || begins.proxied,
            secure: begins.secure,
            proxied: begins.proxied,
            turns: Turns::AtOnce,
            closing: Closing::No,
            of_phase: 0,
        }
    }

    /// In which order it gives way to others, and since when, if it does at all: see
    /// `Connections::next_to_give_way`. Later deadlines began later.
    pub(super) fn rank(&self, fresh_from_ms: u64) -> Option<(u8, u64)> {
        // One that lingers has its answer, however long it waits for its next turn.
        if !self.watched || self.turns == Turns::Waiting && self.phase != Phase::Linger {
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
            // edge that tells of the end has come already.
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

    /// How much there is to be read: 1 for any, 0 once the client has closed.
    pub(super) fn peek(&self) -> rustix::io::Result<usize> {
        recv(&self.socket, &mut [0u8; 1][..], RecvFlags::PEEK).map(|(count, _)| count)
    }

    /// Whether the client has sent something that has not been read yet.
    pub(super) fn has_unread(&self) -> bool {
        matches!(self.peek(), Ok(1..))
    }

    /// Whether its handshake is not over.
    pub(super) fn shakes_hands(&self) -> bool {
        self.secure && self.tls.as_ref().is_none_or(|tls| tls.is_handshaking())
    }

    /// Sees to it that the gate tells of it from now on, also of what is there by now.
    pub(super) fn watch(&mut self, gate: &Gate, token: Token) -> io::Result<()> {
        if !self.watched {
            match self.shakes_hands() {
                true => gate.watch_newcomer(&self.socket, token)?,
                false => gate.watch_connection(&self.socket, token)?,
            }
            self.watched = true;
        }
        Ok(())
    }

    /// Leaves the client no more time than a drain has, which began then. What it has sent already is
    /// looked for before an idle one is closed; the first request of one that is new is on its way.
    pub(super) fn hurry(&mut self, drain: Drain) {
        let Drain { began_ms, idle_timeout_ms } = drain;
        let latest_ms = match self.phase {
            // Told before.
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
    /// Time that a connection had when it came.
    pub(super) idle_timeout_ms: u64,
}

/// Whether and how the connection closes once its output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    No,
    /// The client has nothing more to say.
    Now,
    /// The client may still be sending: closing at once could take our answer away from it.
    Linger,
}

/// Whether the client has taken enough of its answers in the time since that was last noted. The
/// system tells of room to write only when there is much of it: of a client that takes its answers
/// slowly nothing may be heard for longer than the deadline.
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
