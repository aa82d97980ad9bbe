//! A batch of changes as rows: one a reservation, the latest of it, in the order of their ids.
//!
//! In one order for everybody, two workers that write the same rows wait for each other instead of
//! deadlocking, and neighbours in the index are written together.

use crate::sale::{Change, ReservationId, SaleId};

/// The latest change of each reservation, in the order of public ids.
pub(super) fn latest(changes: &[Change]) -> Vec<&Change> {
    let mut rows: Vec<&Change> = changes.iter().collect();
    let key = |change: &Change| (change.reservation.id, std::cmp::Reverse(change.version));
    rows.sort_by(|a, b| a.sale.cmp(&b.sale).then_with(|| key(a).cmp(&key(b))));
    rows.dedup_by(|b, a| a.reservation.id == b.reservation.id && a.sale == b.sale);
    rows
}

/// The public id, `<sale>~<26 characters>`.
pub(super) fn public_id(change: &Change) -> String {
    format!("{}~{}", change.sale, change.reservation.id)
}

/// The reservation that a row stands for, if it is one of this sale's.
pub(super) fn id_of(sale: &SaleId, public: &str) -> Option<ReservationId> {
    let (of, id) = ReservationId::from_public(public).ok()?;
    (of == *sale).then_some(id)
}

/// Whether a row is of the same sale as people know it, but of another part of it.
pub(super) fn is_of_another_part(sale: &SaleId, public: &str) -> bool {
    let of = ReservationId::from_public(public).map(|(of, _)| of);
    of.is_ok_and(|of| of != *sale && of.whole() == sale.whole())
}

/// A version as databases have it. Those of Redis end in the year 2248, those of the embedded
/// ledger count its records.
pub(super) fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// The reverse of [`signed`].
pub(super) fn unsigned(version: i64) -> u64 {
    u64::try_from(version).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{Reservation, Status};

    #[test]
    fn of_two_changes_the_later_stays_whatever_their_order() {
        let change = |sale: &str, id: u128, version, status| Change {
            sale: SaleId::new(sale).unwrap(),
            reservation: Reservation {
                id: ReservationId(id),
                user: None,
                quantity: 1,
                status,
                expires_at_ms: 0,
            },
            key: None,
            at_ms: 0,
            version,
        };
        let changes = [
            change("b", 2, 7, Status::Confirmed),
            change("b", 2, 5, Status::Held),
            change("a", 9, 5, Status::Held),
            change("a", 9, 6, Status::Expired),
            change("a", 2, 5, Status::Held),
        ];
        let rows: Vec<_> = latest(&changes)
            .into_iter()
            .map(|c| (c.sale.as_str(), c.reservation.id.0, c.version))
            .collect();
        assert_eq!(rows, [("a", 2, 5), ("a", 9, 6), ("b", 2, 7)]);
    }
}
