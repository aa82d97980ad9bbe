//! A sale with all its reservations, on its way from one ledger or from an archive to another
//! ledger.

use std::collections::HashSet;

use crate::limits::TOTAL_MAX;
use crate::sale::{Change, SaleId, SaleView, Status, TypeUnits, count_by_type};

/// The sale after its last change.
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
    /// The highest version among its reservations.
    pub fn version(&self) -> u64 {
        self.reservations.iter().map(|change| change.version).max().unwrap_or(0)
    }

    /// Checks that it is one consistent sale: its counts are those of its reservations, and no id
    /// and no key of a user occurs twice. The error says what is wrong.
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
        let rows = self.reservations.iter().map(|change| &change.reservation);
        let by_type = count_by_type(&view.spec.types, rows)
            .map_err(|id| format!("the lines of {id} are none of the sale's ticket types"))?;
        if by_type != view.by_type {
            return Err(format!(
                "its reservations come to {} units held:confirmed by ticket type, and it says {}",
                TypeUnits::list_to_text(&by_type),
                TypeUnits::list_to_text(&view.by_type)
            ));
        }
        if let Some((name, cap, units, _)) = view.types().find(|(_, cap, u, _)| u.sold() > *cap) {
            return Err(format!(
                "{} units of {cap} of the ticket type {name} are sold",
                units.sold()
            ));
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
            let asked =
                reservation.details.as_deref().and_then(|details| details.asked_lines.as_ref());
            let lines = reservation.lines();
            if asked.is_some_and(|asked| lines.is_none_or(|lines| !lines.are_within(asked))) {
                return Err(format!("{} has lines that it did not ask for", reservation.id));
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
    use crate::sale::{
        Creation, Details, Key, Lines, Reservation, ReservationId, SaleSpec, Transfers, Types,
    };

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
        let (spec, moves) = (SaleSpec::with_total(10), Transfers::default());
        let (held, confirmed) = (2, 3);
        let view = SaleView {
            spec,
            held,
            confirmed,
            by_type: Vec::new(),
            now_ms: 9,
            transfers: moves,
            creation: Creation::UNKNOWN,
        };
        SaleCopy { id: SaleId::new("a").unwrap(), view, reservations }
    }

    #[test]
    fn an_inconsistent_copy_of_a_sale_is_refused() {
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

    #[test]
    fn lines_must_match_the_ticket_types_of_the_sale() {
        let typed = |id, lines: &str, quantity, status| {
            let mut change = change(id, quantity, status, None);
            let lines = Lines::from_text(lines);
            change.reservation.details = Details { lines, ..Details::default() }.boxed();
            change
        };
        let held = typed(1, "adult:1,child:1", 2, Status::Held);
        let paid = typed(2, "adult:3", 3, Status::Confirmed);
        let gone = |lines| typed(3, lines, 4, Status::Cancelled);
        let mut good = copy(vec![held.clone(), paid.clone(), gone("adult:4")]);
        good.view.spec.types = Types::from_text("adult:4,child:9").unwrap();
        good.view.by_type = TypeUnits::list_from_text("1:3,1:0").unwrap();
        assert_eq!(good.check(), Ok(()));
        for lines in ["", "adult:3", "dog:4"] {
            let mut odd = good.clone();
            odd.reservations[2] = gone(lines);
            assert!(
                odd.check().unwrap_err().contains("none of the sale's ticket types"),
                "{lines}"
            );
        }
        let mut counted = good.clone();
        counted.view.by_type[0].held = 2;
        assert!(counted.check().unwrap_err().contains("1:3,1:0"));
        good.view.spec.types = Types::from_text("adult:3,child:9").unwrap();
        assert!(good.check().unwrap_err().contains("4 units of 3 of the ticket type adult"));
        let plain = copy(vec![held, paid]);
        assert!(plain.check().is_err(), "a plain sale has no lines");
    }
}
