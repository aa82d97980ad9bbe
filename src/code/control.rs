//! What goes wrong at the control port alone. The rest it has in common with the buyers' port.

use crate::engine::http::{Kind, Status};

/// Every kind.
pub const ALL: &[&Kind] = &[
    DRAINING,
    EXISTS,
    NOT_CLOSED,
    STILL_HELD,
    HAS_SOLD,
    NOT_CONFIRMED,
    TOO_FEW_FREE,
    TOO_MANY_TO_COUNT,
    FOREIGN_PARTS,
];

/// The server takes no more buyers.
pub const DRAINING: &Kind = &Kind::new(
    "draining",
    Status::ServiceUnavailable,
    "The server ends soon: it takes no more buyers.",
)
.retry_after_s(1);

/// A sale is there, and is not as asked.
pub const EXISTS: &Kind = &Kind::new("exists", Status::Conflict, "There is such a sale.");

/// A sale must be closed first.
pub const NOT_CLOSED: &Kind =
    &Kind::new("not_closed", Status::Conflict, "The sale is not closed: close it first.");

/// Units of a sale are held.
pub const STILL_HELD: &Kind =
    &Kind::new("still_held", Status::Conflict, "Units of the sale are held.");

/// A sale has sold, which would be forgotten.
pub const HAS_SOLD: &Kind =
    &Kind::new("has_sold", Status::Conflict, "Units of the sale are held or confirmed.");

/// A reservation is not paid.
pub const NOT_CONFIRMED: &Kind = &Kind::new(
    "not_confirmed",
    Status::Conflict,
    "The reservation is held and not paid, so there is nothing to refund: cancel it.",
);

/// Fewer units are free than are to be taken back.
pub const TOO_FEW_FREE: &Kind =
    &Kind::new("too_few_free", Status::Conflict, "Fewer units of the sale are free.");

/// What is to be bounded can't be counted at once.
pub const TOO_MANY_TO_COUNT: &Kind = &Kind::new(
    "too_many_to_count",
    Status::Conflict,
    "Too many units of the sale are held or confirmed, or too many reservations were made, to count them.",
);

/// Parts of a sale belong to another.
pub const FOREIGN_PARTS: &Kind =
    &Kind::new("foreign_parts", Status::Conflict, "Parts of the sale belong to another.");
