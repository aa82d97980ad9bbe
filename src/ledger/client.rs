//! Access to the ledger from outside of the cores: commands of the operator, the control port, the
//! sweep, the audit. A client blocks the calling thread; a core never has one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::format::FORMAT_0_1_0;
use super::gaps::Gaps;
use super::members::MemberList;
use super::{Batch, BatchReply, LedgerError};
use crate::sale::{Change, ReservationId, SaleId, SaleView};

/// A blocking connection to a ledger, for one thread at a time.
pub trait Client: Send {
    /// Carries out a batch and waits for the reply.
    fn apply(&mut self, batch: &Batch) -> Result<BatchReply, LedgerError>;

    /// Whether it can keep a sale in parts.
    fn can_split(&self) -> bool {
        false
    }

    /// Every sale, in the order of ids; of a split sale also every part.
    fn sales(&mut self) -> Result<Vec<SaleId>, LedgerError>;

    /// Reads everything that the ledger has of a sale and compares what must agree. With a
    /// `repair`, also repairs what it allows. The sale may go on meanwhile; the result is
    /// nevertheless exact, at one point in time. `None`: there is no such sale.
    fn audit(
        &mut self,
        sale: &SaleId,
        repair: Option<&Repair>,
    ) -> Result<Option<SaleAudit>, LedgerError>;

    /// Finds sales that exist but that [`sales`](Self::sales) does not list.
    fn unlisted(&mut self) -> Result<Unlisted, LedgerError> {
        Ok(Unlisted::default())
    }

    /// Adds sales to the list.
    fn list(&mut self, sales: &[SaleId]) -> Result<(), LedgerError> {
        let _ = sales;
        Ok(())
    }

    /// Whether anything is left of a sale that [`audit`](Self::audit) does not find.
    fn remains(&mut self, sale: &SaleId) -> Result<bool, LedgerError> {
        let _ = sale;
        Ok(false)
    }

    /// Orders of a sale up to this version may belong to a removed sale of this name. `None`: the
    /// ledger knows of no such sale.
    fn removed_at(&mut self, sale: &SaleId) -> Result<Option<u64>, LedgerError> {
        let _ = sale;
        Ok(None)
    }

    /// Versions that this ledger never assigned: orders that have one belong to a lost state or to
    /// another ledger.
    fn gaps(&mut self) -> Result<Gaps, LedgerError> {
        Ok(Gaps::default())
    }

    /// The ledger to which a sale of this name was moved. `None`: none was moved.
    fn moved_to(&mut self, sale: &SaleId) -> Result<Option<String>, LedgerError> {
        let _ = sale;
        Ok(None)
    }

    /// Notes in the head of a split sale how many units all its places have together, unless stock
    /// was added since `head` was seen. Returns whether it was noted.
    fn note_stock(
        &mut self,
        sale: &SaleId,
        head: &SaleView,
        units: u64,
    ) -> Result<bool, LedgerError> {
        let _ = (sale, head, units);
        Ok(false)
    }

    /// The servers that share the ledger now. `None`: one server has the ledger for itself, without
    /// a lease.
    fn members(&mut self) -> Result<Option<MemberList>, LedgerError> {
        Ok(None)
    }

    /// Why this format must not be written now, if so: a server that shares the ledger could not
    /// read it.
    fn format_blocker(&mut self, format: u32) -> Result<Option<String>, LedgerError> {
        if format <= FORMAT_0_1_0 {
            return Ok(None);
        }
        Ok(self.members()?.and_then(|roll| roll.format_blocker(format)))
    }

    /// The name under which the orders' database keeps its position, for a ledger that does not
    /// keep it itself.
    fn orders_source(&self) -> Option<String> {
        None
    }

    /// Sets the position of the orders' database for such a ledger, before an audit.
    fn orders_have(&mut self, version: u64) -> Result<(), LedgerError> {
        let _ = version;
        Ok(())
    }
}

/// What a repair may do, given what is known outside of the ledger.
///
/// A repair that takes units from nobody is always allowed. A repair that makes more units
/// available (lowers a count, removes a claim) is allowed only if no evidence says that somebody
/// has these units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// Allow it in any case, against such evidence.
    pub release_units: bool,
    /// The orders were read.
    pub orders_seen: bool,
    /// Orders contain units that the ledger does not know of.
    pub owed: bool,
    /// Reservations whose order is ahead of the ledger, in the order of ids.
    pub disputed: Vec<ReservationId>,
}

/// Sales that exist and are not listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unlisted {
    /// Their ids, in order.
    pub sales: Vec<SaleId>,
    /// Why there may be more.
    pub not_looked_at: Option<String>,
}

/// One side of a comparison: a number, or the text found in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// A number.
    Number(u64),
    /// A text that is no number.
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

/// How the found amount must relate to the expected one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Equal.
    #[default]
    Equal,
    /// Equal or greater.
    AtLeast,
    /// Equal or less.
    AtMost,
}

/// One comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// What was compared, in a few words: `held units`, `claims`, ...
    pub name: &'static str,
    /// The expected amount.
    pub expected: Amount,
    /// How `found` must relate to it.
    pub relation: Relation,
    /// The found amount.
    pub found: Amount,
    /// The number of differences. 0: everything agrees.
    pub differences: u64,
    /// Some of the differences, in words, at most [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
    /// What the repair did.
    pub repaired: Option<String>,
    /// Why the repair changed nothing.
    pub withheld: Option<String>,
}

impl Check {
    /// Merges a later check into this one: keeps what was wrong at first, and notes whether it
    /// still is. `done` are the repairs between the two.
    pub fn update(&mut self, now: Self, done: &[&str]) {
        debug_assert_eq!(self.name, now.name);
        if self.differences == 0 || now.differences > 0 {
            *self = now;
        } else if self.repaired.is_none() || !done.is_empty() {
            // Repaired by the repair of something else, which has the note.
            self.repaired = Some(if done.is_empty() { "agrees".into() } else { done.join(", ") });
        }
    }
}

/// The maximum number of examples in a [`Check`].
pub const EXAMPLES_MAX: usize = 5;

/// A sale at one point in time, and the comparisons of its data.
#[derive(Debug, Clone)]
pub struct SaleAudit {
    /// Its counts.
    pub view: SaleView,
    /// The comparisons.
    pub checks: Vec<Check>,
    /// Every reservation as its last change left it, in the order of ids.
    pub reservations: Vec<Change>,
    /// The version up to which changes are in `reservations`: an order with a later version is
    /// newer than this audit.
    pub version: u64,
    /// The ledger can deliver changes of this version and later again. Of older ones it only has
    /// the final reservation.
    pub streamed_from: u64,
    /// Changes of this version and later are still on their way to the orders: a missing or older
    /// row is then no difference. `None`: nothing is on its way.
    pub undelivered_from: Option<u64>,
    /// Some worker has read its changes, so there are orders.
    pub has_orders: bool,
}
