//! From the outcome of a purchase to its code and problem.

use crate::clock::rfc3339;
use crate::code::ErrorCode;
use crate::engine::http::Problem;
use crate::ledger::Failure;
use crate::purchase::{LinesReason, PurchaseOutcome, RejectReason};
use crate::route::seats_problem;
use crate::sale::seats::SeatRefusal;

/// 404: it does not exist.
pub fn not_found(what: &str) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("There is no such {what}."))
}

/// Fewer units are left than were requested.
pub fn sold_out(free: u64) -> Problem {
    Problem::of(ErrorCode::SoldOut).with("free", free)
}

/// The user would have more units than this.
pub fn limit_reached(limit_per_user: u32) -> Problem {
    Problem::of(ErrorCode::LimitReached).with("limit_per_user", limit_per_user)
}

/// The stored data of the sale contradicts itself. The details are for its operator.
pub fn damaged() -> Problem {
    Problem::new(
        ErrorCode::Unavailable,
        "The stored data of this sale is damaged; the server's log has the reason. Nothing was \
         reserved.",
    )
    .with("reason", DAMAGED)
}

/// The member `reason` of that problem.
pub const DAMAGED: &str = "sale_damaged";

/// The code for a command that the ledger did not answer.
pub fn failure_code(failure: Failure) -> ErrorCode {
    match failure {
        Failure::Busy => ErrorCode::Busy,
        Failure::Unavailable => ErrorCode::Unavailable,
        Failure::Unknown => ErrorCode::Unknown,
    }
}

/// The problem for wrong or missing ticket types.
fn lines_problem(refused: &LinesReason) -> Problem {
    match refused {
        LinesReason::SoldOut { name, free } => {
            let detail = "The sale has fewer units of this ticket type left than were requested.";
            Problem::new(ErrorCode::SoldOut, detail)
                .with(TICKET_TYPE, name.as_str())
                .with("free", *free)
        }
        LinesReason::Required => Problem::invalid(
            LINES,
            "The sale has ticket types: give lines, units by type, and no quantity.",
        ),
        LinesReason::Unexpected => {
            Problem::invalid(LINES, "The sale has no ticket types: give a quantity, and no lines.")
        }
        LinesReason::Unknown { name } => {
            Problem::invalid(LINES, format!("The sale has no ticket type {name}."))
                .with(TICKET_TYPE, name.as_str())
        }
    }
}

const LINES: &str = "lines";

/// Every problem has a member `type` already (RFC 9457).
const TICKET_TYPE: &str = "ticket_type";

/// The code of a purchase that was not granted.
pub fn verdict_code(verdict: &PurchaseOutcome) -> ErrorCode {
    match verdict {
        PurchaseOutcome::Failed(failure) => failure_code(*failure),
        PurchaseOutcome::Lines(LinesReason::SoldOut { .. }) => ErrorCode::SoldOut,
        PurchaseOutcome::Lines(_) => ErrorCode::Invalid,
        PurchaseOutcome::NoSeats(SeatRefusal::Departed(_)) => ErrorCode::Closed,
        PurchaseOutcome::NoSeats(refusal) if refusal.is_of_stock() => ErrorCode::SoldOut,
        PurchaseOutcome::NoSeats(_) => ErrorCode::Invalid,
        PurchaseOutcome::Rejected(refused) => match refused {
            RejectReason::SoldOut { .. } => ErrorCode::SoldOut,
            RejectReason::NotOpen { .. } => ErrorCode::NotOpen,
            RejectReason::Closed => ErrorCode::Closed,
            RejectReason::LimitReached { .. } => ErrorCode::LimitReached,
            RejectReason::UserRequired => ErrorCode::UserRequired,
            RejectReason::QuantityTooLarge { .. } | RejectReason::QuantityTooSmall { .. } => {
                ErrorCode::Invalid
            }
            RejectReason::ReservationsExhausted { .. }
            | RejectReason::UserReservationsExhausted { .. } => ErrorCode::ReservationsExhausted,
            RejectReason::KeyReused => ErrorCode::KeyReused,
            RejectReason::AllowanceExhausted => ErrorCode::AllowanceExhausted,
            RejectReason::UnknownSale => ErrorCode::NotFound,
            RejectReason::Damaged => ErrorCode::Unavailable,
        },
        // These are not refusals; each caller writes them before it asks for a code.
        PurchaseOutcome::Granted(_) | PurchaseOutcome::Replayed(_) => ErrorCode::Internal,
    }
}

/// The same as a problem, with the members that the code alone does not give.
pub fn verdict_problem(verdict: &PurchaseOutcome) -> Problem {
    let code = verdict_code(verdict);
    let refused = match verdict {
        PurchaseOutcome::Rejected(refused) => refused,
        PurchaseOutcome::Lines(refused) => return lines_problem(refused),
        PurchaseOutcome::NoSeats(refusal) => return seats_problem(refusal),
        _ => return Problem::of(code),
    };
    match refused {
        RejectReason::SoldOut { free } => sold_out(*free),
        RejectReason::NotOpen { opens_at_ms } => {
            Problem::of(code).with("opens_at", rfc3339(*opens_at_ms))
        }
        RejectReason::LimitReached { limit_per_user } => limit_reached(*limit_per_user),
        RejectReason::QuantityTooLarge { quantity_max } => Problem::invalid(
            "quantity",
            format!("A reservation in this sale has at most {quantity_max} units."),
        ),
        RejectReason::QuantityTooSmall { quantity_min } => Problem::invalid(
            "quantity",
            format!("A reservation in this sale has at least {quantity_min} units."),
        ),
        RejectReason::ReservationsExhausted { reservations_max } => {
            Problem::of(code).with("reservations_max", *reservations_max)
        }
        RejectReason::UserReservationsExhausted { reservations_per_user_max } => Problem::new(
            code,
            "As many reservations were made for this user as the sale allows, whatever became of them.",
        )
        .with("reservations_per_user_max", *reservations_per_user_max),
        RejectReason::UnknownSale => not_found("sale"),
        RejectReason::Damaged => damaged(),
        RejectReason::Closed
        | RejectReason::UserRequired
        | RejectReason::KeyReused
        | RejectReason::AllowanceExhausted => Problem::of(code),
    }
}
