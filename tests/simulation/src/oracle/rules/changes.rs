//! What may happen to a reservation: it is paid, given back as a whole or in part, extended.

use stampede::limits::TIME_MS_MAX;
use stampede::sale::seats::SeatRefusal;
use stampede::sale::{Lines, Outcome, Remaining, ReservationId, Status};

use super::{Verdict, limits, types};
use crate::oracle::place::Place;
use crate::oracle::row::Row;

/// Decides a command about one reservation.
pub fn of(place: &Place, id: ReservationId, act: impl FnOnce(&Row) -> Verdict) -> Verdict {
    match place.rows().get(&id) {
        Some(row) => act(row),
        None => Verdict::only(Outcome::UnknownReservation),
    }
}

fn becomes(row: &Row, status: Status) -> Verdict {
    Verdict::becomes(Row { status, ..row.clone() })
}

/// docs/http-api.md: may be repeated, and may be late. A late one takes its units again, if there
/// are enough, and counts against the user's limit like a purchase.
pub fn confirm(place: &Place, row: &Row) -> Verdict {
    match row.status {
        Status::Confirmed => Verdict::stays(row),
        Status::Cancelled => Verdict::only(Outcome::AlreadyCancelled),
        Status::Refunded => Verdict::only(Outcome::AlreadyRefunded),
        Status::Held => becomes(row, Status::Confirmed),
        Status::Expired => {
            if place.free() < u64::from(row.quantity) || !types::have_room(place, row) {
                return Verdict::only(Outcome::Expired);
            }
            match limits::above_limit(place, &row.request.user, row.quantity) {
                Some(refusal) => Verdict::only(refusal),
                None => becomes(row, Status::Confirmed),
            }
        }
    }
}

/// Only what is held can be cancelled, once.
pub fn cancel(row: &Row) -> Verdict {
    match row.status {
        Status::Held => becomes(row, Status::Cancelled),
        Status::Confirmed => Verdict::only(Outcome::AlreadyConfirmed),
        Status::Cancelled => Verdict::only(Outcome::AlreadyCancelled),
        Status::Expired => Verdict::only(Outcome::Expired),
        Status::Refunded => Verdict::only(Outcome::AlreadyRefunded),
    }
}

/// docs/operate.md, "Refunding": may be repeated.
pub fn refund(row: &Row) -> Verdict {
    match row.status {
        Status::Held => Verdict::only(Outcome::NotConfirmed),
        Status::Confirmed => becomes(row, Status::Refunded),
        Status::Cancelled => Verdict::only(Outcome::AlreadyCancelled),
        Status::Expired => Verdict::only(Outcome::Expired),
        Status::Refunded => Verdict::stays(row),
    }
}

/// docs/operate.md, "Holding for longer". A hold that is over can be extended until its units have
/// returned.
pub fn extend(place: &Place, now_ms: u64, row: &Row, hold_ms: Option<u64>) -> Verdict {
    if row.status != Status::Held {
        // As for a cancellation.
        return cancel(row);
    }
    let spec = &place.header.spec;
    let until_ms = now_ms.saturating_add(hold_ms.unwrap_or(spec.hold_ms)).min(TIME_MS_MAX);
    if until_ms <= row.expires_at_ms {
        return Verdict::stays(row);
    }
    let first_ms = row.first_expires_at_ms.unwrap_or(row.expires_at_ms);
    let expires_at_ms_max = first_ms.saturating_add(spec.rules.extend_max_ms).min(TIME_MS_MAX);
    if until_ms > expires_at_ms_max {
        return Verdict::only(Outcome::ExtensionLimit { expires_at_ms_max });
    }
    let first_expires_at_ms = Some(first_ms);
    Verdict::becomes(Row { expires_at_ms: until_ms, first_expires_at_ms, ..row.clone() })
}

/// docs/operate.md, "A part", while the reservation is held. If nothing is to remain, it may be
/// repeated, other than a cancellation of the whole.
pub fn cancel_to(row: &Row, remaining: &Remaining) -> Verdict {
    match row.status {
        Status::Held if remaining.is_none() => cancel(row),
        Status::Held => reduce(row, remaining, cancel),
        Status::Cancelled if remaining.is_none() => Verdict::stays(row),
        _ => cancel(row),
    }
}

/// The same while it is confirmed.
pub fn refund_to(row: &Row, remaining: &Remaining) -> Verdict {
    match row.status {
        Status::Confirmed if remaining.is_none() => refund(row),
        Status::Confirmed => reduce(row, remaining, refund),
        Status::Refunded if !remaining.is_none() => Verdict::only(Outcome::AlreadyRefunded),
        _ => refund(row),
    }
}

/// It keeps what is to remain, as far as it still has that: what was given back does not return.
fn reduce(row: &Row, remaining: &Remaining, as_a_whole: fn(&Row) -> Verdict) -> Verdict {
    let request = &row.request;
    let too_large = || Verdict::only(Outcome::RemainingTooLarge { quantity: row.quantity });
    let (quantity, lines) = match (remaining, &row.lines) {
        (Remaining::Seats(_), _) => {
            return Verdict::only(Outcome::NoSeats(SeatRefusal::Unexpected));
        }
        (Remaining::Units(_), Some(_)) => return Verdict::only(Outcome::LinesRequired),
        (Remaining::Lines(_), None) => return Verdict::only(Outcome::LinesUnexpected),
        (Remaining::Units(units), None) if *units > request.quantity => return too_large(),
        (Remaining::Units(units), None) => (row.quantity.min(*units), None),
        (Remaining::Lines(wanted), Some(has)) => {
            let had = |name| request.lines.as_ref().map_or(0, |lines| lines.of(name));
            if wanted.iter().any(|(name, units)| units > had(name)) {
                return too_large();
            }
            let kept = has.iter().map(|(name, units)| (name.clone(), units.min(wanted.of(name))));
            let kept = Lines::new(kept).expect("no more than before");
            (kept.units(), Some(kept))
        }
    };
    if quantity == row.quantity {
        Verdict::stays(row)
    } else if quantity == 0 {
        as_a_whole(row)
    } else {
        Verdict::becomes(Row { quantity, lines, is_reduced: true, ..row.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{ask, outcomes};
    use stampede::sale::{Command, Rules, SaleSpec};

    const ID: ReservationId = ReservationId(1);

    fn shown(outcome: &Outcome) -> (Status, u32, u64) {
        match outcome {
            Outcome::Reservation(row) => (row.status, row.quantity, row.expires_at_ms),
            outcome => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn a_late_confirmation_needs_units_and_room_below_the_limit() {
        let spec = SaleSpec { hold_ms: 10, limit_per_user: 2, ..SaleSpec::with_total(3) };
        let told = outcomes(
            spec,
            &[
                (0, ask(1, 2, "ann", "")),
                (10, Command::Expire { batch_max: 9 }),
                (11, ask(2, 2, "bob", "")),
                (11, Command::Confirm(ID)),
                (12, Command::Cancel(ReservationId(2))),
                (12, ask(3, 1, "ann", "")),
                (12, Command::Confirm(ID)),
                (13, Command::Cancel(ReservationId(3))),
                (13, Command::Confirm(ID)),
                (13, Command::Confirm(ID)),
            ],
        );
        assert_eq!(told[3], Outcome::Expired);
        assert_eq!(told[6], Outcome::LimitReached { limit_per_user: 2 });
        assert_eq!(shown(&told[8]), (Status::Confirmed, 2, 10));
        assert_eq!(told[9], told[8]);
    }

    #[test]
    fn every_end_but_expiry_is_final() {
        let told = outcomes(
            SaleSpec::with_total(9),
            &[
                (0, ask(1, 1, "", "")),
                (0, Command::Refund(ID)),
                (0, Command::Confirm(ID)),
                (0, Command::Cancel(ID)),
                (0, Command::Refund(ID)),
                (0, Command::Refund(ID)),
                (0, Command::Confirm(ID)),
                (0, Command::Cancel(ID)),
                (0, Command::Cancel(ReservationId(9))),
            ],
        );
        assert_eq!((&told[1], &told[3]), (&Outcome::NotConfirmed, &Outcome::AlreadyConfirmed));
        assert_eq!(shown(&told[5]).0, Status::Refunded);
        assert_eq!((&told[6], &told[7]), (&Outcome::AlreadyRefunded, &Outcome::AlreadyRefunded));
        assert_eq!(told[8], Outcome::UnknownReservation);
    }

    #[test]
    fn a_hold_ends_later_but_not_later_than_its_first_end_allows() {
        let rules = Rules { extend_max_ms: 5, ..Rules::default() };
        let spec = SaleSpec { hold_ms: 10, rules, ..SaleSpec::with_total(9) };
        let told = outcomes(
            spec,
            &[
                (0, ask(1, 1, "", "")),
                (3, Command::Extend(ID, None)),
                (3, Command::Extend(ID, Some(1))),
                (6, Command::Extend(ID, None)),
                (15, Command::Extend(ID, Some(1))),
            ],
        );
        assert_eq!(shown(&told[1]).2, 13);
        assert_eq!(shown(&told[2]).2, 13, "never shorter");
        let limit = Outcome::ExtensionLimit { expires_at_ms_max: 15 };
        assert_eq!((&told[3], &told[4]), (&limit, &limit));
    }

    #[test]
    fn a_part_is_given_back_once() {
        let to = |units| Command::CancelTo(ID, Remaining::Units(units));
        let told = outcomes(
            SaleSpec::with_total(5),
            &[
                (0, ask(1, 5, "ann", "k")),
                (0, to(6)),
                (0, to(3)),
                (0, to(4)),
                (0, ask(2, 2, "bob", "")),
                (0, ask(3, 5, "ann", "k")),
                (0, to(0)),
                (0, to(0)),
                (0, to(1)),
            ],
        );
        assert_eq!(told[1], Outcome::RemainingTooLarge { quantity: 5 });
        assert_eq!((shown(&told[2]).1, shown(&told[3]).1), (3, 3));
        assert!(matches!(told[4], Outcome::Granted { .. }));
        assert!(matches!(&told[5], Outcome::Replayed(row) if row.quantity == 3));
        assert_eq!((shown(&told[6]).0, shown(&told[7]).0), (Status::Cancelled, Status::Cancelled));
        assert_eq!(told[8], Outcome::AlreadyCancelled);
    }
}
