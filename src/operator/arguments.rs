//! Checks names on the command line, and quotes them in errors.

use super::failure::Failure;
use crate::sale::SaleId;

/// Fails unless `id` can be the id of a sale.
pub(super) fn check_sale(id: &str) -> Result<(), Failure> {
    let checked = SaleId::new(id).map(drop);
    checked.map_err(|error| Failure::Usage(format!("{}: {error}", quoted(id))))
}

/// A text of the command line for an error: on one line, at most 200 characters.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted: String = text.chars().take(200).collect();
    if quoted.is_empty() || quoted.chars().any(|c| c.is_control() || c.is_whitespace()) {
        quoted = format!("{quoted:?}");
    }
    quoted
}
