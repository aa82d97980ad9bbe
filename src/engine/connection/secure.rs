//! A connection with TLS: its handshake, and records in place of what is read and written.

use std::mem;

use super::refusal::write_refusal;
use super::session::{Flushed, Keep, Session};
use super::state::{Closing, Phase, TurnState};
use super::table::Acceptance;
use crate::engine::core::Service;
use crate::engine::tls::Broken;
use crate::limits::READS_PER_TURN_MAX;

impl<S: Service> Session<'_, S> {
    /// Whether the handshake must be completed first.
    pub(super) fn must_shake_hands(&self) -> bool {
        self.connection.shakes_hands() && self.connection.closing == Closing::No
    }

    /// Continues the handshake as far as possible. `None`: it is complete, and the connection is
    /// served.
    #[cold]
    pub(super) fn shake_hands(&mut self) -> Option<Keep> {
        for _ in 0..READS_PER_TURN_MAX {
            if !self.must_shake_hands() {
                self.after_handshake();
                return None;
            }
            match self.flush_records() {
                Flushed::All => {}
                Flushed::Blocked => return Some(Keep::Yes),
                Flushed::Broken => return Some(Keep::No),
            }
            if self.connection.ended {
                return Some(Keep::No);
            }
            self.note_events();
            if !self.connection.readable {
                self.connection.turn_state = TurnState::AtOnce;
                return Some(Keep::Yes);
            }
            if !self.read_records() {
                return Some(Keep::No);
            }
        }
        Some(self.yield_turn())
    }

    /// Runs after the handshake has completed or failed.
    fn after_handshake(&mut self) {
        if self.connection.closing != Closing::No {
            return;
        }
        self.set_phase(Phase::Idle, self.limits().idle_timeout_ms());
        let core = self.leader.core;
        core.counts.handshakes.add(1);
        self.connection.silent = self.input.is_empty();
        if mem::take(&mut self.connection.watched) {
            // It is watched like other connections once it is put back.
            core.reactor.forget_handshaking(&self.connection.socket);
        }
        let acceptance = core.connections.borrow_mut().acceptance_mut(self.token).copied();
        if let Some(Acceptance::Refused(kind)) = acceptance {
            write_refusal(kind, &core.date.borrow(), &mut self.out);
            self.connection.closing = Closing::Linger;
        } else if let Some(tls) = &mut self.connection.tls {
            tls.tickets_wait = !self.input.is_empty();
        }
    }

    /// Reads once, and decrypts the records. `false`: the connection is broken.
    pub(super) fn read_records(&mut self) -> bool {
        let core = self.leader.core;
        let mut records = core.take_records();
        let kept = self.connection.tls.as_mut().map_or_else(Vec::new, |tls| tls.take_received());
        records.extend_from_slice(&kept);
        let alive = self.connection.receive(&mut records);
        core.counts.received_bytes.add((records.len() - kept.len()) as u64);
        let alive = match records.len() == kept.len() {
            true => {
                if let Some(tls) = &mut self.connection.tls {
                    tls.put_back_received(kept);
                }
                alive
            }
            false => self.open(&mut records),
        };
        core.give_records(records);
        alive
    }

    /// Decrypts the received records. `false`: this server has no TLS settings.
    fn open(&mut self, records: &mut [u8]) -> bool {
        if self.connection.tls.is_none() {
            self.connection.tls = self.leader.core.begin_tls();
            self.set_phase(Phase::Handshake, self.limits().head_timeout_ms());
        }
        let Some(tls) = &mut self.connection.tls else { return false };
        if self.input.capacity() == 0 {
            self.input = self.leader.core.take_input();
        }
        if let Err(Broken) = tls.open(records, &mut self.input, &mut self.out) {
            // An alert has the reason, and the client should get it.
            self.connection.closing = Closing::Linger;
        }
        if tls.has_ended() {
            self.connection.ended = true;
        }
        true
    }

    /// Writes the records that are there, after encrypting pending answers.
    #[inline(never)]
    pub(super) fn flush_records(&mut self) -> Flushed {
        let tls = self.connection.tls.as_mut();
        if tls.is_some_and(|tls| mem::take(&mut tls.tickets_wait)) {
            return Flushed::All;
        }
        if !self.seal() {
            return Flushed::Broken;
        }
        let (flushed, written) = self.write_out();
        if let Some(tls) = &mut self.connection.tls {
            tls.sent(written);
        }
        flushed
    }

    /// Sends `close_notify`, if the client still reads.
    pub(super) fn say_goodbye(&mut self) {
        if self.connection.secure {
            self.connection.closing = Closing::Now;
            self.flush_records();
        }
    }

    /// Encrypts pending answers into records. `false`: the connection is broken.
    fn seal(&mut self) -> bool {
        let Some(tls) = &mut self.connection.tls else { return true };
        if tls.is_handshaking() {
            return true;
        }
        // A waiting request still gets its answer.
        let last =
            self.connection.closing != Closing::No && self.connection.phase != Phase::Waiting;
        let core = self.leader.core;
        match tls.seal(&mut self.out, last, core.take_buffer()) {
            Ok(spare) => {
                core.give_buffer(spare);
                true
            }
            Err(Broken) => false,
        }
    }
}
