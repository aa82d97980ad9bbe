//! Which certificate a client is shown: that of the host it names (SNI, RFC 6066, section 3).

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Pair;

/// See the module's header.
#[derive(Debug)]
pub(super) struct ByName(Vec<Pair>);

impl ByName {
    /// Out of these; the first for clients that name no host, or one that is in none.
    pub(super) fn new(pairs: Vec<Pair>) -> Self {
        Self(pairs)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let by_name = |host: &str| {
            self.0.iter().find(|pair| pair.names.iter().any(|name| is_for(name, host)))
        };
        let pair = hello.server_name().and_then(by_name).or(self.0.first())?;
        Some(pair.key.clone())
    }
}

/// Whether a certificate with this name is for this host: the same, or `*.` in place of its first
/// label (RFC 9525, section 6.3).
fn is_for(name: &str, host: &str) -> bool {
    let is = |name: &str, host: &str| name.eq_ignore_ascii_case(host);
    match name.strip_prefix("*.") {
        Some(domain) => host.split_once('.').is_some_and(|(_, rest)| is(domain, rest)),
        None => is(name, host),
    }
}

#[cfg(test)]
mod tests {
    use super::is_for;

    #[test]
    fn certificate_names_match_hosts() {
        for (name, host, is) in [
            ("tickets.example", "tickets.example", true),
            ("tickets.example", "Tickets.Example", true),
            ("tickets.example", "www.tickets.example", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", "com", false),
        ] {
            assert_eq!(is_for(name, host), is, "{name} {host}");
        }
    }
}
