//! One reservation as the machine keeps it and as a snapshot stores it.

use super::change::Change;
use super::command::{Reservation, Status};
use super::id::{Key, ReservationId, SaleId, User};

/// A reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The reservation's id.
    pub id: ReservationId,
    /// User, then key: [`user_bytes`](Self::user_bytes) says where one ends. Empty: not given.
    pub owner: Box<str>,
    /// Length of the user at the start of `owner`.
    pub user_bytes: u8,
    /// What became of it.
    pub status: Status,
    /// Units.
    pub quantity: u32,
    /// The end of its hold time, in ms since 1970.
    pub expires_at_ms: u64,
    /// The machine's [version](super::Machine::set_version) when it changed last.
    pub version: u64,
    /// When it changed last, in ms since 1970.
    pub changed_at_ms: u64,
}

const _: () = assert!(size_of::<Row>() == 64, "a row is a cache line");

impl Row {
    /// For whom. Empty: anonymous.
    pub fn user(&self) -> &str {
        &self.owner[..self.user_bytes as usize]
    }

    pub(super) fn key(&self) -> &str {
        &self.owner[self.user_bytes as usize..]
    }

    pub(super) fn to_reservation(&self) -> Reservation {
        Reservation {
            id: self.id,
            user: User::new(self.user()).ok(),
            quantity: self.quantity,
            status: self.status,
            expires_at_ms: self.expires_at_ms,
        }
    }

    pub(super) fn boxed(&self) -> Box<Reservation> {
        Box::new(self.to_reservation())
    }

    /// The row of a reservation that comes from elsewhere, under a version of this ledger.
    pub fn of_change(change: &Change, version: u64) -> Self {
        let reservation = &change.reservation;
        let user = reservation.user.as_ref().map_or("", User::as_str);
        let key = change.key.as_ref().map_or("", Key::as_str);
        let owner = match (user, key) {
            ("", "") => Box::default(),
            (user, key) => [user, key].concat().into_boxed_str(),
        };
        Self {
            id: reservation.id,
            owner,
            user_bytes: user.len() as u8,
            status: reservation.status,
            quantity: reservation.quantity,
            expires_at_ms: reservation.expires_at_ms,
            version,
            changed_at_ms: change.at_ms,
        }
    }

    /// The reservation as its last change left it.
    pub fn to_change(&self, sale: &SaleId) -> Change {
        Change {
            sale: sale.clone(),
            reservation: self.to_reservation(),
            key: Key::new(self.key()).ok(),
            trace: None,
            at_ms: self.changed_at_ms,
            version: self.version,
        }
    }
}
