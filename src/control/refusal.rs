//! The problems for commands that the ledger refuses.

use super::problem::not_found;
use crate::clock::rfc3339;
use crate::code::ErrorCode;
use crate::code::control::{
    HAS_SOLD, NOT_CLOSED, NOT_CONFIRMED, STILL_HELD, TOO_FEW_FREE, TOO_MANY_TO_COUNT,
};
use crate::engine::http::{Kind, Problem};
use crate::limits::{LIMIT_COUNT_LINES_MAX, LIMIT_COUNT_UNITS_MAX, TOTAL_MAX};
use crate::route::{seats_problem, wrong_remaining};
use crate::sale::{Outcome, SpecError};

/// The problem for an outcome that is a refusal.
pub(super) fn refusal(outcome: Outcome) -> Problem {
    match outcome {
        Outcome::UnknownSale => not_found("sale"),
        Outcome::UnknownReservation => not_found("reservation"),
        Outcome::NotClosed => Problem::of(NOT_CLOSED),
        Outcome::StillHeld { held } => {
            let detail = format!(
                "{held} units of the sale are held: wait until they are paid or expire, or cancel them."
            );
            Problem::new(STILL_HELD, detail).with("held", held)
        }
        Outcome::HasSold { held, confirmed } => {
            let detail = format!(
                "{held} units of the sale are held and {confirmed} confirmed: they would be forgotten \
                 with their reservations. If that is meant, say --force, or {{\"force\": true}}."
            );
            Problem::new(HAS_SOLD, detail).with("held", held).with("confirmed", confirmed)
        }
        Outcome::TotalRequired => {
            Problem::invalid("total", "The sale's total can't be read: give the new total.")
        }
        Outcome::TotalTooLarge => {
            let detail = format!("A sale has at most {TOTAL_MAX} units; nothing changed.");
            Problem::invalid("units", detail)
        }
        Outcome::TooFewFree { free } => {
            let detail = format!(
                "{free} units of the sale are free; nothing was taken. To take as many as there are, say \
                 --at-most, or {{\"at_most\": true}}."
            );
            Problem::new(TOO_FEW_FREE, detail).with("free", free)
        }
        Outcome::ClosesTooEarly { opens_at_ms } => {
            let opens_at = rfc3339(opens_at_ms);
            let detail = format!("The sale must close after it opens, which is at {opens_at}.");
            Problem::invalid("closes_at", detail)
        }
        Outcome::QuantityMaxTooSmall { quantity_min } => {
            let detail = format!("A reservation in this sale has at least {quantity_min} units.");
            Problem::invalid("quantity_max", detail)
        }
        Outcome::QuantityMinTooLarge { quantity_max } => {
            let detail = format!("A reservation in this sale has at most {quantity_max} units.");
            Problem::invalid("quantity_min", detail)
        }
        Outcome::BoundOfParts => {
            let detail = format!("{}.", SpecError::Reservations(0));
            Problem::invalid("reservations_max", detail)
        }
        Outcome::TooManyToCount { units } => {
            let detail = format!(
                "The sale did not have this limit so far, so its units and reservations would have to be counted. \
                 {units} units are held or confirmed; at most {LIMIT_COUNT_UNITS_MAX} units in \
                 {LIMIT_COUNT_LINES_MAX} reservations can be counted in one step. Nothing changed."
            );
            Problem::new(TOO_MANY_TO_COUNT, detail).with("units", units)
        }
        Outcome::Expired => Problem::of(ErrorCode::Expired),
        Outcome::AlreadyConfirmed => Problem::of(ErrorCode::AlreadyConfirmed),
        Outcome::AlreadyCancelled => Problem::of(ErrorCode::AlreadyCancelled),
        Outcome::AlreadyRefunded => Problem::of(ErrorCode::AlreadyRefunded),
        Outcome::NotConfirmed => Problem::of(NOT_CONFIRMED),
        Outcome::ExtensionLimit { expires_at_ms_max } => {
            let (expires_at_max, code) =
                (rfc3339(expires_at_ms_max), ErrorCode::ExtensionLimitReached);
            Problem::of(code).with("expires_at_max", expires_at_max)
        }
        Outcome::LinesRequired => wrong_remaining(true),
        Outcome::LinesUnexpected => wrong_remaining(false),
        Outcome::NoSeats(refusal) => seats_problem(&refusal),
        Outcome::RemainingTooLarge { quantity } => {
            Problem::of(ErrorCode::RemainingTooLarge).with("quantity", quantity)
        }
        // A late confirmation of a reservation that is older than the sale's limit.
        Outcome::UserRequired => Problem::of(ErrorCode::UserRequired),
        Outcome::LimitReached { limit_per_user } => {
            Problem::of(ErrorCode::LimitReached).with("limit_per_user", limit_per_user)
        }
        outcome => unexpected(Some(&outcome)),
    }
}

/// The problem for an outcome that does not fit the command.
pub(super) fn unexpected(outcome: Option<&Outcome>) -> Problem {
    tracing::error!(?outcome, "unexpected ledger outcome at the control port");
    Problem::of(Kind::INTERNAL)
}
