//! A sale with all its reservations, on its way from one ledger, or from an archive, to another.

use std::collections::HashSet;

use crate::limits::TOTAL_MAX;
use crate::sale::{Change, SaleId, SaleView, Status};

/// The sale as it stood when nothing changed it any more.
#[derive(Debug, Clone)]
pub struct SaleCopy {
    /// Its id.
    pub id: SaleId,
    /// Its definition and counts.
    pub view: SaleView,
    /// Every reservation as its last change left it.
    pub reservations: Vec<Change>,
}

impl SaleCopy {
    /// The highest version that its reservations have.
    pub fn version(&self) -> u64 {
        self.reservations.iter().map(|change| change.version).max().unwrap_or(0)
    }

    /// Whether it is one sale: its counts are those of its reservations, no id is there twice, and no
    /// key of a user. An error says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let units = |status: Status| -> u64 {
            let rows = self.reservations.iter().map(|change| &change.reservation);
            rows.filter(|row| row.status == status).map(|row| u64::from(row.quantity)).sum()
        };
        let (held, confirmed) = (units(Status::Held), units(Status::Confirmed));
        let view = &self.view;
        if (held, confirmed) != (view.held, view.confirmed) {
            return Err(format!(
                "its reservations come to {held} units held and {confirmed} confirmed, and it says {} \
                 and {}",
                view.held, view.confirmed
            ));
        }
        if view.spec.total > TOTAL_MAX || held + confirmed > view.spec.total {
            return Err(format!("{} units of {} are sold", held + confirmed, view.spec.total));
        }
        let (mut ids, mut claims) = (HashSet::new(), HashSet::new());
        for change in &self.reservations {
            let reservation = &change.reservation;
            if change.sale != self.id {
                return Err(format!("{} is of the sale {}", reservation.id, change.sale));
            }
            if !ids.insert(reservation.id) {
                return Err(format!("the reservation {} is there twice", reservation.id));
            }
            let user = reservation.user.as_ref().map_or("", |user| user.as_str());
            if let Some(key) = &change.key
                && !claims.insert((user, key.as_str()))
            {
                return Err(format!("the key of {} is another reservation's, too", reservation.id));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{Creation, Key, Moves, Reservation, ReservationId, SaleSpec};

    fn change(id: u128, quantity: u32, status: Status, key: Option<&str>) -> Change {
        let (id, user, expires_at_ms) = (ReservationId(id), None, 9);
        Change {
            sale: SaleId::new("a").unwrap(),
            reservation: Reservation { id, user, quantity, status, expires_at_ms, details: None },
            key: key.map(|key| Key::new(key).unwrap()),
            trace: None,
            at_ms: 5,
            version: 7,
        }
    }

    fn copy(reservations: Vec<Change>) -> SaleCopy {
        let (spec, moves) = (SaleSpec::with_total(10), Moves::default());
        let (held, confirmed) = (2, 3);
        let view = SaleView {
            spec,
            held,
            confirmed,
            by_type: Vec::new(),
            now_ms: 9,
            moves,
            creation: Creation::UNKNOWN,
        };
        SaleCopy { id: SaleId::new("a").unwrap(), view, reservations }
    }

    #[test]
    fn only_what_fits_together_is_a_sale() {
        let held = change(1, 2, Status::Held, Some("k"));
        let paid = change(2, 3, Status::Confirmed, None);
        let gone = |id, key| change(id, 4, Status::Expired, key);
        let good = copy(vec![held.clone(), paid.clone(), gone(3, Some("l"))]);
        assert_eq!((good.check(), good.version()), (Ok(()), 7));
        let mut foreign = gone(3, None);
        foreign.sale = SaleId::new("b").unwrap();
        for (third, told) in [
            (gone(1, None), "twice"),
            (gone(3, Some("k")), "another reservation's"),
            (foreign, "is of the sale b"),
            (change(3, 1, Status::Held, None), "3 units held"),
        ] {
            let error = copy(vec![held.clone(), paid.clone(), third]).check().unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        let mut over = good;
        over.view.spec.total = 4;
        assert!(over.check().unwrap_err().contains("5 units of 4"));
    }
}
