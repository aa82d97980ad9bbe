//! The units of each user, and the number of reservations made for each, in a sale that bounds
//! either. Other sales count nothing.

use super::Machine;
use crate::sale::command::Outcome;

impl Machine {
    /// The units of each user, as counted for the sale's limit. Empty in a sale without one.
    pub fn units_by_user(&self) -> impl Iterator<Item = (&str, u32)> {
        self.units_by_user.iter()
    }

    /// The number of reservations made for each user, as counted for the sale's bound. Empty in a
    /// sale without one.
    pub fn made_by_user(&self) -> impl Iterator<Item = (&str, u32)> {
        self.made_by_user.iter()
    }

    /// The outcome if `quantity` more units would break the sale's limit per user.
    pub(super) fn limit_breach(&self, user: &str, quantity: u32) -> Option<Outcome> {
        let limit_per_user = self.spec.limit_per_user;
        if limit_per_user == 0 {
            return None;
        }
        if user.is_empty() {
            return Some(Outcome::UserRequired);
        }
        let units = self.units_by_user.get(&self.hasher, user);
        (u64::from(units) + u64::from(quantity) > u64::from(limit_per_user))
            .then_some(Outcome::LimitReached { limit_per_user })
    }

    /// The outcome if one more reservation would break the sale's bound per user.
    pub(super) fn user_exhausted(&self, user: &str) -> Option<Outcome> {
        let reservations_per_user_max = self.spec.rules.reservations_per_user_max;
        if reservations_per_user_max == 0 {
            return None;
        }
        if user.is_empty() {
            return Some(Outcome::UserRequired);
        }
        (self.made_by_user.get(&self.hasher, user) >= reservations_per_user_max)
            .then_some(Outcome::UserReservationsExhausted { reservations_per_user_max })
    }

    pub(super) fn add_user_units(&mut self, user_bytes: u8, owner: &str, quantity: u32) {
        if self.spec.limit_per_user > 0 && user_bytes > 0 {
            self.units_by_user.add(&self.hasher, &owner[..user_bytes as usize], quantity);
        }
    }

    /// The user of this row no longer has these units.
    pub(super) fn take_user_units(&mut self, row: usize, quantity: u32) {
        if self.spec.limit_per_user > 0 {
            self.units_by_user.take(&self.hasher, self.rows[row].user(), quantity);
        }
    }

    /// One more reservation was made for a user.
    pub(super) fn add_user_reservation(&mut self, user_bytes: u8, owner: &str) {
        if self.spec.rules.reservations_per_user_max > 0 && user_bytes > 0 {
            self.made_by_user.add(&self.hasher, &owner[..user_bytes as usize], 1);
        }
    }

    /// Counts the units of each user in a sale that did not count them before.
    pub(super) fn count_user_units(&mut self) {
        for row in 0..self.rows.len() {
            let row = &self.rows[row];
            if row.status.has_units() && row.user_bytes > 0 {
                let (user_bytes, owner, quantity) =
                    (row.user_bytes, row.owner.clone(), row.quantity);
                self.add_user_units(user_bytes, &owner, quantity);
            }
        }
    }

    /// Counts the reservations made for each user in the same way.
    pub(super) fn count_user_reservations(&mut self) {
        for row in 0..self.rows.len() {
            let (user_bytes, owner) = (self.rows[row].user_bytes, self.rows[row].owner.clone());
            self.add_user_reservation(user_bytes, &owner);
        }
    }
}
