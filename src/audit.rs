//! `stampede audit`: compares the data of each sale in the ledger with itself and with the orders.
//!
//! The ledger checks its own data ([`Client::audit`]). Here its reservations are compared with the
//! rows of the database, the places of a split sale with each other, and the list of sales with the
//! sales in the rows and in the names of keys. All results become one [`Report`]. Changes that have
//! not been delivered to the orders yet are counted as on their way and are no difference. A row
//! without a reservation is reported and never deleted.
//!
//! A repair makes more units available only if no evidence says that somebody has them, so the rows
//! are read before the ledger repairs anything: see [`Repair`].
//!
//! Architecture invariant: knows no kind of ledger or database, and prints nothing.

mod error;
mod mode;
mod places;
mod report;
mod rows;

use std::collections::HashSet;

pub use error::AuditError;
pub use mode::Mode;
pub use report::{CheckReport, Report, SaleReport};

use crate::ledger::client::{Client, Repair, SaleAudit};
use crate::ledger::gaps::Gaps;
use crate::orders::{Database, Row};
use crate::sale::{SaleId, Status};
use mode::REPAIR_ROUNDS_MAX;

/// Audits these sales, or all if none is named.
///
/// # Errors
/// See [`AuditError`]. Earlier repairs stay.
pub fn audit(
    client: &mut dyn Client,
    mut orders: Option<&mut dyn Database>,
    sales: &[SaleId],
    mode: Mode,
) -> Result<Report, AuditError> {
    let mut report = Report::default();
    let mut known = client.sales()?;
    let mut unlisted = Vec::new();
    if sales.is_empty() {
        let found = client.unlisted()?;
        report.not_looked_at.extend(found.not_looked_at);
        unlisted = found.sales;
        known.extend(unlisted.iter().cloned());
        known.sort_unstable();
        known.dedup();
    }
    // The name of a split sale includes its parts.
    let named = |id: &&SaleId| sales.is_empty() || sales.contains(&id.whole());
    let mut all: Vec<SaleId> = known.iter().filter(named).cloned().collect();
    all.extend(sales.iter().filter(|id| !known.contains(id)).cloned());
    let known: HashSet<SaleId> = known.into_iter().collect();
    let gaps = client.gaps()?;
    let mut unseen_orders = 0;
    for sale in &all {
        let found = one(client, reborrow(&mut orders), sale, (&known, &gaps), mode)?;
        let mut sale_report = match found {
            Some((mut sale_report, has_orders)) => {
                unseen_orders += u64::from(has_orders && orders.is_none());
                if unlisted.contains(sale) {
                    sale_report.checks.push(index(client, sale, mode)?);
                }
                sale_report
            }
            None if sales.is_empty() => gone(client, sale, unlisted.contains(sale))?,
            None => return Err(AuditError::UnknownSale(sale.clone())),
        };
        if client.can_split() {
            let notes = &mut report.not_looked_at;
            sale_report.checks.extend(places::checks(client, sale, &known, mode, notes)?);
        }
        report.add(sale_report);
    }
    match orders {
        Some(database) if sales.is_empty() => {
            lost_sales(client, database, (&known, &gaps))?
                .into_iter()
                .for_each(|sale| report.add(sale));
        }
        None if unseen_orders > 0 => report.not_looked_at.push(format!(
            "the orders of {unseen_orders} sales, which somebody writes: name their database with \
             --orders"
        )),
        _ => {}
    }
    Ok(report)
}

/// The existing sales, and the versions that were never assigned.
type Known<'a> = (&'a HashSet<SaleId>, &'a Gaps);

fn reborrow<'a>(orders: &'a mut Option<&mut dyn Database>) -> Option<&'a mut dyn Database> {
    orders.as_mut().map(|orders| &mut **orders as &mut dyn Database)
}

/// Audits one sale, and returns whether a worker writes its orders. `None`: there is no such sale.
fn one(
    client: &mut dyn Client,
    orders: Option<&mut dyn Database>,
    sale: &SaleId,
    known: Known<'_>,
    mode: Mode,
) -> Result<Option<(SaleReport, bool)>, AuditError> {
    let Some(database) = orders else {
        let how = Repair { release_units: mode.releases(), ..Repair::default() };
        let audit = client.audit(sale, mode.repairs().then_some(&how))?;
        return Ok(audit.map(|audit| {
            let checks = audit.checks.iter().cloned().map(CheckReport::from).collect();
            (sale_report(sale, &audit, checks), audit.has_orders)
        }));
    };
    // Read before the audit: what is written meanwhile is newer, and recognised as such.
    if let Some(source) = client.orders_source()
        && let Some(version) = database.position(&source)?
    {
        client.orders_have(version)?;
    }
    let Some(mut audit) = client.audit(sale, None)? else { return Ok(None) };
    let mut checks = std::mem::take(&mut audit.checks);
    let mut compared = rows::compare(client, database, sale, &audit, known)?;
    if mode.repairs() {
        let mut known_before = None;
        for _ in 0..REPAIR_ROUNDS_MAX {
            let how = compared.repair(mode.releases());
            if known_before.as_ref() == Some(&how) {
                break;
            }
            let Some(again) = client.audit(sale, Some(&how))? else { return Ok(None) };
            audit = again;
            for (check, now) in checks.iter_mut().zip(std::mem::take(&mut audit.checks)) {
                check.update(now, &[]);
            }
            compared = rows::compare(client, database, sale, &audit, known)?;
            known_before = Some(how);
        }
    }
    let mut checks: Vec<_> = checks.into_iter().map(CheckReport::from).collect();
    let check = match mode.repairs() {
        true => rows::repair(client, database, sale, &mut audit, compared, known, mode)?,
        false => compared.check(),
    };
    checks.push(check);
    Ok(Some((sale_report(sale, &audit, checks), audit.has_orders)))
}

fn sale_report(sale: &SaleId, audit: &SaleAudit, checks: Vec<CheckReport>) -> SaleReport {
    let view = &audit.view;
    SaleReport {
        sale: sale.to_string(),
        total: view.spec.total,
        held: view.held,
        confirmed: view.confirmed,
        free: view.free(),
        reservations: audit.reservations.len() as u64,
        checks,
    }
}

/// The report of a sale without data.
fn empty_report(sale: impl Into<String>, checks: Vec<CheckReport>) -> SaleReport {
    let (total, held, confirmed, free, reservations) = (0, 0, 0, 0, 0);
    SaleReport { sale: sale.into(), total, held, confirmed, free, reservations, checks }
}

/// A sale that the ledger lists, or has keys of, but does not have. It may have been removed
/// meanwhile.
fn gone(client: &mut dyn Client, sale: &SaleId, unlisted: bool) -> Result<SaleReport, AuditError> {
    let listed = !unlisted && client.sales()?.binary_search(sale).is_ok();
    let differs = listed || client.remains(sale)?;
    let checks = differs.then(|| CheckReport {
        differences: 1,
        examples: vec!["its counters are gone".into()],
        ..CheckReport::of("sale", if listed { "listed" } else { "of other keys" }, "not there")
    });
    Ok(empty_report(sale.as_str(), checks.into_iter().collect()))
}

/// An existing sale that the index lacks: no list contains it, and no sweep returns its expired
/// units. Listing it takes nothing from anybody.
fn index(client: &mut dyn Client, sale: &SaleId, mode: Mode) -> Result<CheckReport, AuditError> {
    if mode.repairs() {
        client.list(std::slice::from_ref(sale))?;
    }
    Ok(CheckReport {
        differences: 1,
        examples: vec!["the index of sales does not list it".into()],
        repaired: mode.repairs().then(|| "listed".into()),
        ..CheckReport::of("index", "listed", "not listed")
    })
}

/// Sales in the rows that the ledger does not have, unless they were removed.
fn lost_sales(
    client: &mut dyn Client,
    database: &mut dyn Database,
    (known, gaps): Known<'_>,
) -> Result<Vec<SaleReport>, AuditError> {
    let known: HashSet<SaleId> = known.iter().map(SaleId::whole).collect();
    let names = database.sales()?;
    // A sale may have been created since the list was read.
    let now: HashSet<SaleId> = client.sales()?.iter().map(SaleId::whole).collect();
    let mut lost = Vec::new();
    for name in names {
        let Some(sale) = name.as_deref().and_then(|name| SaleId::new(name).ok()) else {
            // Whatever the text is, on one line.
            let shown = name.map_or_else(|| "NULL".to_owned(), |name| format!("{name:?}"));
            let check = CheckReport {
                differences: 1,
                examples: vec![format!("rows of {shown}, which is no name of a sale")],
                ..CheckReport::of("orders", "no such sale", "rows")
            };
            lost.push(empty_report(shown, vec![check]));
            continue;
        };
        // Orders of a moved sale belong to the other ledger.
        if known.contains(&sale) || now.contains(&sale) || client.moved_to(&sale)?.is_some() {
            continue;
        }
        let removed_at = client.removed_at(&sale)?;
        let (mut rows, mut units) = (0, 0);
        let mut count = |version: u64, quantity: u32, status: Option<Status>| {
            // A sale that holds units can't have been removed.
            let held = status == Some(Status::Held);
            let is_lost = gaps.contain(version);
            if held || is_lost || removed_at.is_none_or(|removed_at| version > removed_at) {
                rows += 1;
                let owed = status.is_none_or(Status::has_units);
                units += u64::from(quantity) * u64::from(owed);
            }
        };
        database.rows(&sale, &mut |row| match row {
            Row::Order(order) | Row::Elsewhere(_, order) => {
                count(order.version, order.quantity, order.status);
            }
            Row::Unreadable { .. } => count(u64::MAX, 0, None),
        })?;
        if rows > 0 {
            let check = CheckReport {
                differences: rows,
                examples: vec![format!(
                    "{rows} rows of a sale that the ledger does not have, with {units} units held \
                     or confirmed"
                )],
                ..CheckReport::of("orders", "no such sale", rows)
            };
            lost.push(empty_report(sale.as_str(), vec![check]));
        }
    }
    Ok(lost)
}
