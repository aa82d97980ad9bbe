//! Where the leader leaves a connection: back in its table, lingering, or closed.

use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::state::{Connection, Phase};
use super::table::Entry;
use crate::engine::core::Core;
use crate::engine::counts::End;
use crate::engine::gate::Token;
use crate::limits::{DRAIN_LINGER_MS, LINGER_DEADLINE_MS};

/// Closes a connection whatever its state.
pub(in crate::engine) fn close(core: &Core, token: Token, why: End) {
    let removed = core.connections.borrow_mut().remove(token);
    let engine = &core.engine;
    core.counts.end(match removed {
        Some(Entry::Refused(kind)) => End::refused(kind),
        _ => why,
    });
    match removed {
        Some(Entry::Admitted(address)) => {
            engine.connections.free();
            if let Some(address) = address {
                engine.addresses.leave(address);
            }
        }
        Some(Entry::Refused(_)) => engine.refused.free(),
        None => {}
    }
}

/// Puts a connection back that was taken. One that can't be watched is closed.
pub(super) fn put_back(core: &Core, token: Token, mut connection: Box<Connection>) {
    match connection.watch(&core.gate, token) {
        Ok(()) => core.connections.borrow_mut().put_back(token, connection),
        Err(error) => {
            tracing::debug!(core = core.index, %error, "a connection can't be watched");
            close(core, token, End::Internal);
        }
    }
}

/// Sends the last that a connection between two answers is told, as far as that goes at once: with TLS
/// also that it is the last.
pub(super) fn send_last(connection: &mut Connection, mut answer: Vec<u8>) {
    if let Some(tls) = &mut connection.tls {
        if tls.seal(&mut answer, true, Vec::new()).is_err() {
            return;
        }
        tls.sent(answer.len());
    }
    if !answer.is_empty() {
        let _ = send(&connection.socket, &answer, SendFlags::NOSIGNAL);
    }
}

/// Says that nothing more is coming, and waits a while for what the client still sends: to close at
/// once could take the answer away from it.
pub(super) fn linger(core: &Core, connection: &mut Connection) {
    let _ = shutdown(&connection.socket, Shutdown::Write);
    (connection.phase, connection.of_phase) = (Phase::Linger, 0);
    let time_ms = if core.draining() { DRAIN_LINGER_MS } else { LINGER_DEADLINE_MS };
    connection.deadline_ms = core.clock.now_ms() + time_ms;
    connection.input = Vec::new();
    connection.readable = true;
}
