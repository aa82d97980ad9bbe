//! One reservation as the machine keeps it and a snapshot stores it.

use super::change::Change;
use super::details::Details;
use super::id::{Key, ReservationId, SaleId, User};
use super::reservation::{Reservation, Status};

/// A reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The reservation's id.
    pub id: ReservationId,
    /// User, then key, then the details as [text](Details::to_text). The next two fields say where
    /// each ends. Empty: not given.
    pub owner: Box<str>,
    /// Length of the user at the start of `owner`.
    pub user_bytes: u8,
    /// Length of the key after it.
    pub key_bytes: u8,
    /// Whether its hold time was extended.
    pub is_extended: bool,
    /// Its status.
    pub status: Status,
    /// Units.
    pub quantity: u32,
    /// The end of its hold time, in ms since 1970.
    pub expires_at_ms: u64,
    /// The machine's [version](super::Machine::set_version) at the last change.
    pub version: u64,
    /// The time of the last change, in ms since 1970.
    pub changed_at_ms: u64,
}

const _: () = assert!(size_of::<Row>() == 64, "a row is a cache line");

/// The value of `owner`.
pub(super) fn joined(user: &str, key: &str, details: Option<&Details>) -> Box<str> {
    match (user, key, details) {
        ("", "", None) => Box::default(),
        (user, key, None) => [user, key].concat().into(),
        (user, key, Some(details)) => [user, key, &details.to_text()].concat().into(),
    }
}

pub(super) fn is_extended(details: Option<&Details>) -> bool {
    details.is_some_and(|details| details.first_expires_at_ms.is_some())
}

impl Row {
    /// The user. Empty: anonymous.
    pub fn user(&self) -> &str {
        &self.owner[..self.user_bytes as usize]
    }

    /// The idempotency key. Empty: none.
    pub fn key(&self) -> &str {
        &self.owner[self.user_bytes as usize..][..self.key_bytes as usize]
    }

    /// The details as text. Empty: none.
    pub fn details_text(&self) -> &str {
        &self.owner[self.user_bytes as usize + self.key_bytes as usize..]
    }

    /// The details.
    pub(super) fn details(&self) -> Option<Box<Details>> {
        Details::from_text(self.details_text()).map(Box::new)
    }

    /// Sets the details.
    pub(super) fn set_details(&mut self, details: Details) {
        self.is_extended = details.first_expires_at_ms.is_some();
        let owner = &self.owner[..self.user_bytes as usize + self.key_bytes as usize];
        self.owner = [owner, &details.to_text()].concat().into();
    }

    /// The reservation as it stands.
    pub fn to_reservation(&self) -> Reservation {
        Reservation {
            id: self.id,
            user: User::new(self.user()).ok(),
            quantity: self.quantity,
            status: self.status,
            expires_at_ms: self.expires_at_ms,
            details: self.details(),
        }
    }

    pub(super) fn boxed(&self) -> Box<Reservation> {
        Box::new(self.to_reservation())
    }

    /// The row of a reservation from another ledger, with a version of this ledger.
    pub fn of_change(change: &Change, version: u64) -> Self {
        let reservation = &change.reservation;
        let user = reservation.user.as_ref().map_or("", User::as_str);
        let key = change.key.as_ref().map_or("", Key::as_str);
        Self {
            id: reservation.id,
            owner: joined(user, key, reservation.details.as_deref()),
            user_bytes: user.len() as u8,
            key_bytes: key.len() as u8,
            is_extended: is_extended(reservation.details.as_deref()),
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
