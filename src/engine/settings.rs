//! What an engine is told, and what of that may change while it runs.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use ipnet::IpNet;

/// What an engine may be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The worker of `may` that is its first core; the others follow.
    pub first_worker: usize,
    /// Connections that may be open, over all cores.
    pub connections_max: usize,
    /// Connections beyond that which are told so; of those beyond even this, nothing is read.
    pub refused_max: usize,
    /// Connections that one address may have. 0: as many as there are places.
    pub connections_per_address: u32,
    /// Who stands in front.
    pub front: Front,
    /// Time for a connection between two requests, in ms.
    pub idle_timeout_ms: u64,
    /// Time for a head, in ms.
    pub head_timeout_ms: u64,
    /// Time for a body, in ms.
    pub body_timeout_ms: u64,
    /// Time after which is looked how much of its answers a client has taken, in ms.
    pub write_timeout_ms: u64,
}

/// Who stands in front of the server.
#[derive(Debug, Clone, Default)]
pub struct Front {
    /// Networks of clients whose connections never give way and are not counted: proxies, behind
    /// which there is a crowd.
    pub trusted: Vec<IpNet>,
    /// Whether these begin a connection with whose it is (the PROXY protocol).
    pub proxy_protocol: bool,
}

/// The numbers among the settings, which may change while the cores read them: each for itself, so a
/// core may for a moment go by some old and some new ones.
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

    /// Connections that may be open.
    pub fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    pub(super) fn refused_max(&self) -> usize {
        self.refused_max.load(Ordering::Relaxed)
    }

    /// Connections that one address may have. 0: as many as there are places.
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
