//! Problems of the control port alone. It shares all others with the buyers' port.

use crate::engine::http::{Kind, Status};

/// All kinds.
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

/// The server is about to end.
pub const DRAINING: &Kind = &Kind::new(
    "draining",
    Status::ServiceUnavailable,
    "The server is shutting down and takes no more buyers.",
)
.retry_after_s(1);

/// The sale exists with other terms.
pub const EXISTS: &Kind = &Kind::new("exists", Status::Conflict, "The sale exists already.");

/// The sale must be closed first.
pub const NOT_CLOSED: &Kind =
    &Kind::new("not_closed", Status::Conflict, "The sale is not closed: close it first.");

/// Units of a sale are held.
pub const STILL_HELD: &Kind =
    &Kind::new("still_held", Status::Conflict, "Units of the sale are held.");

/// The sale has sold, and the sales would be forgotten.
pub const HAS_SOLD: &Kind =
    &Kind::new("has_sold", Status::Conflict, "Units of the sale are held or confirmed.");

/// The reservation is not confirmed.
pub const NOT_CONFIRMED: &Kind = &Kind::new(
    "not_confirmed",
    Status::Conflict,
    "The reservation is held and not paid, so there is nothing to refund: cancel it.",
);

/// Fewer units are free than are to be taken back.
pub const TOO_FEW_FREE: &Kind =
    &Kind::new("too_few_free", Status::Conflict, "Fewer units of the sale are free.");

/// A new limit would need a count that takes too long.
pub const TOO_MANY_TO_COUNT: &Kind = &Kind::new(
    "too_many_to_count",
    Status::Conflict,
    "Too many units of the sale are held or confirmed, or too many reservations were made, to count them.",
);

/// Parts of the sale belong to another sale.
pub const FOREIGN_PARTS: &Kind =
    &Kind::new("foreign_parts", Status::Conflict, "Parts of the sale belong to another sale.");
