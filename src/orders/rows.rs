//! A batch of changes as rows: one per reservation, its latest, in the order of ids.
//!
//! With one order for all, two workers that write the same rows wait for each other instead of
//! deadlocking, and neighbours in the index are written together.

use std::ops::Deref;

use super::database::{Order, Row};
use crate::sale::{Change, Lines, ReservationId, SaleId, Status};
use crate::trace::Trace;

/// The latest change of a reservation, and the trace from any of its changes.
#[derive(Clone, Copy)]
pub(super) struct Latest<'a> {
    change: &'a Change,
    pub(super) trace: Option<&'a Trace>,
}

impl<'a> Latest<'a> {
    /// The reservation's note. Each of its changes has it.
    pub(super) fn note(&self) -> Option<&'a str> {
        self.change.reservation.note()
    }

    /// Its units by ticket type as JSON, in a sale with ticket types. They change with its
    /// quantity.
    pub(super) fn lines(&self) -> Option<String> {
        self.change.reservation.lines().map(Lines::to_json)
    }
}

impl Deref for Latest<'_> {
    type Target = Change;

    fn deref(&self) -> &Change {
        self.change
    }
}

/// The latest change of each reservation, in the order of public ids.
pub(super) fn latest(changes: &[Change]) -> Vec<Latest<'_>> {
    let latest = |change| Latest { change, trace: change.trace.as_deref() };
    let mut rows: Vec<_> = changes.iter().map(latest).collect();
    let key = |change: &Change| (change.reservation.id, std::cmp::Reverse(change.version));
    rows.sort_by(|a, b| a.sale.cmp(&b.sale).then_with(|| key(a).cmp(&key(b))));
    rows.dedup_by(|b, a| {
        let same = a.reservation.id == b.reservation.id && a.sale == b.sale;
        if same {
            a.trace = a.trace.or(b.trace);
        }
        same
    });
    rows
}

/// The public id, `<sale>~<26 characters>`.
pub(super) fn public_id(change: &Change) -> String {
    format!("{}~{}", change.sale, change.reservation.id)
}

/// A version as databases store it. Those of Redis end in the year 2248; those of the embedded
/// ledger count its records.
pub(super) fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// The inverse of [`signed`].
pub(super) fn unsigned(version: i64) -> u64 {
    u64::try_from(version).unwrap_or(0)
}

/// A column as the database's client returns it: a value, NULL, or why it can't be read.
pub(super) type Column<T> = Result<Option<T>, String>;

/// The columns of a row that an audit reads. Somebody may have changed the table, or a row by hand.
pub(super) struct Columns {
    pub(super) reservation: Column<String>,
    pub(super) user: Column<String>,
    pub(super) quantity: Column<i64>,
    pub(super) status: Column<String>,
    pub(super) version: Column<i64>,
    /// `None`: the table has no such column.
    pub(super) lines: Option<Column<String>>,
}

impl Columns {
    /// The row. `None`: it does not concern the requested part of a sale.
    pub(super) fn read(self, sale: &SaleId) -> Option<Row> {
        let row = match &self.reservation {
            Ok(Some(text)) => text.clone(),
            Ok(None) => "NULL".to_owned(),
            Err(problem) => problem.clone(),
        };
        let (of, id) = match ReservationId::from_public(&row) {
            Ok((of, id)) if of.whole() == sale.whole() => (of, id),
            // Rows that belong to no sale are reported once, with the whole sale.
            _ if sale.is_part() => return None,
            Ok(_) => return Some(unreadable(row, None, "its id is of another sale".into())),
            Err(error) => return Some(unreadable(row, None, error.to_string())),
        };
        Some(match self.order(id) {
            Ok(order) if of == *sale => Row::Order(order),
            Ok(order) => Row::Elsewhere(of, order),
            Err(problem) if of == *sale => unreadable(row, Some(id), problem),
            // An audit of that place reports it.
            Err(_) => return None,
        })
    }

    fn order(self, id: ReservationId) -> Result<Order, String> {
        let number = |name: &str, column: Column<i64>| {
            let number = column.map_err(|problem| format!("{name}: {problem}"))?;
            number.ok_or_else(|| format!("{name} is NULL"))
        };
        let quantity = number("quantity", self.quantity)?;
        let version = number("version", self.version)?;
        let status = self.status.map_err(|problem| format!("status: {problem}"))?;
        let lines = self.lines.transpose().map_err(|problem| format!("lines: {problem}"))?;
        Ok(Order {
            id,
            lines,
            user: self.user.map_err(|problem| format!("user_id: {problem}"))?,
            quantity: u32::try_from(quantity)
                .map_err(|_| format!("quantity is {quantity}, no number of units"))?,
            status: status.and_then(|status| Status::from_name(&status)),
            version: u64::try_from(version)
                .map_err(|_| format!("version is {version}, below any"))?,
        })
    }
}

fn unreadable(row: String, id: Option<ReservationId>, problem: String) -> Row {
    Row::Unreadable { row, id, problem }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sale::{Reservation, Status};

    fn columns(reservation: &str) -> Columns {
        Columns {
            reservation: Ok(Some(reservation.to_owned())),
            user: Ok(None),
            quantity: Ok(Some(1)),
            status: Ok(Some("held".into())),
            version: Ok(Some(5)),
            lines: Some(Ok(None)),
        }
    }

    #[test]
    fn a_row_is_an_order_a_foreign_order_or_unreadable() {
        let ticket = SaleId::new("ticket").unwrap();
        let (part, other) = (ticket.part(1, 2).unwrap(), ticket.part(2, 2).unwrap());
        let id = |sale: &SaleId| format!("{sale}~{}", ReservationId(7));
        let order = Order {
            id: ReservationId(7),
            user: None,
            quantity: 1,
            status: Some(Status::Held),
            version: 5,
            lines: Some(None),
        };
        let read = |columns: Columns, sale: &SaleId| columns.read(sale);
        assert_eq!(read(columns(&id(&ticket)), &ticket), Some(Row::Order(order.clone())));
        let elsewhere = Some(Row::Elsewhere(other.clone(), order));
        assert_eq!(read(columns(&id(&other)), &ticket), elsewhere);
        assert_eq!(read(columns(&id(&other)), &part), elsewhere);
        for row in ["none", "", "poster~0000000000000000000000000A"] {
            assert!(matches!(
                read(columns(row), &ticket),
                Some(Row::Unreadable { row: named, id: None, .. }) if named == row
            ));
            assert_eq!(read(columns(row), &part), None);
        }
        let wrong: [fn(&mut Columns); 6] = [
            |row| row.lines = Some(Err("a number".into())),
            |row| row.quantity = Ok(None),
            |row| row.quantity = Ok(Some(-1)),
            |row| row.version = Ok(Some(-1)),
            |row| row.version = Err("a text".into()),
            |row| row.status = Err("a number".into()),
        ];
        for spoil in wrong {
            let mut row = columns(&id(&ticket));
            spoil(&mut row);
            let read = read(row, &ticket);
            let named = matches!(&read, Some(Row::Unreadable { id: Some(id), .. }) if id.0 == 7);
            assert!(named, "{read:?}");
        }
        let mut null = columns("");
        null.reservation = Ok(None);
        assert!(matches!(
            read(null, &ticket),
            Some(Row::Unreadable { row, .. }) if row == "NULL"
        ));
    }

    #[test]
    fn the_latest_change_of_each_reservation_is_kept() {
        let change = |sale: &str, id: u128, version, status| Change {
            sale: SaleId::new(sale).unwrap(),
            reservation: Reservation {
                id: ReservationId(id),
                user: None,
                quantity: 1,
                status,
                expires_at_ms: 0,
                details: None,
            },
            key: None,
            at_ms: 0,
            version,
            trace: None,
        };
        let changes = [
            change("b", 2, 7, Status::Confirmed),
            change("b", 2, 5, Status::Held),
            change("a", 9, 5, Status::Held),
            change("a", 9, 6, Status::Expired),
            change("a", 2, 5, Status::Held),
        ];
        let found = latest(&changes);
        let rows: Vec<_> =
            found.iter().map(|c| (c.sale.as_str(), c.reservation.id.0, c.version)).collect();
        assert_eq!(rows, [("a", 2, 5), ("a", 9, 6), ("b", 2, 7)]);
    }

    #[test]
    fn the_latest_change_keeps_an_earlier_trace() {
        let trace = Trace::from_texts("asked", "").map(Arc::new);
        let change = |status, version, trace| Change {
            sale: SaleId::new("a").unwrap(),
            reservation: Reservation {
                id: ReservationId(1),
                user: None,
                quantity: 1,
                status,
                expires_at_ms: 0,
                details: None,
            },
            key: None,
            trace,
            at_ms: 0,
            version,
        };
        let changes = [change(Status::Confirmed, 7, None), change(Status::Held, 5, trace.clone())];
        let found = latest(&changes);
        assert_eq!((found.len(), found[0].version), (1, 7));
        assert_eq!(found[0].trace, trace.as_deref());
    }
}
