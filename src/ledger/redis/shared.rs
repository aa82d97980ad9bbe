//! The state that all connections to the same Redis share: its settings, what Sentinels or the
//! Cluster report, and findings of one connection that concern all.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use hashbrown::HashSet;
use rustls::ClientConfig;

use super::cluster::discover::Cluster;
use super::codec::Codec;
use super::handshake_error::HandshakeError;
use super::primary::{Primary, Term};
use super::rights::{Needs, Purpose};
use super::sentinel::{self, Login};
use super::settings::{Endpoint, Password, RedisSettings, Topology};
use super::tls::{TlsFiles, tls_config_of};
use super::warning::Warning;
use crate::ledger::refused::RefusedSales;
use crate::limits::{REDIS_SALES_CHECKED_MAX, REDIS_WARNINGS_MAX};
use crate::sale::SaleId;
use crate::sync::lock;

/// The state that all connections to the same Redis share.
pub struct RedisLedger {
    pub(super) settings: RedisSettings,
    pub(super) codec: Codec,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// The state of the Cluster, if it is one.
    pub(super) cluster: Option<Arc<Cluster>>,
    /// The primary that Sentinels name, if there are any.
    pub(super) primary: Option<Arc<Primary>>,
    login: Option<Login>,
    following: Once,
    /// Warnings that were logged already, once for all connections.
    warned: Mutex<HashSet<Warning>>,
    /// The sales that are refused because of their stored data.
    pub(super) refused: Arc<RefusedSales>,
    /// Sales whose definition the sweep is to read again. `None`: all.
    pub(super) to_sweep: Mutex<Option<HashSet<SaleId>>>,
}

impl RedisLedger {
    /// Prepares connections to a Redis. `ca` is a PEM file of roots to trust in place of the
    /// system's.
    ///
    /// # Errors
    /// The roots can't be read.
    pub fn new(settings: RedisSettings, codec: Codec, ca: Option<&Path>) -> io::Result<Self> {
        let files = TlsFiles { ca: ca.map(Path::to_owned), client: None };
        Self::with_tls(settings, codec, &files)
    }

    /// The same, with all files of TLS.
    ///
    /// # Errors
    /// The files can't be read or don't belong together.
    pub fn with_tls(settings: RedisSettings, codec: Codec, files: &TlsFiles) -> io::Result<Self> {
        let tls = if settings.tls { Some(Arc::new(tls_config_of(files)?)) } else { None };
        let (mut primary, mut cluster) = (None, None);
        match &settings.topology {
            Topology::One(_) => {}
            Topology::Sentinel { sentinels, primary: name } => {
                primary = Some(Arc::new(Primary::new(name, sentinels.len())));
            }
            Topology::Cluster { seeds } => {
                cluster = Some(Arc::new(Cluster::new(seeds, &settings, tls.clone())));
            }
        }
        Ok(Self {
            settings,
            codec,
            tls,
            cluster,
            primary,
            login: None,
            following: Once::new(),
            warned: Mutex::default(),
            refused: Arc::default(),
            to_sweep: Mutex::new(Some(HashSet::new())),
        })
    }

    /// Sets the purpose for which every new connection is checked, also with the keys of these
    /// sales.
    pub fn with_purpose<'a>(
        self,
        purpose: Purpose,
        sales: impl IntoIterator<Item = &'a SaleId>,
    ) -> Self {
        let keys = self.codec.keys();
        let sales = sales.into_iter().take(REDIS_SALES_CHECKED_MAX);
        let sales = sales.map(|sale| keys.of(sale).all()).collect();
        let needs = Some(Needs { purpose, index: keys.index(), sales });
        Self { settings: RedisSettings { needs, ..self.settings }, ..self }
    }

    /// Logs the warnings of a new connection that were not logged before.
    pub(super) fn warn(&self, warnings: Vec<Warning>) {
        for warning in warnings {
            let mut warned = lock(&self.warned);
            if warned.len() < REDIS_WARNINGS_MAX && warned.insert(warning.clone()) {
                let Warning { message, detail } = warning;
                tracing::warn!(redis = %self.settings, what = message, detail, "Redis needs attention");
            }
        }
    }

    /// Whether it is a Cluster: then some nodes may answer while others do not.
    pub fn is_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// Acknowledges a write only after `count` replicas have it.
    pub fn with_replicas(self, count: u32) -> Self {
        let codec = self.codec.marking(count > 0);
        let settings = RedisSettings { replicas: count, ..self.settings };
        Self { settings, codec, ..self }
    }

    /// Sets the login at the Sentinels; anonymous by default.
    pub fn with_sentinel_login(self, user: Option<String>, password: Password) -> Self {
        Self { login: Some(Login { user, password }), ..self }
    }

    /// Starts to follow the Sentinels, unless that was done; every connection does so too. Best
    /// called on a thread that may run on every processor: the threads inherit that.
    pub fn follow(&self) {
        let (Topology::Sentinel { sentinels, .. }, Some(primary)) =
            (&self.settings.topology, &self.primary)
        else {
            return;
        };
        let (tls, login) = (self.tls.as_ref(), self.login.as_ref());
        self.following.call_once(|| sentinel::follow(primary, sentinels, tls, login));
    }

    /// The server to connect to, with its term if Sentinels name it. Waits up to `time` until they
    /// do.
    ///
    /// # Errors
    /// They don't; the error says why.
    pub(super) fn place(&self, time: Duration) -> Result<(Endpoint, Option<Term>), HandshakeError> {
        self.follow();
        match (&self.settings.topology, &self.primary) {
            (_, Some(primary)) => primary.find(time).map(|(endpoint, term)| (endpoint, Some(term))),
            (Topology::One(endpoint), None) => Ok((endpoint.clone(), None)),
            _ => Err(HandshakeError::Fatal(format!("{} has more than one place", self.settings))),
        }
    }
}
