//! Which format a reader of a Redis must know that several versions share.
//!
//! Servers and workers of the last release read the lines of reservations and of the streams beside ours.
//! One that meets what it does not know refuses that reservation, or leaves the entry where it is; it
//! never takes it for something else. So what it does not know must not be written while it is there:
//! whoever lets commands through asks [`needed_by`] first, and each lease says what its server reads. And
//! before it is written, the sale says its format itself, in the field `format` of its hash: a version
//! that does not read it refuses the sale, and names the format. The embedded ledger has no readers
//! but its own process; its folder names its format (`embedded/marker.rs`).

use crate::sale::{Command, Status};

/// What 0.1.0 reads: the statuses held, confirmed, cancelled and expired.
pub const FORMAT_0_1_0: u32 = 1;
/// The status `refunded`, in lines of `reservations` and of the stream, and in the orders' rows.
pub const FORMAT_REFUNDED: u32 = 2;
/// What this build reads.
pub const FORMAT: u32 = FORMAT_REFUNDED;
/// No release will have so many.
pub const FORMATS_MAX: u32 = 1_000_000;

/// The format that all servers and workers must read before this command may be carried out. Every other
/// command writes what 0.1.0 has written too, whatever came before it.
pub fn needed_by(command: &Command) -> u32 {
    match command {
        Command::Refund(_) => FORMAT_REFUNDED,
        // Also new terms and less stock: 0.1.0 reads both anew with each command.
        _ => FORMAT_0_1_0,
    }
}

/// The format of a sale that has reservations with these statuses.
pub fn of_statuses(mut statuses: impl Iterator<Item = Status>) -> u32 {
    match statuses.any(|status| status == Status::Refunded) {
        true => FORMAT_REFUNDED,
        false => FORMAT_0_1_0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{ReservationId, Terms};

    #[test]
    fn only_a_refund_writes_what_0_1_0_can_not_read() {
        let id = ReservationId(1);
        assert_eq!(needed_by(&Command::Refund(id)), FORMAT);
        for command in [
            Command::Confirm(id),
            Command::ChangeTerms(Terms::default()),
            Command::TakeStock { units: 1, at_most: false },
        ] {
            assert_eq!(needed_by(&command), FORMAT_0_1_0, "{command:?}");
        }
    }
}
