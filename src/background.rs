//! Numbers of the background threads, for operators. Each thread writes its own numbers, and
//! readers never wait for a thread, so a thread that is stuck becomes visible.
//!
//! Architecture invariant: numbers only. Knows no ledger and no core.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::count::{Counter, Gauge, Moment};
use crate::sync::{Mutex, lock};

/// See the module's header.
#[derive(Debug, Default)]
pub struct BackgroundStats {
    /// The sweep, if there is one: since when its most overdue check has been due.
    pub sweep_due: Moment,
    /// This server's lease, if it shares a ledger.
    pub lease: LeaseCounts,
    /// Audits that were requested at this server.
    pub audits: AuditCounts,
    /// Webhooks of an embedded ledger, if it sends them.
    pub webhooks: WebhookCounts,
    /// Expiry of the certificates of the public port, by file.
    certificates: Mutex<Vec<Certificate>>,
}

/// Numbers of the thread that keeps this server's lease.
#[derive(Debug, Default)]
pub struct LeaseCounts {
    /// When the last renewal that the ledger has answered was sent.
    pub renewed: Moment,
    /// Renewals that failed.
    pub failures: Counter,
    /// Servers with a lease, as of the ledger's last answer.
    pub members: Gauge,
    /// The sum of their cores.
    pub cores: Gauge,
}

/// Numbers of the loop that delivers webhooks.
#[derive(Debug, Default)]
pub struct WebhookCounts {
    /// Webhooks not delivered yet.
    pub waiting: Gauge,
    /// When the oldest of them was created.
    pub oldest: Moment,
    /// Delivered webhooks.
    pub delivered: Counter,
    /// Failed attempts.
    pub failed: Counter,
    /// Webhooks that are not tried any more.
    pub dead: Gauge,
}

/// A certificate, as it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its file.
    pub file: String,
    /// When it, or the first certificate of its chain, expires.
    pub expires: SystemTime,
}

impl Certificate {
    /// The same in seconds since 1970.
    pub fn expires_s(&self) -> u64 {
        self.expires.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }
}

impl BackgroundStats {
    /// Sets the certificates that new connections get.
    pub fn set_certificates(&self, certificates: Vec<Certificate>) {
        *lock(&self.certificates) = certificates;
    }

    /// The certificates that were set last.
    pub fn certificates(&self) -> Vec<Certificate> {
        lock(&self.certificates).clone()
    }
}

/// The result of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audited {
    /// Everything agrees, perhaps after a repair.
    Agrees,
    /// Something differs.
    Differs,
    /// It could not read the data.
    Failed,
}

impl Audited {
    /// All results.
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

/// Counts of audit results. Two threads may write.
#[derive(Debug, Default)]
pub struct AuditCounts {
    by_result: [AtomicU64; Audited::ALL.len()],
    last: Mutex<Option<LastAudit>>,
}

/// The last complete audit of all sales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastAudit {
    /// When it ended.
    pub ended: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Differences that are left.
    pub differences: u64,
}

impl AuditCounts {
    /// Counts an audit.
    pub fn count(&self, result: Audited) {
        self.by_result[result as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Number of audits with this result.
    pub fn total(&self, result: Audited) -> u64 {
        self.by_result[result as usize].load(Ordering::Relaxed)
    }

    /// Notes a complete audit of all sales.
    pub fn set_last(&self, audit: LastAudit) {
        *lock(&self.last) = Some(audit);
    }

    /// The last complete audit of all sales, if there was one.
    pub fn last(&self) -> Option<LastAudit> {
        *lock(&self.last)
    }
}
