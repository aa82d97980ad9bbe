//! Listening on everything that is asked for, before anything else is started.

use std::io;

use super::error::RunError;
use crate::config::Listen;
use crate::engine::listener::{self, Listener, SocketFile};

/// What an instance listens on.
pub(super) struct Listening {
    /// Files of Unix sockets, removed when dropped: first, while their sockets are open.
    pub(super) files: Vec<SocketFile>,
    /// The listeners of each core.
    pub(super) listeners: Vec<Vec<Listener>>,
    /// Where that is: the ports that were taken for 0.
    pub(super) addresses: Vec<Listen>,
}

/// Binds everything. Connections wait until the cores accept them.
pub(super) fn listen_all(asked: &[Listen], cores: usize) -> Result<Listening, RunError> {
    let mut all = Listening {
        files: Vec::new(),
        listeners: (0..cores).map(|_| Vec::new()).collect(),
        addresses: Vec::new(),
    };
    for one in asked {
        all.add(one, cores).map_err(|error| {
            let hint = match one {
                Listen::Tcp(_) | Listen::Tls(_) => tcp_hint(&error),
                Listen::Unix(_) => unix_hint(&error),
            };
            RunError::Listen { address: one.clone(), error, hint }
        })?;
    }
    Ok(all)
}

impl Listening {
    fn add(&mut self, asked: &Listen, cores: usize) -> io::Result<()> {
        match asked {
            Listen::Tcp(address) => {
                let (address, bound) = listener::bind_all(*address, cores)?;
                self.addresses.push(Listen::Tcp(address));
                self.listeners.iter_mut().zip(bound).for_each(|(all, one)| all.push(one));
            }
            Listen::Tls(address) => {
                let (address, bound) = listener::bind_all(*address, cores)?;
                self.addresses.push(Listen::Tls(address));
                let bound = bound.into_iter().map(Listener::secure);
                self.listeners.iter_mut().zip(bound).for_each(|(all, one)| all.push(one));
            }
            Listen::Unix(path) => {
                let (listener, file) = listener::bind_unix(path)?;
                // One core accepts for all; several sockets are several cores' work.
                self.listeners[self.files.len() % cores].push(listener);
                self.files.push(file);
                self.addresses.push(asked.clone());
            }
        }
        Ok(())
    }
}

/// What would help where an address can't be listened on.
pub(super) fn tcp_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another server has this port: stop it or choose another",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => "; a port below 1024 needs CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

fn unix_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another server listens there: stop it or choose another path"
        }
        io::ErrorKind::PermissionDenied => {
            "; the server must be allowed to read and write its folder, and a socket that is there"
        }
        _ => "",
    }
}
