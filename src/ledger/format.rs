//! The formats that a reader of a Redis shared by several versions must know.
//!
//! Servers and workers of the last release read the lines of reservations and of the streams beside
//! ours. A reader that meets an unknown format refuses that reservation, or leaves the entry in
//! place; it never misreads it. So a format must not be written while such a reader is there: code
//! that admits commands calls [`needed_by`] first, and each lease states what its server reads.
//! Before that, the sale states its format in the field `format` of its hash: a version that does
//! not read it refuses the sale and names the format.
//!
//! The embedded ledger has only its own process as a reader; its folder states its format
//! (`embedded/marker.rs`).

use crate::sale::{Command, Reservation, Status};

/// What 0.1.0 reads: the statuses held, confirmed, cancelled and expired.
pub const FORMAT_0_1_0: u32 = 1;
/// The status `refunded`, in lines of `reservations` and of the stream, and in the orders' rows.
pub const FORMAT_REFUNDED: u32 = 2;
/// [`Details`](crate::sale::Details) after the owner, in lines of `reservations` and of the stream.
pub const FORMAT_DETAILS: u32 = 3;
/// The latest format that does not restrict purchases.
pub const FORMAT_PLAIN_MAX: u32 = FORMAT_DETAILS;
/// A sale with [`Rules`](crate::sale::Rules), for as long as it has any, or with ticket
/// [`Types`](crate::sale::Types): a version that does not know them would sell against them.
pub const FORMAT_RULES: u32 = 4;
/// What this build reads.
pub const FORMAT: u32 = FORMAT_RULES;
/// No release will have so many.
pub const FORMATS_MAX: u32 = 1_000_000;

/// The format that all servers and workers must read before this command may be carried out. Every
/// other command writes only what 0.1.0 has written too.
pub fn needed_by(command: &Command) -> u32 {
    match command {
        Command::Refund(_) => FORMAT_REFUNDED,
        Command::RefundTo(_, remaining) if remaining.is_none() => FORMAT_REFUNDED,
        Command::CancelTo(_, remaining) if remaining.is_none() => FORMAT_0_1_0,
        Command::Extend(..) | Command::CancelTo(..) | Command::RefundTo(..) => FORMAT_DETAILS,
        Command::Reserve(reserve) if reserve.details.is_some() => FORMAT_DETAILS,
        Command::ChangeTerms(terms) if terms.name_rules() => FORMAT_RULES,
        // Also all other terms, and less stock: 0.1.0 reads both again with each command.
        _ => FORMAT_0_1_0,
    }
}

/// The field `split` in the hash of a sale with rules, together with what it says of parts. 0.1.0
/// knows no formats; it refuses a sale whose field it can't parse, and shows the field.
pub fn unreadable_split(split: Option<&str>) -> String {
    let parts = split.map(|split| format!(", {split}")).unwrap_or_default();
    format!("format {FORMAT_RULES}{parts}")
}

/// The part of such a field that says how the sale is split, or the field of a sale without rules.
/// `None`: the sale is not split.
pub fn split_text(field: &str) -> Option<&str> {
    match field.strip_prefix("format ") {
        Some(rest) => rest.split_once(", ").map(|(_, split)| split),
        None => Some(field),
    }
}

/// The format of a sale with these reservations.
pub fn of_reservations<'a>(reservations: impl Iterator<Item = &'a Reservation>) -> u32 {
    let format = |reservation: &Reservation| match (&reservation.details, reservation.status) {
        (Some(_), _) => FORMAT_DETAILS,
        (None, Status::Refunded) => FORMAT_REFUNDED,
        (None, _) => FORMAT_0_1_0,
    };
    reservations.map(format).max().unwrap_or(FORMAT_0_1_0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{Remaining, ReservationId, Terms};

    #[test]
    fn each_command_names_the_format_it_needs() {
        let (id, one) = (ReservationId(1), Remaining::Units(1));
        assert_eq!(needed_by(&Command::Refund(id)), FORMAT_REFUNDED);
        assert_eq!(needed_by(&Command::RefundTo(id, Remaining::Units(0))), FORMAT_REFUNDED);
        for command in [
            Command::Extend(id, None),
            Command::CancelTo(id, one.clone()),
            Command::RefundTo(id, one),
        ] {
            assert_eq!(needed_by(&command), FORMAT_DETAILS, "{command:?}");
        }
        let rules = Terms { quantity_min: Some(1), ..Terms::default() };
        assert_eq!(needed_by(&Command::ChangeTerms(rules)), FORMAT_RULES);
        for command in [
            Command::Confirm(id),
            Command::CancelTo(id, Remaining::Units(0)),
            Command::ChangeTerms(Terms::default()),
            Command::TakeStock { units: 1, at_most: false },
        ] {
            assert_eq!(needed_by(&command), FORMAT_0_1_0, "{command:?}");
        }
    }
}
