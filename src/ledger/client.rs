//! The ledger for everything that is no core: commands of the operator, the control port, the sweep,
//! the audit. A client blocks the thread it is called on; a core never has one.

use super::members::Roll;
use super::{Batch, BatchReply, LedgerError};
use crate::sale::{Change, SaleId, SaleView};

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

    /// Looks at everything the ledger has of a sale and compares what must agree; with `repair`
    /// also mends what can be mended. Goes on while the sale is being sold, and is exact all the
    /// same: what it gives is the sale at one point in time. `None`: there is no such sale.
    fn audit(&mut self, sale: &SaleId, repair: bool) -> Result<Option<SaleAudit>, LedgerError>;

    /// The servers that share the ledger now. `None`: one server has it for itself, and no lease.
    fn members(&mut self) -> Result<Option<Roll>, LedgerError> {
        Ok(None)
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

/// One thing that was compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// What was compared, in a few words: `held units`, `claims`, ...
    pub name: &'static str,
    /// What it should be, for the table.
    pub expected: String,
    /// What it is, for the table.
    pub found: String,
    /// How many things differ. 0: it agrees.
    pub differences: u64,
    /// Some of them, in words, at most [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
    /// What was done about it.
    pub repaired: Option<String>,
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
    /// Changes of this version and later are still on their way to the orders: a row that is missing
    /// or older because of one is no difference. `None`: nothing is on its way.
    pub undelivered_from: Option<u64>,
}
