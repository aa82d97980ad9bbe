//! Reservations of a sale at one point in time, kept between the pages of a list. Collecting them
//! is expensive, and pages of different times would not fit together.

use std::time::{Duration, Instant};

use crate::limits::CONTROL_SNAPSHOT_MS;
use crate::sale::{Change, ReservationId, SaleId, User};

/// See the module's header.
pub struct Snapshot {
    sale: SaleId,
    /// Only this user's. `None`: all.
    user: Option<User>,
    reservations: Vec<Change>,
    used: Instant,
}

impl Snapshot {
    /// The result of an audit, ordered by id: all reservations, or this user's.
    pub fn new(sale: SaleId, user: Option<User>, mut reservations: Vec<Change>) -> Self {
        if user.is_some() {
            reservations.retain(|change| change.reservation.user == user);
            reservations.shrink_to_fit();
        }
        Self { sale, user, reservations, used: Instant::now() }
    }

    /// Whether it is of this sale, and of this user or of all.
    pub fn is_of(&self, sale: &SaleId, user: Option<&User>) -> bool {
        self.sale == *sale && self.user.as_ref() == user
    }

    /// Whether no page was requested for a while.
    pub fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) > Duration::from_millis(CONTROL_SNAPSHOT_MS)
    }

    /// The next reservations after an id, and whether more follow.
    pub fn page(&mut self, after: Option<ReservationId>, limit: usize) -> (&[Change], bool) {
        self.used = Instant::now();
        let all = &self.reservations;
        let is_before = |change: &Change| after.is_some_and(|after| change.reservation.id <= after);
        let rest = &all[all.partition_point(is_before)..];
        (&rest[..rest.len().min(limit)], rest.len() > limit)
    }
}
