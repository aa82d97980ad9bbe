//! Opens all listening sockets before anything else is started: inherited ones, or else new ones.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::error::RunError;
use super::inherited_sockets::InheritedSockets;
use crate::config::{Config, Listen};
use crate::engine::listener::{self, Families, Listener, SocketFile};

/// The listening sockets of an instance.
pub(super) struct Listening {
    /// Files of Unix sockets, removed when dropped. Dropped first, while their sockets are open.
    pub(super) files: Vec<SocketFile>,
    /// The listeners of each core.
    pub(super) listeners: Vec<Vec<Listener>>,
    /// The listeners of the control port, if there is one.
    pub(super) control: Option<(SocketAddr, Vec<Listener>)>,
    /// The actual addresses, with the ports that were taken for 0.
    pub(super) addresses: Vec<Listen>,
    /// All sockets with their settings, to be passed to a new process.
    pub(super) sockets: Vec<Socket>,
}

/// A listening socket, and the setting that it was created for.
#[derive(Clone)]
pub(super) struct Socket {
    pub(super) asked: String,
    pub(super) socket: Arc<OwnedFd>,
}

/// The name for the control port's sockets.
pub(super) const CONTROL: &str = "control";

/// Opens all sockets. Connections wait until the cores accept them.
pub(super) fn listen_all(
    config: &Config,
    mut passed: InheritedSockets,
) -> Result<Listening, RunError> {
    let cores = config.cores.len();
    let mut all = Listening {
        files: Vec::new(),
        listeners: (0..cores).map(|_| Vec::new()).collect(),
        control: None,
        addresses: Vec::new(),
        sockets: Vec::new(),
    };
    for one in &config.listen {
        all.add(config, one, &mut passed).map_err(|error| {
            let hint = match one {
                Listen::Tcp(_) | Listen::Tls(_) => tcp_hint(&error),
                Listen::Unix(_) => unix_hint(&error),
            };
            RunError::Listen { address: one.clone(), error, hint }
        })?;
    }
    if let Some(address) = config.control.as_ref().map(|setting| setting.address) {
        let control = all.listen_tcp(config, address, CONTROL, 1, &mut passed);
        all.control = Some(control.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "; another server has this port: choose another, or --control off"
                }
                _ => tcp_hint(&error),
            };
            RunError::Control { address, error, hint }
        })?);
    }
    passed.warn_of_unused();
    Ok(all)
}

impl Listening {
    fn add(
        &mut self,
        config: &Config,
        asked: &Listen,
        passed: &mut InheritedSockets,
    ) -> io::Result<()> {
        let cores = self.listeners.len();
        let name = asked.to_string();
        let (found, bound) = match asked {
            Listen::Tcp(address) => {
                let (address, bound) = self.listen_tcp(config, *address, &name, cores, passed)?;
                (Listen::Tcp(address), bound)
            }
            Listen::Tls(address) => {
                let (address, bound) = self.listen_tcp(config, *address, &name, cores, passed)?;
                (Listen::Tls(address), bound.into_iter().map(Listener::secure).collect())
            }
            Listen::Unix(path) => {
                let bound = match passed.take_unix(path)? {
                    Some((sockets, file)) => {
                        self.files.extend(file);
                        listener::adopt_all(sockets, usize::MAX)?
                    }
                    None => {
                        let (listener, file) = listener::bind_unix(path)?;
                        self.files.push(file);
                        vec![listener]
                    }
                };
                self.note(&name, &bound);
                (asked.clone(), bound)
            }
        };
        // One core accepts for all on a Unix socket; several sockets are assigned to several cores.
        let first = if let Listen::Unix(_) = asked { self.addresses.len() } else { 0 };
        for (index, one) in bound.into_iter().enumerate() {
            self.listeners[(first + index) % cores].push(one);
        }
        self.addresses.push(found);
        Ok(())
    }

    fn listen_tcp(
        &mut self,
        config: &Config,
        address: SocketAddr,
        name: &str,
        cores: usize,
        passed: &mut InheritedSockets,
    ) -> io::Result<(SocketAddr, Vec<Listener>)> {
        let (address, bound) = match passed.take_tcp(name, address)? {
            Some((found, sockets)) => (found, listener::adopt_all(sockets, cores)?),
            None => listener::bind_all(address, families(config, address), cores)?,
        };
        self.note(name, &bound);
        Ok((address, bound))
    }

    fn note(&mut self, name: &str, bound: &[Listener]) {
        let socket = |one: &Listener| Socket { asked: name.to_owned(), socket: one.socket() };
        self.sockets.extend(bound.iter().map(socket));
    }
}

/// Whether a socket for all IPv6 addresses also accepts IPv4: yes, unless another socket is to have
/// the port.
fn families(config: &Config, address: SocketAddr) -> Families {
    let control = config.control.as_ref().map(|setting| setting.address);
    let mut all = config.listen.iter().filter_map(Listen::address).chain(control);
    let is_taken = |other: SocketAddr| other.is_ipv4() && other.port() == address.port();
    match address.port() != 0 && all.any(is_taken) {
        true => Families::One,
        false => Families::Both,
    }
}

/// Advice for a failed address.
fn tcp_hint(error: &io::Error) -> &'static str {
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
