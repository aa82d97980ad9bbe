//! What the threads beside the cores tell of themselves, for operators: each writes its own numbers, and
//! whoever asks reads them. Nobody is asked, so what stands still is seen to stand still.
//!
//! Architecture invariant: numbers only. Knows no ledger and no core.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::count::{Counter, Gauge, Moment};
use crate::sync::{Mutex, lock};

/// See the module's header.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// Of the sweep, if there is one: since when it has owed the look that it owes longest.
    pub sweep_due: Moment,
    /// Of this server's lease, if it shares a ledger.
    pub lease: LeaseCounts,
    /// Of the audits that it was asked for.
    pub audits: AuditCounts,
    /// Of the webhooks of an embedded ledger, if it sends them.
    pub webhooks: WebhookCounts,
    /// When the certificates that buyers are shown expire, by their file.
    certificates: Mutex<Vec<Certificate>>,
}

/// What keeps the lease of this server.
#[derive(Debug, Default)]
pub struct LeaseCounts {
    /// When the renewal was sent that the ledger has answered last.
    pub renewed: Moment,
    /// Renewals that failed.
    pub failures: Counter,
    /// Servers with a lease, as the ledger said last.
    pub members: Gauge,
    /// Their cores together.
    pub cores: Gauge,
}

/// What the loop that delivers webhooks tells of itself.
#[derive(Debug, Default)]
pub struct WebhookCounts {
    /// Those that the receiver lacks and may still get.
    pub waiting: Gauge,
    /// When the one was made that has waited longest.
    pub oldest: Moment,
    /// Those that the receiver has taken.
    pub delivered: Counter,
    /// Attempts that failed.
    pub failed: Counter,
    /// Those that are not tried any more.
    pub dead: Gauge,
}

/// A certificate, as it was read last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The file that it is in.
    pub file: String,
    /// When it, or the first of its chain, expires.
    pub expires: SystemTime,
}

impl Certificate {
    /// The same in seconds since 1970.
    pub fn expires_s(&self) -> u64 {
        self.expires.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }
}

impl Upkeep {
    /// The certificates that new connections are shown.
    pub fn set_certificates(&self, certificates: Vec<Certificate>) {
        *lock(&self.certificates) = certificates;
    }

    /// Those that were set last.
    pub fn certificates(&self) -> Vec<Certificate> {
        lock(&self.certificates).clone()
    }
}

/// What an audit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audited {
    /// Everything agrees, if need be after a repair.
    Agrees,
    /// Something differs.
    Differs,
    /// It could not look.
    Failed,
}

impl Audited {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Agrees, Self::Differs, Self::Failed];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Differs => "differs",
            Self::Failed => "failed",
        }
    }
}

/// What audits have come to. Two threads may write.
#[derive(Debug, Default)]
pub struct AuditCounts {
    by_result: [AtomicU64; Audited::ALL.len()],
    last: Mutex<Option<LastAudit>>,
}

/// The last audit of all sales that could look at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastAudit {
    /// When it ended.
    pub ended: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Differences that it left.
    pub differences: u64,
}

impl AuditCounts {
    /// An audit has come to this.
    pub fn count(&self, result: Audited) {
        self.by_result[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many came to this.
    pub fn total(&self, result: Audited) -> u64 {
        self.by_result[result as usize].load(Ordering::Relaxed)
    }

    /// One of all sales could look, and has ended.
    pub fn set_last(&self, audit: LastAudit) {
        *lock(&self.last) = Some(audit);
    }

    /// The last of those, if there was one.
    pub fn last(&self) -> Option<LastAudit> {
        *lock(&self.last)
    }
}
