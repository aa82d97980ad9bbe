//! Names of outcomes and answers, for the counts that a run must reach.

use stampede::ledger::Failure;
use stampede::purchase::{LinesReason, RejectReason};
use stampede::sale::{Command, Outcome};

use crate::call::{Purchase, Told};

/// The name of a ledger's outcome. The compiler asks for a name of each new one.
pub fn of_outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Granted { .. } => "granted",
        Outcome::Seated(_) => "seated",
        Outcome::NoSeats(_) => "no_seats",
        Outcome::Replayed(_) => "replayed",
        Outcome::KeyReused => "key_reused",
        Outcome::Claimed(_) => "claimed",
        Outcome::NotClaimed => "not_claimed",
        Outcome::LimitReached { .. } => "limit_reached",
        Outcome::SoldOut { .. } => "sold_out",
        Outcome::TypeSoldOut { .. } => "type_sold_out",
        Outcome::LinesRequired => "lines_required",
        Outcome::LinesUnexpected => "lines_unexpected",
        Outcome::UnknownType { .. } => "unknown_type",
        Outcome::NotOpen { .. } => "not_open",
        Outcome::Closed => "closed",
        Outcome::UserRequired => "user_required",
        Outcome::QuantityTooLarge { .. } => "quantity_too_large",
        Outcome::QuantityTooSmall { .. } => "quantity_too_small",
        Outcome::ReservationsExhausted { .. } => "reservations_exhausted",
        Outcome::UserReservationsExhausted { .. } => "user_reservations_exhausted",
        Outcome::Reservation(_) => "reservation",
        Outcome::Expired => "expired",
        Outcome::AlreadyConfirmed => "already_confirmed",
        Outcome::AlreadyCancelled => "already_cancelled",
        Outcome::AlreadyRefunded => "already_refunded",
        Outcome::NotConfirmed => "not_confirmed",
        Outcome::ExtensionLimit { .. } => "extension_limit",
        Outcome::RemainingTooLarge { .. } => "remaining_too_large",
        Outcome::Released { .. } => "released",
        Outcome::Sale(_) => "sale",
        Outcome::Unclear => "unclear",
        Outcome::Created(_) => "created",
        Outcome::TotalTooLarge => "total_too_large",
        Outcome::StockTaken { .. } => "stock_taken",
        Outcome::TooFewFree { .. } => "too_few_free",
        Outcome::ClosesTooEarly { .. } => "closes_too_early",
        Outcome::QuantityMaxTooSmall { .. } => "quantity_max_too_small",
        Outcome::QuantityMinTooLarge { .. } => "quantity_min_too_large",
        Outcome::BoundOfParts => "bound_of_parts",
        Outcome::TooManyToCount { .. } => "too_many_to_count",
        Outcome::Removed => "removed",
        Outcome::NotClosed => "not_closed",
        Outcome::StillHeld { .. } => "still_held",
        Outcome::HasSold { .. } => "has_sold",
        // Only of data that somebody has damaged, which is not simulated.
        Outcome::TotalRequired => "total_required",
        Outcome::Split { .. } => "split",
        Outcome::Sent { .. } => "sent",
        Outcome::Received { .. } => "received",
        Outcome::NotSplit => "not_split",
        Outcome::UnknownSale => "unknown_sale",
        Outcome::UnknownReservation => "unknown_reservation",
    }
}

/// The name of what a client was told.
pub fn of_told(told: &Told) -> &'static str {
    match told {
        Told::Purchase(purchase) => of_purchase(purchase),
        Told::Reservation(Outcome::Reservation(_)) => "told_reservation",
        Told::Reservation(Outcome::Expired) => "told_expired",
        Told::Reservation(_) => "told_no_reservation",
        Told::View(Some(_)) => "told_sale",
        Told::View(None) => "told_no_sale",
        Told::Failed(failure) => of_failure(*failure),
        Told::Nothing => "told_nothing",
    }
}

fn of_purchase(purchase: &Purchase) -> &'static str {
    match purchase {
        Purchase::Granted(_) => "told_granted",
        Purchase::Replayed(_) => "told_replayed",
        Purchase::Failed(failure) => of_failure(*failure),
        Purchase::Lines(LinesReason::SoldOut { .. }) => "told_type_sold_out",
        Purchase::Lines(_) => "told_wrong_lines",
        Purchase::Rejected(reason) => match reason {
            RejectReason::SoldOut { .. } => "told_sold_out",
            RejectReason::NotOpen { .. } => "told_not_open",
            RejectReason::Closed => "told_closed",
            RejectReason::LimitReached { .. } => "told_limit_reached",
            RejectReason::UserRequired => "told_user_required",
            RejectReason::QuantityTooLarge { .. } => "told_quantity_too_large",
            RejectReason::QuantityTooSmall { .. } => "told_quantity_too_small",
            RejectReason::ReservationsExhausted { .. } => "told_reservations_exhausted",
            RejectReason::UserReservationsExhausted { .. } => "told_user_reservations_exhausted",
            RejectReason::KeyReused => "told_key_reused",
            RejectReason::Damaged => "told_damaged",
            RejectReason::AllowanceExhausted => "told_allowance_exhausted",
            RejectReason::UnknownSale => "told_unknown_sale",
        },
    }
}

fn of_failure(failure: Failure) -> &'static str {
    match failure {
        Failure::Busy => "told_busy",
        Failure::Unavailable => "told_unavailable",
        Failure::Unknown => "told_unknown",
    }
}

/// The invariant that a wrong outcome breaks.
pub fn of_difference(command: &Command, expected: &Outcome, told: &Outcome) -> &'static str {
    match (command, expected, told) {
        (Command::Reserve(_), Outcome::Replayed(_) | Outcome::KeyReused, _)
        | (Command::Reserve(_), _, Outcome::Replayed(_) | Outcome::KeyReused)
        | (Command::FindClaim(..), Outcome::Claimed(_), _)
        | (Command::FindClaim(..), _, Outcome::Claimed(_)) => "I4 exactly once",
        (Command::Reserve(_), _, Outcome::Granted { .. }) => "I1 never oversell",
        (Command::Reserve(_) | Command::FindClaim(..), ..) => "I6 truth",
        (Command::Confirm(_), Outcome::Expired, _) | (Command::Confirm(_), _, Outcome::Expired) => {
            "I7 pay late"
        }
        (Command::Expire { .. }, ..) => "I5 never strand",
        (
            Command::TransferOut { .. } | Command::TransferIn { .. } | Command::CreatePart { .. },
            ..,
        ) => "P parts",
        (Command::AddStock(_) | Command::TakeStock { .. }, ..) => "I2 conserve",
        _ => "rules",
    }
}
