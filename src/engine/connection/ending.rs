//! What follows after serving a connection: it goes back to its table, lingers, or is closed.

use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::state::{Connection, Phase};
use super::table::Acceptance;
use crate::engine::core::Core;
use crate::engine::counts::CloseReason;
use crate::engine::reactor::Token;
use crate::limits::{DRAIN_LINGER_MS, LINGER_DEADLINE_MS};

/// Closes a connection in any state.
pub(in crate::engine) fn close(core: &Core, token: Token, why: CloseReason) {
    let removed = core.connections.borrow_mut().remove(token);
    let engine = &core.engine;
    core.counts.end(match removed {
        Some(Acceptance::Refused(kind)) => CloseReason::refused(kind),
        _ => why,
    });
    match removed {
        Some(Acceptance::Admitted(address)) => {
            engine.connections.release();
            if let Some(address) = address {
                engine.addresses.remove(address);
            }
        }
        Some(Acceptance::Refused(_)) => engine.refused.release(),
        None => {}
    }
}

/// Puts a connection back that was taken. A connection that can't be watched is closed.
pub(super) fn put_back(core: &Core, token: Token, mut connection: Box<Connection>) {
    match connection.watch(&core.reactor, token) {
        Ok(()) => core.connections.borrow_mut().put_back(token, connection),
        Err(error) => {
            tracing::debug!(core = core.index, %error, "can't watch a connection; closed it");
            close(core, token, CloseReason::Internal);
        }
    }
}

/// Sends the last answer of a connection, as far as possible at once; with TLS also `close_notify`.
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

/// Shuts down the sending side, and reads for a while what the client still sends: closing at once
/// could discard the answer before the client has read it.
pub(super) fn linger(core: &Core, connection: &mut Connection) {
    let _ = shutdown(&connection.socket, Shutdown::Write);
    (connection.phase, connection.of_phase) = (Phase::Linger, 0);
    let time_ms = if core.draining() { DRAIN_LINGER_MS } else { LINGER_DEADLINE_MS };
    connection.deadline_ms = core.clock.now_ms() + time_ms;
    connection.input = Vec::new();
    connection.readable = true;
}
