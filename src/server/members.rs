//! This server as a member of the fleet.

use std::io;
use std::sync::Arc;

use super::ledger::Ledger;
use crate::config::Listen;
use crate::limits::{MEMBER_ADDRESSES_MAX, MEMBER_NAME_BYTES_MAX};
use crate::members::{Instance, Members};
use crate::status::Status;

/// This server, under the configured name or one derived from its addresses.
pub(super) fn instance(status: &Arc<Status>, addresses: &[Listen]) -> Arc<Instance> {
    let given = status.config.instance.clone();
    let name = given.unwrap_or_else(|| default_name(&host_name(), addresses));
    let addresses = addresses.iter().take(MEMBER_ADDRESSES_MAX).map(Listen::to_string).collect();
    Arc::new(Instance::new(status.clone(), name, addresses))
}

impl Ledger {
    /// Joins the fleet, if the ledger can be shared.
    pub(super) fn members(&self, instance: &Arc<Instance>) -> io::Result<Option<Members>> {
        match self {
            Self::Embedded(_) => Ok(None),
            Self::Redis(ledger) => Members::start(ledger.clone(), instance.clone()).map(Some),
        }
    }
}

/// The first address that it listens on, with the host's name if the address means nothing on
/// another machine. For a Unix socket it is the host's name alone.
fn default_name(host: &str, addresses: &[Listen]) -> String {
    let first = addresses.iter().find_map(Listen::address);
    match first {
        Some(address) if address.ip().is_unspecified() || address.ip().is_loopback() => {
            format!("{host}:{}", address.port())
        }
        Some(address) => address.to_string(),
        None => host.to_owned(),
    }
}

/// The host's name, restricted to valid characters.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    // Room for a colon and a port.
    let plain = name.trim().chars().filter(char::is_ascii_graphic).take(MEMBER_NAME_BYTES_MAX - 6);
    let name: String = plain.collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_names_distinguish_servers() {
        let name = |addresses: &[&str]| {
            let listen = |text: &&str| match text.strip_prefix("unix:") {
                Some(path) => Listen::Unix(path.into()),
                None => Listen::Tcp(text.parse().unwrap()),
            };
            default_name("web1", &addresses.iter().map(listen).collect::<Vec<_>>())
        };
        assert_eq!(name(&["0.0.0.0:3005", "10.0.0.5:80"]), "web1:3005");
        assert_eq!(name(&["[::1]:3007"]), "web1:3007");
        assert_eq!(name(&["unix:/run/a b.sock", "10.0.0.5:80"]), "10.0.0.5:80");
        assert_eq!(name(&["unix:/run/stampede.sock"]), "web1");
        assert!(!host_name().is_empty());
    }
}
