//! From what a purchase comes to, to the code and the problem that say so.

use crate::clock::rfc3339;
use crate::code::Code;
use crate::engine::http::Problem;
use crate::ledger::Failure;
use crate::purchase::{LinesRefused, Refused, Verdict};

/// There is no such thing: 404.
pub fn not_found(what: &str) -> Problem {
    Problem::new(Code::NotFound, format!("There is no such {what}."))
}

/// Fewer units are left than were asked for.
pub fn sold_out(free: u64) -> Problem {
    Problem::of(Code::SoldOut).with("free", free)
}

/// The user would have more units than this.
pub fn limit_reached(limit_per_user: u32) -> Problem {
    Problem::of(Code::LimitReached).with("limit_per_user", limit_per_user)
}

/// What is stored of the sale contradicts itself. What exactly is for its operator.
pub fn damaged() -> Problem {
    Problem::new(
        Code::Unavailable,
        "This server can't use what is stored of this sale; its operator is told why. Nothing was \
         reserved.",
    )
    .with("reason", DAMAGED)
}

/// What `reason` says then.
pub const DAMAGED: &str = "sale_damaged";

/// Why there is no answer of the ledger.
pub fn failure_code(failure: Failure) -> Code {
    match failure {
        Failure::Busy => Code::Busy,
        Failure::Unavailable => Code::Unavailable,
        Failure::Unknown => Code::Unknown,
    }
}

/// What speaks against the ticket types that a request names, or names not.
fn lines_problem(refused: &LinesRefused) -> Problem {
    match refused {
        LinesRefused::SoldOut { name, free } => {
            let detail = "The sale has fewer units left of this ticket type than were asked for.";
            Problem::new(Code::SoldOut, detail).with(TICKET_TYPE, name.as_str()).with("free", *free)
        }
        LinesRefused::Required => Problem::invalid(
            LINES,
            "The sale has ticket types: give lines, units by type, and no quantity.",
        ),
        LinesRefused::Unexpected => {
            Problem::invalid(LINES, "The sale has no ticket types: give a quantity, and no lines.")
        }
        LinesRefused::Unknown { name } => {
            Problem::invalid(LINES, format!("The sale has no ticket type {name}."))
                .with(TICKET_TYPE, name.as_str())
        }
    }
}

const LINES: &str = "lines";

/// `type` is a member that every problem has (RFC 9457).
const TICKET_TYPE: &str = "ticket_type";

/// Why a purchase was not granted.
pub fn verdict_code(verdict: &Verdict) -> Code {
    match verdict {
        Verdict::Failed(failure) => failure_code(*failure),
        Verdict::Lines(LinesRefused::SoldOut { .. }) => Code::SoldOut,
        Verdict::Lines(_) => Code::Invalid,
        Verdict::Refused(refused) => match refused {
            Refused::SoldOut { .. } => Code::SoldOut,
            Refused::NotOpen { .. } => Code::NotOpen,
            Refused::Closed => Code::Closed,
            Refused::LimitReached { .. } => Code::LimitReached,
            Refused::UserRequired => Code::UserRequired,
            Refused::QuantityTooLarge { .. } | Refused::QuantityTooSmall { .. } => Code::Invalid,
            Refused::ReservationsExhausted { .. } | Refused::UserReservationsExhausted { .. } => {
                Code::ReservationsExhausted
            }
            Refused::KeyReused => Code::KeyReused,
            Refused::AllowanceExhausted => Code::AllowanceExhausted,
            Refused::UnknownSale => Code::NotFound,
            Refused::Damaged => Code::Unavailable,
        },
        // These are not refusals; each caller has written them before it asks for a code.
        Verdict::Granted(_) | Verdict::Replayed(_) => Code::Internal,
    }
}

/// The same as a problem, with what there is to say beyond the code.
pub fn verdict_problem(verdict: &Verdict) -> Problem {
    let code = verdict_code(verdict);
    let refused = match verdict {
        Verdict::Refused(refused) => refused,
        Verdict::Lines(refused) => return lines_problem(refused),
        _ => return Problem::of(code),
    };
    match refused {
        Refused::SoldOut { free } => sold_out(*free),
        Refused::NotOpen { opens_at_ms } => {
            Problem::of(code).with("opens_at", rfc3339(*opens_at_ms))
        }
        Refused::LimitReached { limit_per_user } => limit_reached(*limit_per_user),
        Refused::QuantityTooLarge { quantity_max } => Problem::invalid(
            "quantity",
            format!("A reservation in this sale has at most {quantity_max} units."),
        ),
        Refused::QuantityTooSmall { quantity_min } => Problem::invalid(
            "quantity",
            format!("A reservation in this sale has at least {quantity_min} units."),
        ),
        Refused::ReservationsExhausted { reservations_max } => {
            Problem::of(code).with("reservations_max", *reservations_max)
        }
        Refused::UserReservationsExhausted { reservations_per_user_max } => Problem::new(
            code,
            "As many reservations were made for this user as the sale allows, whatever became of them.",
        )
        .with("reservations_per_user_max", *reservations_per_user_max),
        Refused::UnknownSale => not_found("sale"),
        Refused::Damaged => damaged(),
        Refused::Closed
        | Refused::UserRequired
        | Refused::KeyReused
        | Refused::AllowanceExhausted => Problem::of(code),
    }
}
