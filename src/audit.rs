//! `stampede audit`: compares what the ledger has of each sale, and that with the orders.
//!
//! The ledger looks at itself ([`Client::audit`]); here its reservations are held against the rows of
//! the database, and everything becomes one report, as a table or as JSON. What the orders have not
//! been told yet is counted as on its way and is no difference. A row without a reservation is told
//! of and never deleted.
//!
//! Architecture invariant: knows no kind of ledger or database, and prints nothing.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::ledger::client::{Check, Client, EXAMPLES_MAX, SaleAudit};
use crate::ledger::{Batch, Group, LedgerError};
use crate::orders::{Database, DatabaseError, Order};
use crate::sale::{Change, Command, Outcome, SaleId, Split, UnderWay, User};
use crate::splits;

/// Rounds of comparing and mending rows: a worker may be writing some of them meanwhile.
const REPAIR_ROUNDS_MAX: usize = 5;
/// Rows that are written in one transaction.
const ROWS_PER_WRITE: usize = 1_000;
/// Sales of which the table shows what agrees, too.
const SALES_SHOWN_WHOLE: usize = 10;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A sale that was named.
    #[error("there is no sale {0}")]
    UnknownSale(SaleId),
    /// The ledger gave no answer.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// The database gave no answer.
    #[error("the orders: {0}")]
    Orders(#[from] DatabaseError),
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Every sale that was looked at, in the order of ids.
    pub sales: Vec<SaleReport>,
    /// Differences that are still there.
    pub differences: u64,
    /// Checks that differed and agree now.
    pub repaired: u64,
    /// Changes that the orders have not been told yet.
    pub on_their_way: u64,
}

/// What was found of one sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaleReport {
    /// Its id.
    pub sale: String,
    /// Units for sale.
    pub total: u64,
    /// Units held.
    pub held: u64,
    /// Units confirmed.
    pub confirmed: u64,
    /// Units left.
    pub free: u64,
    /// Reservations, whatever became of them.
    pub reservations: u64,
    /// What was compared.
    pub checks: Vec<CheckReport>,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// What was compared.
    pub check: String,
    /// What it should be, by the ledger.
    pub ledger: String,
    /// What it is.
    pub found: String,
    /// How many things differ, or did.
    pub differences: u64,
    /// Some of them, in words.
    pub examples: Vec<String>,
    /// What was done so that nothing differs any more.
    pub repaired: Option<String>,
    /// Changes that have not arrived yet and are no difference.
    pub on_their_way: u64,
}

impl CheckReport {
    fn differs(&self) -> bool {
        self.differences > 0 && self.repaired.is_none()
    }
}

impl From<Check> for CheckReport {
    fn from(check: Check) -> Self {
        Self {
            check: check.name.to_owned(),
            ledger: check.expected,
            found: check.found,
            differences: check.differences,
            examples: check.examples,
            repaired: check.repaired,
            on_their_way: 0,
        }
    }
}

/// Audits these sales, or all if none is named.
///
/// # Errors
/// See [`AuditError`]. What was mended before stays mended.
pub fn audit(
    client: &mut dyn Client,
    mut orders: Option<&mut dyn Database>,
    sales: &[SaleId],
    repair: bool,
) -> Result<Report, AuditError> {
    let mut all = if sales.is_empty() { client.sales()? } else { sales.to_vec() };
    if !sales.is_empty() && client.can_split() {
        // A split sale that is named means its parts as well.
        let parts = client.sales()?.into_iter().filter(|id| id.is_part());
        all.extend(parts.filter(|id| sales.contains(&id.whole())));
    }
    let mut report = Report::default();
    for sale in &all {
        // Read before the audit: what is written meanwhile is newer, and is known to be.
        if let (Some(orders), Some(source)) = (&mut orders, client.orders_source())
            && let Some(version) = orders.position(&source)?
        {
            client.orders_have(version)?;
        }
        let mut sale_report = match client.audit(sale, repair)? {
            Some(audit) => {
                let orders = orders.as_mut().map(|orders| &mut **orders as &mut dyn Database);
                one(client, orders, sale, audit, repair)?
            }
            None if sales.is_empty() => gone(client, sale)?,
            None => return Err(AuditError::UnknownSale(sale.clone())),
        };
        if client.can_split() && !sale.is_part() {
            sale_report.checks.extend(moves(client, sale, repair)?);
        }
        for check in &sale_report.checks {
            report.on_their_way += check.on_their_way;
            match check.repaired {
                Some(_) => report.repaired += 1,
                None => report.differences += check.differences,
            }
        }
        report.sales.push(sale_report);
    }
    Ok(report)
}

fn one(
    client: &mut dyn Client,
    orders: Option<&mut dyn Database>,
    sale: &SaleId,
    audit: SaleAudit,
    repair: bool,
) -> Result<SaleReport, AuditError> {
    let view = &audit.view;
    let mut report = SaleReport {
        sale: sale.to_string(),
        total: view.spec.total,
        held: view.held,
        confirmed: view.confirmed,
        free: view.free(),
        reservations: audit.reservations.len() as u64,
        checks: audit.checks.iter().cloned().map(CheckReport::from).collect(),
    };
    if let Some(database) = orders {
        report.checks.push(rows(client, database, sale, audit, repair)?);
    }
    Ok(report)
}

/// Looks at whether what is under way between the parts of a split sale stays so: once looked at twice,
/// somebody gave it up.
const MOVES_LOOKS_MAX: usize = 4;

/// Compares what the places of a split sale gave with what they took, and finishes what somebody left
/// half way. `None`: the sale is not split.
fn moves(
    mut client: &mut dyn Client,
    sale: &SaleId,
    repair: bool,
) -> Result<Option<CheckReport>, LedgerError> {
    let show = Group { sale: sale.clone(), commands: vec![Command::Show] };
    let shown = client.apply(&Batch { groups: vec![show] })?.pop();
    let Some(Outcome::Sale(view)) = shown.and_then(|mut reply| reply.outcomes.pop()) else {
        return Ok(None);
    };
    let Split::Head { parts } = view.spec.split else { return Ok(None) };
    let Some(mut places) = splits::look(&mut client, sale, parts)? else { return Ok(None) };
    let (mut left, mut wrong) = (Vec::new(), Vec::new());
    for _ in 1..MOVES_LOOKS_MAX {
        let Some(later) = splits::look(&mut client, sale, parts)? else { return Ok(None) };
        left = places.left_under_way(&later);
        wrong = places.from_nowhere(&later);
        places = later;
        if left.is_empty() {
            break;
        }
    }
    let name = |number| splits::place_id(sale, number, parts);
    let told = |what: &str, of: &UnderWay| {
        format!("{} units {what} from {} to {}", of.units, name(of.from), name(of.to))
    };
    let missing = places.missing();
    let examples = left.iter().map(|of| told("are under way", of));
    let examples = examples.chain(wrong.iter().map(|of| told("that were never given came", of)));
    let examples = examples.chain(missing.iter().map(|&n| format!("{} is not there", name(n))));
    let (gave, took) = places.moved();
    let mut check = CheckReport {
        check: "moves".into(),
        ledger: gave.to_string(),
        found: took.to_string(),
        differences: (left.len() + wrong.len() + missing.len()) as u64,
        examples: examples.take(EXAMPLES_MAX).collect(),
        repaired: None,
        on_their_way: 0,
    };
    if repair && missing.is_empty() {
        // It is told all the same: some of them may be sold.
        splits::take_back(&mut client, sale, parts, &wrong)?;
    }
    if repair && !left.is_empty() && missing.is_empty() {
        splits::finish(&mut client, sale, parts, &left)?;
        let units: u64 = left.iter().map(|of| of.units).sum();
        check.repaired = wrong.is_empty().then(|| format!("{units} units taken"));
        check.differences = if wrong.is_empty() { check.differences } else { wrong.len() as u64 };
    }
    Ok(Some(check))
}

/// A sale that the ledger lists and has not. It may have been removed since it was listed.
fn gone(client: &mut dyn Client, sale: &SaleId) -> Result<SaleReport, AuditError> {
    let still_listed = client.sales()?.binary_search(sale).is_ok();
    let checks = still_listed.then(|| CheckReport {
        check: "sale".into(),
        ledger: "listed".into(),
        found: "not there".into(),
        differences: 1,
        examples: vec!["its counters are gone".into()],
        repaired: None,
        on_their_way: 0,
    });
    let (total, held, confirmed, free, reservations) = (0, 0, 0, 0, 0);
    let (sale, checks) = (sale.to_string(), checks.into_iter().collect());
    Ok(SaleReport { sale, total, held, confirmed, free, reservations, checks })
}

/// Compares the reservations with the rows of the database, and mends these.
fn rows(
    client: &mut dyn Client,
    database: &mut dyn Database,
    sale: &SaleId,
    mut audit: SaleAudit,
    repair: bool,
) -> Result<CheckReport, AuditError> {
    let mut compared = compare(&audit, database, sale)?;
    let mut check = compared.check();
    let mut mended = 0;
    for _ in 0..if repair { REPAIR_ROUNDS_MAX } else { 0 } {
        if compared.late.is_empty() && compared.wrong.is_empty() {
            break;
        }
        mended += compared.late.len() + compared.wrong.len();
        // What a worker writes at the same time is newer and goes before; only a row that is wrong
        // under the version it should have is replaced whatever it says, and looked at again.
        for changes in compared.late.chunks(ROWS_PER_WRITE) {
            database.write(changes, None)?;
        }
        for changes in compared.wrong.chunks(ROWS_PER_WRITE) {
            database.overwrite(changes)?;
        }
        match client.audit(sale, false)? {
            Some(again) => audit = again,
            None => break,
        }
        compared = compare(&audit, database, sale)?;
    }
    if mended > 0 {
        let now = compared.check();
        if now.differences == 0 {
            check.repaired = Some(format!("{mended} rows written"));
        } else {
            check = now;
        }
    }
    Ok(check)
}

/// What the rows of a sale are, beside its reservations.
#[derive(Default)]
struct Compared {
    reservations: u64,
    rows: u64,
    differences: u64,
    on_their_way: u64,
    examples: Vec<String>,
    /// Reservations whose row is missing or older.
    late: Vec<Change>,
    /// Reservations whose row is wrong under a version that is not older.
    wrong: Vec<Change>,
}

impl Compared {
    fn differs(&mut self, example: impl FnOnce() -> String) {
        self.differences += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }

    fn check(&self) -> CheckReport {
        CheckReport {
            check: "orders".into(),
            ledger: self.reservations.to_string(),
            found: self.rows.to_string(),
            differences: self.differences,
            examples: self.examples.clone(),
            repaired: None,
            on_their_way: self.on_their_way,
        }
    }
}

fn compare(
    audit: &SaleAudit,
    database: &mut dyn Database,
    sale: &SaleId,
) -> Result<Compared, DatabaseError> {
    let changes = &audit.reservations;
    let on_its_way =
        |change: &Change| audit.undelivered_from.is_some_and(|from| change.version >= from);
    let mut seen = vec![false; changes.len()];
    let mut compared = Compared { reservations: changes.len() as u64, ..Compared::default() };
    database.orders(sale, &mut |order| {
        compared.rows += 1;
        let found = changes.binary_search_by_key(&order.id, |change| change.reservation.id);
        if let Ok(at) = found {
            seen[at] = true;
        }
        match found.map(|at| &changes[at]) {
            // Newer than what the ledger showed us.
            _ if order.version > audit.version => compared.on_their_way += 1,
            Err(_) => compared.differs(|| format!("a row without a reservation: {}", order.id)),
            Ok(change) => match difference(change, &order) {
                None => {}
                Some(_) if order.version < change.version && on_its_way(change) => {
                    compared.on_their_way += 1;
                }
                Some(text) => {
                    compared.differs(|| format!("{}: {text}", order.id));
                    let older = order.version < change.version;
                    let list = if older { &mut compared.late } else { &mut compared.wrong };
                    list.push(change.clone());
                }
            },
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
    Ok(compared)
}

/// In what a row is another than it should be.
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
    None
}

const HEADINGS: [&str; 5] = ["sale", "check", "ledger", "found", "result"];

impl Report {
    /// Whether everything agrees, if need be after a repair.
    pub fn agrees(&self) -> bool {
        self.differences == 0
    }

    /// The table, and a last line that sums up.
    pub fn write(&self, out: &mut dyn Write) -> fmt::Result {
        let whole = self.sales.len() <= SALES_SHOWN_WHOLE;
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        let mut examples = vec![&[][..]];
        for sale in &self.sales {
            for check in &sale.checks {
                if whole || check.differences > 0 {
                    let (name, ledger, found) = (&check.check, &check.ledger, &check.found);
                    rows.push([&sale.sale, name, ledger, found, &result(check)].map(String::clone));
                    examples.push(&check.examples);
                }
            }
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..HEADINGS.len()).filter_map(width).collect();
        for (row, examples) in rows.iter().zip(&examples).filter(|_| rows.len() > 1) {
            let [sale, check, ledger, found, result] = row;
            let [sale_width, check_width, ledger_width, found_width, _] = widths[..] else {
                return Err(fmt::Error);
            };
            writeln!(
                out,
                "{sale:sale_width$}  {check:check_width$}  {ledger:>ledger_width$}  \
                 {found:>found_width$}  {result}"
            )?;
            for example in *examples {
                writeln!(out, "{:sale_width$}    {example}", "")?;
            }
        }
        let sum = |of: fn(&SaleReport) -> u64| self.sales.iter().map(of).sum::<u64>();
        write!(
            out,
            "{} sales, {} reservations: {} of {} units confirmed, {} held, {} free; ",
            // The parts of one sale are one sale.
            self.sales.iter().filter(|sale| !sale.sale.contains('~')).count(),
            sum(|sale| sale.reservations),
            sum(|sale| sale.confirmed),
            sum(|sale| sale.total),
            sum(|sale| sale.held),
            sum(|sale| sale.free),
        )?;
        if self.on_their_way > 0 {
            write!(out, "{} changes on their way to the orders; ", self.on_their_way)?;
        }
        match (self.differences, self.repaired) {
            (0, 0) => writeln!(out, "everything agrees"),
            (0, repaired) => writeln!(out, "{repaired} checks repaired, everything agrees now"),
            (left, 0) => writeln!(out, "{left} differences"),
            (left, repaired) => {
                writeln!(out, "{left} differences left, {repaired} checks repaired")
            }
        }
    }
}

fn result(check: &CheckReport) -> String {
    let mut text = match (&check.repaired, check.differences) {
        (Some(done), differ) => format!("{differ} differed, repaired: {done}"),
        (None, 0) => "agrees".to_owned(),
        (None, differ) => format!("{differ} differ"),
    };
    if check.on_their_way > 0 {
        _ = write!(text, " ({} on their way)", check.on_their_way);
    }
    debug_assert!(!check.differs() || text.contains("differ"));
    text
}
