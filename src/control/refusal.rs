//! What the control port says where the ledger refuses what it was asked.

use super::problem::not_found;
use crate::clock::rfc3339;
use crate::code::Code;
use crate::code::control::{
    HAS_SOLD, NOT_CLOSED, NOT_CONFIRMED, STILL_HELD, TOO_FEW_FREE, TOO_MANY_TO_COUNT,
};
use crate::engine::http::{Kind, Problem};
use crate::limits::{LIMIT_COUNT_LINES_MAX, LIMIT_COUNT_UNITS_MAX, TOTAL_MAX};
use crate::route::wrong_remaining;
use crate::sale::{Outcome, SpecError};

/// What the ledger says instead of what was asked.
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
            Problem::invalid("total", "The sale's total can't be read: say what it is to be.")
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
                "The sale has not had this limit or bound, so nobody counts what it is about. {units} units are \
                 held or confirmed: no more than {LIMIT_COUNT_UNITS_MAX}, in {LIMIT_COUNT_LINES_MAX} \
                 reservations, are counted at once. Nothing changed."
            );
            Problem::new(TOO_MANY_TO_COUNT, detail).with("units", units)
        }
        Outcome::Expired => Problem::of(Code::Expired),
        Outcome::AlreadyConfirmed => Problem::of(Code::AlreadyConfirmed),
        Outcome::AlreadyCancelled => Problem::of(Code::AlreadyCancelled),
        Outcome::AlreadyRefunded => Problem::of(Code::AlreadyRefunded),
        Outcome::NotConfirmed => Problem::of(NOT_CONFIRMED),
        Outcome::ExtensionLimit { expires_at_ms_max } => {
            let (expires_at_max, code) = (rfc3339(expires_at_ms_max), Code::ExtensionLimitReached);
            Problem::of(code).with("expires_at_max", expires_at_max)
        }
        Outcome::LinesRequired => wrong_remaining(true),
        Outcome::LinesUnexpected => wrong_remaining(false),
        Outcome::RemainingTooLarge { quantity } => {
            Problem::of(Code::RemainingTooLarge).with("quantity", quantity)
        }
        // A late confirmation of what was sold before the sale had its limit.
        Outcome::UserRequired => Problem::of(Code::UserRequired),
        Outcome::LimitReached { limit_per_user } => {
            Problem::of(Code::LimitReached).with("limit_per_user", limit_per_user)
        }
        outcome => unexpected(Some(&outcome)),
    }
}

/// Something that is no answer to what was asked.
pub(super) fn unexpected(outcome: Option<&Outcome>) -> Problem {
    tracing::error!(?outcome, "ledger answered the control port with something else");
    Problem::of(Kind::INTERNAL)
}
