//! What the command line names: is it right, and how is it shown if it is not.

use super::failure::Failure;
use crate::sale::SaleId;

/// An error unless this can be the id of a sale.
pub(super) fn check_sale(id: &str) -> Result<(), Failure> {
    let checked = SaleId::new(id).map(drop);
    checked.map_err(|error| Failure::Usage(format!("{}: {error}", shown(id))))
}

/// A text of the command line in an error: on one line, and not endless.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(200).collect();
    if shown.is_empty() || shown.chars().any(|c| c.is_control() || c.is_whitespace()) {
        shown = format!("{shown:?}");
    }
    shown
}
