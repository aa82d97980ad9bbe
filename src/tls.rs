//! TLS for buyers: certificates, their choice by host name, and session tickets.
//!
//! [`TlsSetting`] names the files, [`TlsSetting::load`] reads and validates them. The engine uses
//! the result for new connections, so files can be replaced while the server sells.
//!
//! Architecture invariant: it opens no socket, and knows no connection.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, cipher_suite, default_provider};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{ServerConfig, SupportedCipherSuite};

mod names;
mod pair;
pub mod pem;
mod setting;
mod tickets;

use names::ByName;
use pair::Pair;
pub use setting::{PairFiles, TlsProblem, TlsSetting};
use tickets::SharedTickets;

/// Tickets per client with TLS 1.3: it opens a few connections at a time, and each uses one.
const TICKETS: usize = 2;
/// The protocol over TLS.
const ALPN: &[u8] = b"http/1.1";
/// Cipher suites in the server's order, which takes precedence over the client's: the cheapest
/// first.
const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The result of loading the files.
#[derive(Debug)]
pub struct Loaded {
    /// For new connections.
    pub config: Arc<ServerConfig>,
    /// Warnings: certificates that expire soon, chains that some clients do not accept.
    pub warnings: Vec<String>,
    /// The certificate files, each with the time when the first of its chain expires.
    pub expiries: Vec<(PathBuf, SystemTime)>,
}

impl TlsSetting {
    /// Reads and validates the files. `tickets`: for a server without a file of ticket keys,
    /// earlier tickets stay valid.
    ///
    /// # Errors
    /// A file can't be read or is malformed, or a certificate is not valid now.
    pub fn load(&self, now: SystemTime, tickets: &Tickets) -> Result<Loaded, TlsProblem> {
        let mut warnings = Vec::new();
        let mut pairs = Vec::new();
        for files in &self.pairs {
            pairs.push(Pair::load(files, now, &mut warnings)?);
        }
        let expiry = |(files, pair): (&PairFiles, &Pair)| (files.certificate.clone(), pair.expires);
        let expiries = self.pairs.iter().zip(&pairs).map(expiry).collect();
        let ticketer: Arc<dyn ProducesTickets> = match &self.ticket_keys {
            Some(file) => Arc::new(SharedTickets::load(file)?),
            None => tickets.0.clone(),
        };
        let provider = CryptoProvider { cipher_suites: SUITES.to_vec(), ..default_provider() };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.problem(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ByName::new(pairs)));
        config.ignore_client_order = true;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = ticketer;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        // Early data can be replayed by an eavesdropper, and a purchase must not be.
        config.max_early_data_size = 0;
        Ok(Loaded { config: Arc::new(config), warnings, expiries })
    }

    fn problem(&self, problem: String) -> TlsProblem {
        let file = self.pairs.first().map(|files| files.certificate.clone());
        TlsProblem { setting: "tls-cert", file: file.unwrap_or_default(), problem }
    }
}

/// Tickets with the server's own keys, which change every six hours.
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// With new keys.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Self, String> {
        Ticketer::new().map(Self).map_err(|error| error.to_string())
    }
}
