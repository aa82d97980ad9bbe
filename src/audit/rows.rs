//! Compares the rows of a sale with its reservations.
//!
//! A row that is newer than the ledger's audit belongs to a change made meanwhile, or was written
//! by a state of the ledger that was lost since. So the ledger is audited again after the rows were
//! read: a row that is still newer has a version that this ledger never assigned.

use std::collections::HashSet;

use super::error::AuditError;
use super::mode::{Mode, REPAIR_ROUNDS_MAX};
use super::report::CheckReport;
use crate::ledger::client::{Client, EXAMPLES_MAX, Repair, SaleAudit};
use crate::ledger::gaps::Gaps;
use crate::orders::{Database, Order, Row};
use crate::sale::{Change, Lines, Reservation, ReservationId, SaleId, Status, User};

/// Rows per transaction.
const ROWS_PER_WRITE: usize = 1_000;

/// The result of comparing the rows of a sale with its reservations.
#[derive(Default)]
pub(super) struct Compared {
    reservations: u64,
    rows: u64,
    differences: u64,
    on_their_way: u64,
    examples: Vec<String>,
    /// Reservations whose row is missing or older.
    late: Vec<Change>,
    /// Reservations whose row is wrong under a version that is not older.
    wrong: Vec<Change>,
    /// Reservations whose row is ahead of the ledger.
    disputed: Vec<Change>,
    /// Rows have units that the ledger does not know of.
    owed: bool,
}

impl Compared {
    fn differs(&mut self, example: impl FnOnce() -> String) {
        self.differences += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }

    fn stray(&mut self, order: &Order, example: impl FnOnce() -> String) {
        self.differs(example);
        self.owed |= order.status.is_none_or(Status::has_units);
    }

    fn dispute(&mut self, change: &Change, text: &str) {
        self.differs(|| format!("{}: {text}", change.reservation.id));
        self.disputed.push(change.clone());
    }

    /// What a repair of the ledger must know about the rows.
    pub(super) fn repair(&self, release_units: bool) -> Repair {
        let mut disputed: Vec<_> =
            self.disputed.iter().map(|change| change.reservation.id).collect();
        disputed.sort_unstable();
        Repair { release_units, orders_seen: true, owed: self.owed, disputed }
    }

    pub(super) fn check(&self) -> CheckReport {
        CheckReport {
            differences: self.differences,
            examples: self.examples.clone(),
            on_their_way: self.on_their_way,
            ..CheckReport::of("orders", self.reservations, self.rows)
        }
    }
}

/// Compares the reservations of a sale, from an audit, with the rows of the database.
pub(super) fn compare(
    client: &mut dyn Client,
    database: &mut dyn Database,
    sale: &SaleId,
    audit: &SaleAudit,
    (known, gaps): (&HashSet<SaleId>, &Gaps),
) -> Result<Compared, AuditError> {
    let changes = &audit.reservations;
    let on_its_way =
        |change: &Change| audit.undelivered_from.is_some_and(|from| change.version >= from);
    let is_told = |change: &Change| change.version >= audit.streamed_from;
    // Of an earlier sale of this name.
    let removed_at = client.removed_at(&sale.whole())?;
    let is_of_removed = |order: &Order| {
        removed_at.is_some_and(|at| order.version <= at) && !gaps.contain(order.version)
    };
    // Newer than everything seen, or of a lost state.
    let is_newer = |order: &Order| order.version > audit.version || gaps.contain(order.version);
    let mut seen = vec![false; changes.len()];
    let mut newer: Vec<Order> = Vec::new();
    let mut compared = Compared { reservations: changes.len() as u64, ..Compared::default() };
    database.rows(sale, &mut |row| {
        let order = match row {
            Row::Order(order) => order,
            Row::Elsewhere(of, order) => {
                if !sale.is_part() && !known.contains(&of) && !is_of_removed(&order) {
                    compared.rows += 1;
                    compared.stray(&order, || {
                        format!("a row of {of}, which is not there: {}", order.id)
                    });
                }
                return;
            }
            Row::Unreadable { row, id, problem } => {
                compared.rows += 1;
                compared.differs(|| format!("a row that can't be read: {row:?}: {problem}"));
                match id.map(|id| find(changes, id)) {
                    Some(Ok(at)) => seen[at] = true,
                    _ => compared.owed = true,
                }
                return;
            }
        };
        let change = match find(changes, order.id) {
            Err(_) if is_of_removed(&order) => return,
            Err(_) => None,
            Ok(at) => {
                seen[at] = true;
                Some(&changes[at])
            }
        };
        compared.rows += 1;
        // A sale that was moved here has rows from the other ledger, which say the same.
        if let Some(change) = change
            && gaps.contain(order.version)
            && difference(change, &order).is_none()
        {
            return;
        }
        let Some(change) = change.filter(|_| !is_newer(&order)) else {
            if is_newer(&order) {
                newer.push(Order { user: None, ..order });
            } else {
                compared.stray(&order, || format!("a row without a reservation: {}", order.id));
            }
            return;
        };
        let Some(text) = difference(change, &order) else { return };
        let older = order.version < change.version;
        // A refund follows only a payment, so it explains an older row.
        let paid = order.status == Some(Status::Confirmed)
            && change.reservation.status != Status::Confirmed
            && !(older && change.reservation.status == Status::Refunded);
        if paid {
            compared.dispute(change, &text);
        } else if older && on_its_way(change) {
            compared.on_their_way += 1;
        } else if !is_told(change) && says_more(&order, &change.reservation) {
            compared.dispute(change, &text);
        } else {
            compared.differs(|| format!("{}: {text}", order.id));
            let list = if older { &mut compared.late } else { &mut compared.wrong };
            list.push(change.clone());
        }
    })?;
    for change in changes.iter().zip(seen).filter(|(_, seen)| !seen).map(|(change, _)| change) {
        if on_its_way(change) {
            compared.on_their_way += 1;
        } else {
            compared.differs(|| format!("no row: {}", change.reservation.id));
            compared.late.push(change.clone());
        }
    }
    if !newer.is_empty() {
        match client.audit(sale, None)? {
            Some(later) => judge_newer(&newer, &later, gaps, &mut compared),
            // It was removed meanwhile.
            None => compared.on_their_way += newer.len() as u64,
        }
    }
    Ok(compared)
}

fn find(changes: &[Change], id: ReservationId) -> Result<usize, usize> {
    changes.binary_search_by_key(&id, |change| change.reservation.id)
}

/// Judges rows that are newer than the audit by a later audit.
fn judge_newer(newer: &[Order], later: &SaleAudit, gaps: &Gaps, compared: &mut Compared) {
    for order in newer {
        let change = find(&later.reservations, order.id).map(|at| &later.reservations[at]);
        let of_lost = order.version > later.version || gaps.contain(order.version);
        match change {
            Ok(_) if !of_lost => compared.on_their_way += 1,
            Ok(change) => compared.dispute(change, NEWER),
            Err(_) if of_lost => {
                compared
                    .stray(order, || format!("a row without a reservation: {}: {NEWER}", order.id));
            }
            Err(_) => {
                compared.stray(order, || format!("a row without a reservation: {}", order.id));
            }
        }
    }
}

const NEWER: &str = "it is newer than anything in the ledger, which has lost this change";

/// Whether a row has more units than the reservation, or units that are paid but not held.
fn says_more(order: &Order, reservation: &Reservation) -> bool {
    let owed = |status, quantity| match status {
        Some(Status::Confirmed) => (2, quantity),
        Some(Status::Held) => (1, quantity),
        Some(Status::Cancelled | Status::Expired | Status::Refunded) | None => (0, 0),
    };
    let (row, ledger) =
        (owed(order.status, order.quantity), owed(Some(reservation.status), reservation.quantity));
    row.0 > ledger.0 || row.1 > ledger.1
}

/// How a row differs from what it should be.
fn difference(change: &Change, order: &Order) -> Option<String> {
    let reservation = &change.reservation;
    let user = reservation.user.as_ref().map(User::as_str);
    if order.status != Some(reservation.status) {
        let status = order.status.map_or("no status", |status| status.as_str());
        return Some(format!("{} in the ledger, {status} in the row", reservation.status.as_str()));
    }
    if order.quantity != reservation.quantity {
        return Some(format!("{} units, {} in the row", reservation.quantity, order.quantity));
    }
    if order.user.as_deref() != user {
        let name = |user: Option<&str>| user.unwrap_or("nobody").to_owned();
        let (theirs, ours) = (name(order.user.as_deref()), name(user));
        return Some(format!("of {ours}, of {theirs} in the row"));
    }
    let lines = reservation.lines().map(Lines::to_json);
    if let Some(theirs) = order.lines.as_ref().filter(|theirs| **theirs != lines) {
        let name = |lines: &Option<String>| lines.clone().unwrap_or_else(|| "no lines".to_owned());
        return Some(format!("{}, {} in the row", name(&lines), name(theirs)));
    }
    None
}

/// Writes the rows that are missing or wrong, and compares again. A row that is ahead of the ledger
/// is kept, unless units are to be released.
pub(super) fn repair(
    client: &mut dyn Client,
    database: &mut dyn Database,
    sale: &SaleId,
    audit: &mut SaleAudit,
    mut compared: Compared,
    known: (&HashSet<SaleId>, &Gaps),
    mode: Mode,
) -> Result<CheckReport, AuditError> {
    let mut check = compared.check();
    let mut written = 0;
    for _ in 0..REPAIR_ROUNDS_MAX {
        if mode.releases() {
            let disputed = std::mem::take(&mut compared.disputed);
            compared.wrong.extend(disputed);
        }
        if compared.late.is_empty() && compared.wrong.is_empty() {
            break;
        }
        written += compared.late.len() + compared.wrong.len();
        // Rows that a worker writes at the same time are newer and win. Only a row that is wrong
        // under its right version is overwritten unconditionally, and compared again.
        for changes in compared.late.chunks(ROWS_PER_WRITE) {
            database.write(changes, None)?;
        }
        for changes in compared.wrong.chunks(ROWS_PER_WRITE) {
            database.overwrite(changes)?;
        }
        match client.audit(sale, None)? {
            Some(again) => *audit = again,
            None => break,
        }
        compared = compare(client, database, sale, audit, known)?;
    }
    if written > 0 {
        let now = compared.check();
        if now.differences == 0 {
            check.repaired = Some(format!("{written} rows written"));
        } else {
            check = now;
        }
    }
    if check.differences > 0 && check.repaired.is_none() && !compared.disputed.is_empty() {
        check.withheld = Some("rows that say more than the ledger are kept".into());
    }
    Ok(check)
}
