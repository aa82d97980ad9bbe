//! What the shop does to a reservation beside paying and giving back: holding it for longer, and taking
//! back a part of it.

use super::Machine;
use crate::limits::TIME_MS_MAX;
use crate::sale::command::{Outcome, Status};
use crate::sale::id::ReservationId;

impl Machine {
    /// One past its deadline that nobody has returned to stock yet can be extended, as it can be
    /// confirmed. The bound counts from the deadline that it was made with, so that asking again and
    /// again ends there.
    pub(super) fn extend(&mut self, id: ReservationId, hold_ms: Option<u64>) -> Outcome {
        let Some(row) = self.find(id) else { return Outcome::UnknownReservation };
        match self.rows[row].status {
            Status::Confirmed => return Outcome::AlreadyConfirmed,
            Status::Expired => return Outcome::Expired,
            Status::Cancelled => return Outcome::AlreadyCancelled,
            Status::Refunded => return Outcome::AlreadyRefunded,
            Status::Held => {}
        }
        let stands = self.rows[row].to_reservation();
        let until_ms = (self.now_ms + hold_ms.unwrap_or(self.spec.hold_ms)).min(TIME_MS_MAX);
        if until_ms <= stands.expires_at_ms {
            return Outcome::Reservation(Box::new(stands));
        }
        let first_ms = stands.first_expires_at_ms();
        let expires_at_ms_max =
            first_ms.saturating_add(self.spec.rules.extend_max_ms).min(TIME_MS_MAX);
        if until_ms > expires_at_ms_max {
            return Outcome::ExtensionLimit { expires_at_ms_max };
        }
        let mut details = stands.details.map(|details| *details).unwrap_or_default();
        details.first_expires_at_ms = Some(first_ms);
        self.deadlines.remove(row as u32, stands.expires_at_ms);
        self.change(row, |row| {
            row.expires_at_ms = until_ms;
            row.set_details(details);
        });
        self.deadlines.add(row as u32, until_ms);
        Outcome::Reservation(self.rows[row].boxed())
    }

    /// What a reservation has fewer of already, it is not given again: so a request that comes twice, or
    /// late, does no harm.
    pub(super) fn cancel_to(&mut self, id: ReservationId, remaining: u32) -> Outcome {
        let Some(row) = self.find(id) else { return Outcome::UnknownReservation };
        match self.rows[row].status {
            Status::Confirmed => Outcome::AlreadyConfirmed,
            Status::Expired => Outcome::Expired,
            Status::Refunded => Outcome::AlreadyRefunded,
            Status::Cancelled if remaining == 0 => Outcome::Reservation(self.rows[row].boxed()),
            Status::Cancelled => Outcome::AlreadyCancelled,
            Status::Held if remaining == 0 => self.cancel(id),
            Status::Held => self.reduce(row, remaining),
        }
    }

    /// The same of one that is paid.
    pub(super) fn refund_to(&mut self, id: ReservationId, remaining: u32) -> Outcome {
        let Some(row) = self.find(id) else { return Outcome::UnknownReservation };
        match self.rows[row].status {
            Status::Held => Outcome::NotConfirmed,
            Status::Expired => Outcome::Expired,
            Status::Cancelled => Outcome::AlreadyCancelled,
            Status::Refunded if remaining == 0 => Outcome::Reservation(self.rows[row].boxed()),
            Status::Refunded => Outcome::AlreadyRefunded,
            Status::Confirmed if remaining == 0 => self.refund(id),
            Status::Confirmed => self.reduce(row, remaining),
        }
    }

    fn reduce(&mut self, row: usize, remaining: u32) -> Outcome {
        let stands = self.rows[row].to_reservation();
        let (quantity, asked) = (stands.quantity, stands.asked());
        if remaining > asked {
            return Outcome::RemainingTooLarge { quantity };
        }
        if remaining >= quantity {
            return Outcome::Reservation(Box::new(stands));
        }
        let fewer = quantity - remaining;
        let mut details = stands.details.map(|details| *details).unwrap_or_default();
        details.asked = Some(asked);
        match stands.status {
            Status::Held => self.held -= u64::from(fewer),
            _ => self.confirmed -= u64::from(fewer),
        }
        self.take_user_units(row, fewer);
        self.change(row, |row| {
            row.quantity = remaining;
            row.set_details(details);
        });
        Outcome::Reservation(self.rows[row].boxed())
    }
}
