//! The findings of an audit, as a table and as JSON.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use crate::ledger::client::{Amount, Check, Relation};

/// The number of sales up to which the table also shows the checks that agree.
const SALES_SHOWN_WHOLE: usize = 10;

/// The findings of an audit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Every audited sale, in the order of ids.
    pub sales: Vec<SaleReport>,
    /// Differences that are still there.
    pub differences: u64,
    /// Checks that differed and agree now.
    pub repaired: u64,
    /// Changes that were not delivered to the orders yet.
    pub on_their_way: u64,
    /// What was not audited, and why.
    #[serde(default)]
    pub not_looked_at: Vec<String>,
}

/// The findings about one sale.
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
    /// Reservations of any status.
    pub reservations: u64,
    /// The comparisons.
    pub checks: Vec<CheckReport>,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// What was compared.
    pub check: String,
    /// The expected amount, by the ledger.
    pub ledger: Amount,
    /// How the found amount must relate to it.
    #[serde(default, skip_serializing_if = "is_equal")]
    pub relation: Relation,
    /// The found amount.
    pub found: Amount,
    /// The number of differences, before a repair.
    pub differences: u64,
    /// Some of them, in words.
    pub examples: Vec<String>,
    /// The repair after which nothing differs any more.
    pub repaired: Option<String>,
    /// Why a repair changed nothing.
    #[serde(default)]
    pub withheld: Option<String>,
    /// Changes that have not arrived yet and are no difference.
    pub on_their_way: u64,
}

impl CheckReport {
    /// A check of something that should exist and does not, or the other way round.
    pub(super) fn of(check: &str, ledger: impl Into<Amount>, found: impl Into<Amount>) -> Self {
        Self {
            check: check.to_owned(),
            ledger: ledger.into(),
            relation: Relation::Equal,
            found: found.into(),
            differences: 0,
            examples: Vec::new(),
            repaired: None,
            withheld: None,
            on_their_way: 0,
        }
    }

    fn differs(&self) -> bool {
        self.differences > 0 && self.repaired.is_none()
    }
}

impl From<Check> for CheckReport {
    fn from(check: Check) -> Self {
        Self {
            check: check.name.to_owned(),
            ledger: check.expected,
            relation: check.relation,
            found: check.found,
            differences: check.differences,
            examples: check.examples,
            repaired: check.repaired,
            withheld: check.withheld,
            on_their_way: 0,
        }
    }
}

fn is_equal(relation: &Relation) -> bool {
    *relation == Relation::Equal
}

fn expected(check: &CheckReport) -> String {
    match check.relation {
        Relation::Equal => check.ledger.to_string(),
        Relation::AtLeast => format!("{} or more", check.ledger),
        Relation::AtMost => format!("at most {}", check.ledger),
    }
}

const HEADINGS: [&str; 5] = ["sale", "check", "ledger", "found", "result"];

impl Report {
    /// Whether everything agrees, possibly after a repair.
    pub fn agrees(&self) -> bool {
        self.differences == 0
    }

    /// Adds the findings about a sale.
    pub(super) fn add(&mut self, sale: SaleReport) {
        for check in &sale.checks {
            self.on_their_way += check.on_their_way;
            match check.repaired {
                Some(_) => self.repaired += 1,
                None => self.differences += check.differences,
            }
        }
        self.sales.push(sale);
    }

    /// Differences that a repair left, since repairing them would make units available that, by
    /// some evidence, somebody has.
    pub fn withheld(&self) -> u64 {
        let checks = self.sales.iter().flat_map(|sale| &sale.checks);
        let withheld = checks.filter(|check| check.differs() && check.withheld.is_some());
        withheld.map(|check| check.differences).sum()
    }
}

/// The table, and a last line with the sums.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.sales.len() <= SALES_SHOWN_WHOLE;
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        let mut notes = vec![Vec::new()];
        for sale in &self.sales {
            for check in &sale.checks {
                if whole || check.differences > 0 {
                    let (sale, name, found) = (&sale.sale, &check.check, check.found.to_string());
                    rows.push([sale.clone(), name.clone(), expected(check), found, result(check)]);
                    let left = check.withheld.iter().filter(|_| check.differs());
                    let left = left.map(|why| format!("left as it is: {why}"));
                    notes.push(check.examples.iter().cloned().chain(left).collect());
                }
            }
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<usize> = (0..HEADINGS.len()).filter_map(width).collect();
        for (row, notes) in rows.iter().zip(&notes).filter(|_| rows.len() > 1) {
            let [sale, check, ledger, found, result] = row;
            let [sale_width, check_width, ledger_width, found_width, _] = widths[..] else {
                return Err(fmt::Error);
            };
            writeln!(
                out,
                "{sale:sale_width$}  {check:check_width$}  {ledger:>ledger_width$}  \
                 {found:>found_width$}  {result}"
            )?;
            for note in notes {
                writeln!(out, "{:sale_width$}    {note}", "")?;
            }
        }
        for what in &self.not_looked_at {
            writeln!(out, "not looked at: {what}")?;
        }
        let sum = |of: fn(&SaleReport) -> u64| self.sales.iter().map(of).sum::<u64>();
        write!(
            out,
            "{} sales, {} reservations: {} of {} units confirmed, {} held, {} free; ",
            // The parts of one sale count as one sale.
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
