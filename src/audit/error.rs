//! Why an audit gives no report.

use crate::ledger::LedgerError;
use crate::orders::DatabaseError;
use crate::sale::SaleId;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no sale of this name.
    #[error("there is no sale {0}")]
    UnknownSale(SaleId),
    /// The ledger gave no answer.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// The database gave no answer.
    #[error("the orders: {0}")]
    Orders(#[from] DatabaseError),
}
