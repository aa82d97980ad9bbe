//! A sale from a snapshot, and the empty one of a definition.

use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

use super::Machine;
use super::by_user::ByUser;
use super::deadlines::Deadlines;
use crate::sale::reservation::Status;
use crate::sale::row::Row;
use crate::sale::rows::{Rows, Table};
use crate::sale::seats::SeatMap;
use crate::sale::spec::{Creation, SaleSpec};
use crate::sale::split::Transfers;
use crate::sale::types::TypeUnits;

impl Machine {
    /// A sale from a snapshot, still without its rows. Its definition may have been changed by open
    /// and close: one that was closed before it opened would not pass a check.
    pub fn restore(spec: SaleSpec, now_ms: u64) -> Self {
        Self {
            transfers: Transfers::none(spec.split),
            by_type: vec![TypeUnits::default(); spec.types.len()],
            creation: Creation::UNKNOWN,
            seats: spec.plan.as_deref().map(|plan| Box::new(SeatMap::new(plan))),
            spec,
            held: 0,
            confirmed: 0,
            returned: 0,
            now_ms,
            version: 0,
            changed: Vec::new(),
            rows: Rows::default(),
            by_id: Table::default(),
            by_claim: Table::default(),
            units_by_user: ByUser::default(),
            made_by_user: ByUser::default(),
            deadlines: Deadlines::default(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Reserves capacity for this many more reservations, before a snapshot is read.
    pub fn reserve_rows(&mut self, count: usize) {
        let (rows, hasher) = (&self.rows, &self.hasher);
        self.by_id.reserve(count, |&row| hasher.hash_one(rows[row as usize].id));
        // Most reservations of a large sale have a key; the others waste 5 bytes each.
        self.by_claim.reserve(count, |&row| {
            let row = &rows[row as usize];
            hasher.hash_one((row.user(), row.key()))
        });
    }

    /// Restores one row of a snapshot. Rows must come in the order of [`rows`](Self::rows).
    pub fn restore_row(&mut self, row: Row) {
        let quantity = self.units_of(&row);
        if row.status.has_units()
            && let (Some(plan), Some(seating)) = (self.spec.plan.clone(), self.seating_of(&row))
            && let Some(map) = &mut self.seats
        {
            let sold = map.try_sell(&plan, &seating.places, seating.legs);
            debug_assert!(sold, "a seat sold twice");
        }
        match row.status {
            Status::Held => {
                self.held += quantity;
                self.count_types(&row, |units, quantity| units.held += quantity);
                let (number, due_ms) = (self.rows.len() as u32, row.expires_at_ms);
                match row.is_extended {
                    true => self.deadlines.add(number, due_ms),
                    false => self.deadlines.push(number, due_ms),
                }
            }
            Status::Confirmed => {
                self.confirmed += quantity;
                self.count_types(&row, |units, quantity| units.confirmed += quantity);
            }
            Status::Cancelled | Status::Expired | Status::Refunded => self.returned += 1,
        }
        if row.status.has_units() {
            self.add_user_units(row.user_bytes, &row.owner, row.quantity);
        }
        self.add_user_reservation(row.user_bytes, &row.owner);
        self.insert_row(row);
    }

    /// Restores the time of a snapshot.
    pub fn restore_now(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }
}
