//! The ledger for everything that is no core: commands of the operator, the control port, the sweep,
//! the audit. A client blocks the thread it is called on; a core never has one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::format::FORMAT_0_1_0;
use super::gaps::Gaps;
use super::members::Roll;
use super::{Batch, BatchReply, LedgerError};
use crate::sale::{Change, ReservationId, SaleId, SaleView};

/// A blocking way to a ledger. One thread at a time.
pub trait Client: Send {
    /// Carries out a batch and waits for the reply.
    fn apply(&mut self, batch: &Batch) -> Result<BatchReply, LedgerError>;

    /// Whether it can keep a sale in parts.
    fn can_split(&self) -> bool {
        false
    }

    /// Every sale, in the order of their ids; of a split one also every part.
    fn sales(&mut self) -> Result<Vec<SaleId>, LedgerError>;

    /// Looks at everything the ledger has of a sale and compares what must agree; with a `repair`
    /// also repairs what that allows. Goes on while the sale is being sold, and is exact all the
    /// same: what it gives is the sale at one point in time. `None`: there is no such sale.
    fn audit(
        &mut self,
        sale: &SaleId,
        repair: Option<&Repair>,
    ) -> Result<Option<SaleAudit>, LedgerError>;

    /// Looks for sales that are there and that [`sales`](Self::sales) does not list.
    fn unlisted(&mut self) -> Result<Unlisted, LedgerError> {
        Ok(Unlisted::default())
    }

    /// Lists sales that are there.
    fn list(&mut self, sales: &[SaleId]) -> Result<(), LedgerError> {
        let _ = sales;
        Ok(())
    }

    /// Whether anything is left of a sale that [`audit`](Self::audit) does not find.
    fn remains(&mut self, sale: &SaleId) -> Result<bool, LedgerError> {
        let _ = sale;
        Ok(false)
    }

    /// Orders of a sale up to this version may be those of a sale of this name that was removed, as
    /// far as the ledger knows. `None`: it knows of none.
    fn removed_at(&mut self, sale: &SaleId) -> Result<Option<u64>, LedgerError> {
        let _ = sale;
        Ok(None)
    }

    /// Versions that nobody gave here: orders that have one are of a state that is lost, or of another
    /// ledger.
    fn gaps(&mut self) -> Result<Gaps, LedgerError> {
        Ok(Gaps::default())
    }

    /// Where a sale was moved to that was once here. `None`: it was not.
    fn moved_to(&mut self, sale: &SaleId) -> Result<Option<String>, LedgerError> {
        let _ = sale;
        Ok(None)
    }

    /// Notes in the head of a split sale how many units all places have together, unless stock was
    /// added since `head` was seen. Whether it is noted.
    fn note_stock(
        &mut self,
        sale: &SaleId,
        head: &SaleView,
        units: u64,
    ) -> Result<bool, LedgerError> {
        let _ = (sale, head, units);
        Ok(false)
    }

    /// The servers that share the ledger now. `None`: one server has it for itself, and no lease.
    fn members(&mut self) -> Result<Option<Roll>, LedgerError> {
        Ok(None)
    }

    /// Why something of a format must not be written now, if so: a server that shares the ledger
    /// could not read it.
    fn in_the_way(&mut self, format: u32) -> Result<Option<String>, LedgerError> {
        if format <= FORMAT_0_1_0 {
            return Ok(None);
        }
        Ok(self.members()?.and_then(|roll| roll.in_the_way(format)))
    }

    /// The name under which a database of orders says how far it is, for a ledger that does not
    /// know that itself.
    fn orders_source(&self) -> Option<String> {
        None
    }

    /// Tells such a ledger how far a database is, before an audit.
    fn orders_have(&mut self, version: u64) -> Result<(), LedgerError> {
        let _ = version;
        Ok(())
    }
}

/// What a repair may do, by what is known beside the ledger.
///
/// Whatever takes units from nobody is always done. What raises what can be sold (a count that is
/// lowered, a claim that is removed) is done only if nothing tells of somebody who has the units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// It is done all the same, whatever tells of them.
    pub release_units: bool,
    /// The orders were looked at.
    pub orders_seen: bool,
    /// Orders tell of units that the ledger knows nothing of.
    pub owed: bool,
    /// Reservations of which an order says more than the ledger, in the order of ids.
    pub disputed: Vec<ReservationId>,
}

/// Sales that are there and not listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unlisted {
    /// Their ids, in order.
    pub sales: Vec<SaleId>,
    /// Why there may be more.
    pub not_looked_at: Option<String>,
}

/// One side of a comparison: a number, or the text that stands where one should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// A number.
    Number(u64),
    /// What is none.
    Text(String),
}

impl Default for Amount {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl From<u64> for Amount {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Amount {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// How what is found must stand to what is expected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// They are the same.
    #[default]
    Equal,
    /// It is as large, or larger.
    AtLeast,
    /// It is as large, or smaller.
    AtMost,
}

/// One thing that was compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// What was compared, in a few words: `held units`, `claims`, ...
    pub name: &'static str,
    /// What it should be.
    pub expected: Amount,
    /// How `found` must stand to that.
    pub relation: Relation,
    /// What it is.
    pub found: Amount,
    /// How many things differ. 0: it agrees.
    pub differences: u64,
    /// Some of them, in words, at most [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
    /// What was done about it.
    pub repaired: Option<String>,
    /// Why a repair left it as it is.
    pub withheld: Option<String>,
}

impl Check {
    /// Puts what a later look found beside this one: a check tells what was wrong when it was first
    /// seen, and whether it still is. `done` are the repairs between the two.
    pub fn update(&mut self, now: Self, done: &[&str]) {
        debug_assert_eq!(self.name, now.name);
        if self.differences == 0 || now.differences > 0 {
            *self = now;
        } else if self.repaired.is_none() || !done.is_empty() {
            // What was repaired with something else has no note of its own.
            self.repaired = Some(if done.is_empty() { "agrees".into() } else { done.join(", ") });
        }
    }
}

/// Most examples in a [`Check`].
pub const EXAMPLES_MAX: usize = 5;

/// A sale at one point in time, and whether its parts agree.
#[derive(Debug, Clone)]
pub struct SaleAudit {
    /// Its counts.
    pub view: SaleView,
    /// What was compared.
    pub checks: Vec<Check>,
    /// Every reservation as its last change left it, in the order of ids.
    pub reservations: Vec<Change>,
    /// The version up to which changes are in `reservations`: an order with a later one is newer
    /// than this audit.
    pub version: u64,
    /// Changes of this version and later the ledger can tell of once more; of older ones it has
    /// only the reservation itself.
    pub told_from: u64,
    /// Changes of this version and later are still on their way to the orders: a row that is missing
    /// or older because of one is no difference. `None`: nothing is on its way.
    pub undelivered_from: Option<u64>,
    /// Somebody has read its changes: there are orders.
    pub has_orders: bool,
}
