//! The settings of an engine, and those of them that may change while it runs.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use ipnet::IpNet;

/// The settings of an engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Index of the `may` worker that is its first core; the other cores follow.
    pub first_worker: usize,
    /// Maximum number of open connections, over all cores.
    pub connections_max: usize,
    /// Maximum number of connections beyond that which are answered with a refusal. Of still more
    /// connections nothing is read.
    pub refused_max: usize,
    /// Maximum number of connections per client address. 0: no such limit.
    pub connections_per_address: u32,
    /// Trusted proxies.
    pub proxies: TrustedProxies,
    /// Maximum time between two requests of a connection, in ms.
    pub idle_timeout_ms: u64,
    /// Maximum time for a head, in ms.
    pub head_timeout_ms: u64,
    /// Maximum time for a body, in ms.
    pub body_timeout_ms: u64,
    /// Interval after which a client must have read enough of its answers, in ms.
    pub write_timeout_ms: u64,
}

/// The proxies in front of the server.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    /// Networks of proxies. Their connections are not counted per address and are never closed to
    /// make room, since each serves many clients.
    pub networks: Vec<IpNet>,
    /// Whether their connections begin with a PROXY header.
    pub proxy_protocol: bool,
}

/// The numeric settings, which may change while the cores read them. Each is atomic by itself, so a
/// core may use old and new values together for a moment.
pub struct Limits {
    connections_max: AtomicUsize,
    refused_max: AtomicUsize,
    connections_per_address: AtomicU32,
    idle_timeout_ms: AtomicU64,
    head_timeout_ms: AtomicU64,
    body_timeout_ms: AtomicU64,
    write_timeout_ms: AtomicU64,
}

impl Limits {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            connections_max: settings.connections_max.into(),
            refused_max: settings.refused_max.into(),
            connections_per_address: settings.connections_per_address.into(),
            idle_timeout_ms: settings.idle_timeout_ms.into(),
            head_timeout_ms: settings.head_timeout_ms.into(),
            body_timeout_ms: settings.body_timeout_ms.into(),
            write_timeout_ms: settings.write_timeout_ms.into(),
        }
    }

    pub(super) fn set(&self, settings: &Settings) {
        self.connections_max.store(settings.connections_max, Ordering::Relaxed);
        self.refused_max.store(settings.refused_max, Ordering::Relaxed);
        self.connections_per_address.store(settings.connections_per_address, Ordering::Relaxed);
        self.idle_timeout_ms.store(settings.idle_timeout_ms, Ordering::Relaxed);
        self.head_timeout_ms.store(settings.head_timeout_ms, Ordering::Relaxed);
        self.body_timeout_ms.store(settings.body_timeout_ms, Ordering::Relaxed);
        self.write_timeout_ms.store(settings.write_timeout_ms, Ordering::Relaxed);
    }

    /// Maximum number of open connections.
    pub fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    pub(super) fn refused_max(&self) -> usize {
        self.refused_max.load(Ordering::Relaxed)
    }

    /// Maximum number of connections per client address. 0: no such limit.
    pub fn connections_per_address(&self) -> u32 {
        self.connections_per_address.load(Ordering::Relaxed)
    }

    pub(super) fn idle_timeout_ms(&self) -> u64 {
        self.idle_timeout_ms.load(Ordering::Relaxed)
    }

    pub(super) fn head_timeout_ms(&self) -> u64 {
        self.head_timeout_ms.load(Ordering::Relaxed)
    }

    pub(super) fn body_timeout_ms(&self) -> u64 {
        self.body_timeout_ms.load(Ordering::Relaxed)
    }

    pub(super) fn write_timeout_ms(&self) -> u64 {
        self.write_timeout_ms.load(Ordering::Relaxed)
    }
}
