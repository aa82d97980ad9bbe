//! Settings of trusted proxies, and of connections per client address.

use std::net::IpAddr;

use ipnet::IpNet;

use super::builder::ConfigBuilder;
use super::value::{on_or_off, whole_number};
use crate::limits::{CONNECTIONS_MAX, TRUSTED_PROXIES_MAX};

/// The header in which proxies report the client address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ForwardedHeader {
    const ALL: [Self; 2] = [Self::XForwardedFor, Self::Forwarded];

    /// Its name in the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// A network such as `10.0.0.0/8`, or a single address.
fn network(text: &str) -> Result<IpNet, String> {
    let network =
        text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
            "must be a network such as 10.0.0.0/8 or fd00::/8, or an address".to_owned()
        })?;
    if network.trunc() != network {
        return Err(format!("the network is {}: bits after its prefix are set", network.trunc()));
    }
    Ok(network)
}

impl ConfigBuilder {
    pub(super) fn trusted_proxies(&mut self) -> Vec<IpNet> {
        let given = self.layers.values("trusted-proxies").unwrap_or_default().to_vec();
        let mut networks = Vec::new();
        for text in given.iter().flat_map(|text| text.split(',')).map(str::trim) {
            match network(text) {
                Ok(network) if networks.contains(&network) => {
                    self.reject("trusted-proxies", text, &format!("{network} is given twice"));
                }
                Ok(network) => networks.push(network),
                Err(problem) => self.reject("trusted-proxies", text, &problem),
            }
        }
        if networks.len() > TRUSTED_PROXIES_MAX {
            let problem = format!("{} networks, at most {TRUSTED_PROXIES_MAX}", networks.len());
            self.reject("trusted-proxies", &given[given.len() - 1], &problem);
        }
        networks
    }

    /// Whether trusted proxies send the PROXY protocol. `nobody`: there is no trusted proxy.
    pub(super) fn proxy_protocol(&mut self, nobody: bool) -> bool {
        self.value_or("proxy-protocol", false, |text| match on_or_off(text)? {
            true if nobody => Err("needs --trusted-proxies, the proxies that send it".into()),
            on => Ok(on),
        })
    }

    /// The header in which proxies report the client address.
    pub(super) fn forwarded_header(&mut self) -> ForwardedHeader {
        self.value_or("forwarded-header", ForwardedHeader::default(), |text| {
            let named = |header: &ForwardedHeader| header.as_str().eq_ignore_ascii_case(text);
            let found = ForwardedHeader::ALL.into_iter().find(named);
            found.ok_or_else(|| "must be x-forwarded-for or forwarded".to_owned())
        })
    }

    /// Maximum connections per client address. 0: no limit.
    pub(super) fn connections_per_address(&mut self) -> u32 {
        self.value_or("connections-per-address", 0, |text| match text {
            "off" => Ok(0),
            text => match whole_number(text, 1, CONNECTIONS_MAX) {
                Ok(number) => Ok(number as u32),
                Err(problem) => Err(format!("{problem}, or off")),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_parsed() {
        let read = |text: &str| network(text).map(|network| network.to_string());
        assert_eq!(read("10.0.0.0/8").unwrap(), "10.0.0.0/8");
        assert_eq!(read("192.168.1.5").unwrap(), "192.168.1.5/32");
        assert_eq!(read("::1").unwrap(), "::1/128");
        assert_eq!(read("fd00::/8").unwrap(), "fd00::/8");
        assert!(read("10.0.0.1/8").unwrap_err().contains("10.0.0.0/8"));
        for wrong in ["", "10.0.0.0/33", "localhost", "10.0.0", "10.0.0.0-10.0.0.9", "unix:"] {
            assert!(read(wrong).unwrap_err().contains("must be a network"), "{wrong}");
        }
    }
}
