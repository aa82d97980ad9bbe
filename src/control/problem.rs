//! How the control port says what it has in common with the buyers' port.

use crate::code::Code;
use crate::engine::http::{Kind, Problem};
use crate::ledger::LedgerError;

/// There is no such thing: 404.
pub fn not_found(what: &str) -> Problem {
    Problem::new(Kind::NOT_FOUND, format!("There is no such {what}."))
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Refused(reason) => Self::new(
                Code::Unavailable,
                format!("The ledger can't do it now; nothing happened: {reason}"),
            ),
            LedgerError::Lost(reason) => Self::new(
                Code::Unknown,
                format!(
                    "The ledger's answer was lost, so it may have happened or not; look, or ask the \
                     same again: {reason}"
                ),
            ),
        }
    }
}
