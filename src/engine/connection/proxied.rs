//! Connections of a proxy that begin with a PROXY header.

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::ending::{close, put_back};
use super::refusal::write_refusal;
use super::state::{Closing, Connection, Phase};
use super::table::Acceptance;
use crate::engine::addresses::Address;
use crate::engine::core::Core;
use crate::engine::counts::CloseReason;
use crate::engine::http::Kind;
use crate::engine::proxy_protocol::{Proxied, parse};
use crate::engine::reactor::Token;
use crate::limits::PROXY_HEADER_BYTES_MAX;

/// Reads the PROXY header. `None`: it is incomplete or wrong.
#[cold]
pub(super) fn take_header(
    core: &Core,
    token: Token,
    mut connection: Box<Connection>,
) -> Option<Box<Connection>> {
    let mut start = [0; PROXY_HEADER_BYTES_MAX];
    let found = match recv(&connection.socket, &mut start[..], RecvFlags::PEEK) {
        Ok((count @ 1.., _)) => parse(&start[..count]),
        Err(Errno::AGAIN | Errno::INTR) => Proxied::Incomplete,
        Ok(_) | Err(_) => Proxied::Wrong,
    };
    match found {
        Proxied::By { client, bytes } => {
            // Exactly the header: the bytes after it are the client's.
            let _ = recv(&connection.socket, &mut start[..bytes], RecvFlags::empty());
            connection.proxied = false;
            if connection.phase == Phase::Head {
                connection.phase = Phase::Idle;
                connection.deadline_ms = core.clock.now_ms() + core.engine.limits.idle_timeout_ms();
            }
            match client.map_or(Ok(()), |client| count(core, token, Address::of(client))) {
                Ok(()) => {}
                Err(Some(kind)) if !connection.secure => {
                    write_refusal(kind, &core.date.borrow(), &mut connection.output);
                    connection.closing = Closing::Linger;
                }
                Err(Some(_)) => {}
                Err(None) => {
                    close(core, token, CloseReason::AddressLimit);
                    return None;
                }
            }
            Some(connection)
        }
        Proxied::Incomplete => {
            connection.readable = false;
            if connection.phase == Phase::Idle && connection.has_unread() {
                connection.phase = Phase::Head;
                connection.deadline_ms = core.clock.now_ms() + core.engine.limits.head_timeout_ms();
            }
            put_back(core, token, connection);
            None
        }
        Proxied::Wrong => {
            tracing::debug!(core = core.index, "connection closed: no PROXY header");
            close(core, token, CloseReason::Protocol);
            None
        }
    }
}

/// Counts a connection with its client from now on, as if it had just come. An error: it is
/// refused, and answered if there is a permit for that.
fn count(core: &Core, token: Token, address: Address) -> Result<(), Option<&'static Kind>> {
    let engine = &core.engine;
    let most = engine.limits.connections_per_address();
    let mut connections = core.connections.borrow_mut();
    let Some(acceptance) = connections.acceptance_mut(token) else { return Err(None) };
    let Acceptance::Admitted(None) = acceptance else { return Ok(()) };
    if engine.addresses.add(address) <= most || most == 0 {
        *acceptance = Acceptance::Admitted(Some(address));
        return Ok(());
    }
    engine.addresses.remove(address);
    if !engine.refused.try_acquire(engine.limits.refused_max()) {
        return Err(None);
    }
    engine.connections.release();
    *acceptance = Acceptance::Refused(Kind::TOO_MANY_CONNECTIONS);
    Err(Some(Kind::TOO_MANY_CONNECTIONS))
}
