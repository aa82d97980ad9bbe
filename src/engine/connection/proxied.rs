//! Connections of a balancer that says first whose they are.

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::ending::{close, put_back};
use super::refusal::write_refusal;
use super::state::{Closing, Connection, Phase};
use super::table::Entry;
use crate::engine::addresses::Address;
use crate::engine::core::Core;
use crate::engine::counts::End;
use crate::engine::gate::Token;
use crate::engine::http::Kind;
use crate::engine::proxy::{Proxied, read};
use crate::limits::PROXY_HEADER_BYTES_MAX;

/// Takes what says whose connection it is from its beginning. `None`: that is not here, or wrong.
#[cold]
pub(super) fn take_header(
    core: &Core,
    token: Token,
    mut connection: Box<Connection>,
) -> Option<Box<Connection>> {
    let mut start = [0; PROXY_HEADER_BYTES_MAX];
    let found = match recv(&connection.socket, &mut start[..], RecvFlags::PEEK) {
        Ok((count @ 1.., _)) => read(&start[..count]),
        Err(Errno::AGAIN | Errno::INTR) => Proxied::Incomplete,
        Ok(_) | Err(_) => Proxied::Wrong,
    };
    match found {
        Proxied::By { client, bytes } => {
            // Exactly so much: what is behind it is the client's.
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
                    close(core, token, End::AddressLimit);
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
            tracing::debug!(core = core.index, "a connection without the PROXY protocol");
            close(core, token, End::Protocol);
            None
        }
    }
}

/// Counts a connection with its client from now on, as one that has just come. An error: it gets no
/// place, and is told so if there is room for that.
fn count(core: &Core, token: Token, address: Address) -> Result<(), Option<&'static Kind>> {
    let engine = &core.engine;
    let most = engine.limits.connections_per_address();
    let mut connections = core.connections.borrow_mut();
    let Some(entry) = connections.entry_mut(token) else { return Err(None) };
    let Entry::Admitted(None) = entry else { return Ok(()) };
    if engine.addresses.enter(address) <= most || most == 0 {
        *entry = Entry::Admitted(Some(address));
        return Ok(());
    }
    engine.addresses.leave(address);
    if !engine.refused.take(engine.limits.refused_max()) {
        return Err(None);
    }
    engine.connections.free();
    *entry = Entry::Refused(Kind::TOO_MANY_CONNECTIONS);
    Err(Some(Kind::TOO_MANY_CONNECTIONS))
}
