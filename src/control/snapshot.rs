//! All reservations of a sale at one point in time, kept from one page of a list to the next: to
//! gather them once is dear, and pages of different times would not fit together.

use std::time::{Duration, Instant};

use crate::ledger::client::SaleAudit;
use crate::limits::CONTROL_SNAPSHOT_MS;
use crate::sale::{Change, ReservationId, SaleId};

/// See the module's header.
pub struct Snapshot {
    sale: SaleId,
    audit: SaleAudit,
    used: Instant,
}

impl Snapshot {
    /// What an audit has just found.
    pub fn new(sale: SaleId, audit: SaleAudit) -> Self {
        Self { sale, audit, used: Instant::now() }
    }

    /// Whether it is of this sale.
    pub fn is_of(&self, sale: &SaleId) -> bool {
        self.sale == *sale
    }

    /// Whether nobody has asked for a page for long.
    pub fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) > Duration::from_millis(CONTROL_SNAPSHOT_MS)
    }

    /// The next reservations after an id, and whether there are more after them.
    pub fn page(&mut self, after: Option<ReservationId>, limit: usize) -> (&[Change], bool) {
        self.used = Instant::now();
        let all = &self.audit.reservations;
        let is_before = |change: &Change| after.is_some_and(|after| change.reservation.id <= after);
        let rest = &all[all.partition_point(is_before)..];
        (&rest[..rest.len().min(limit)], rest.len() > limit)
    }
}
