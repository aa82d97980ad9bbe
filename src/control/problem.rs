//! Problems that the control port shares with the public port.

use crate::code::ErrorCode;
use crate::engine::http::{Kind, Problem};
use crate::ledger::LedgerError;

/// 404: it does not exist.
pub fn not_found(what: &str) -> Problem {
    Problem::new(Kind::NOT_FOUND, format!("There is no such {what}."))
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Refused(reason) => Self::new(
                ErrorCode::Unavailable,
                format!("The ledger refused the command; nothing was done: {reason}"),
            ),
            LedgerError::Lost(reason) => Self::new(
                ErrorCode::Unknown,
                format!(
                    "The ledger's answer was lost, so the outcome is unknown; check the state, or \
                     repeat the request: {reason}"
                ),
            ),
        }
    }
}
