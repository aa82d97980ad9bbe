//! The limits that a sale may have: units per user, reservations per user, reservations in all.

use stampede::limits::{RETURNED_MAX_DEFAULT, RETURNED_PER_UNIT_DEFAULT};
use stampede::sale::{Outcome, Reserve, Split};

use crate::oracle::place::Place;

/// docs/operate.md, "Limit": units held and confirmed count, also those of before the limit.
pub fn too_many_units(place: &Place, _now_ms: u64, reserve: &Reserve) -> Option<Outcome> {
    above_limit(place, reserve.user_text(), reserve.quantity)
}

/// The same for anybody who would get `quantity` more units. With a limit, nobody buys anonymously.
pub fn above_limit(place: &Place, user: &str, quantity: u32) -> Option<Outcome> {
    let limit_per_user = place.header.spec.limit_per_user;
    if limit_per_user == 0 {
        None
    } else if user.is_empty() {
        Some(Outcome::UserRequired)
    } else if place.units_of(user) + u64::from(quantity) > u64::from(limit_per_user) {
        Some(Outcome::LimitReached { limit_per_user })
    } else {
        None
    }
}

/// docs/operate.md, "Limits of reservations": those that came back count as well.
pub fn too_many_for_user(place: &Place, _now_ms: u64, reserve: &Reserve) -> Option<Outcome> {
    let reservations_per_user_max = place.header.spec.rules.reservations_per_user_max;
    if reservations_per_user_max == 0 {
        None
    } else if reserve.user_text().is_empty() {
        Some(Outcome::UserRequired)
    } else if place.made_for(reserve.user_text()) >= u64::from(reservations_per_user_max) {
        Some(Outcome::UserReservationsExhausted { reservations_per_user_max })
    } else {
        None
    }
}

/// The same for the sale. Without such a limit (0 is none), a sale in one part ends after a million
/// reservations that came back, or 100 per unit.
pub fn too_many_in_all(place: &Place, _now_ms: u64, _reserve: &Reserve) -> Option<Outcome> {
    let spec = &place.header.spec;
    let by_default = RETURNED_MAX_DEFAULT.max(RETURNED_PER_UNIT_DEFAULT * spec.total);
    let (count, reservations_max) = match spec.rules.reservations_max {
        Some(0) => return None,
        Some(max) => (place.rows().len() as u64, max),
        None if spec.split == Split::Whole => (place.returned(), by_default),
        None => return None,
    };
    (count >= reservations_max).then_some(Outcome::ReservationsExhausted { reservations_max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{ask, outcomes};
    use stampede::sale::{Command, ReservationId, Rules, SaleSpec, Terms};

    fn granted(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Granted { .. })
    }

    #[test]
    fn units_of_a_user_count_until_they_come_back() {
        let spec = SaleSpec { limit_per_user: 2, ..SaleSpec::with_total(9) };
        let told = outcomes(
            spec,
            &[
                (0, ask(1, 1, "", "")),
                (0, ask(1, 3, "ann", "")),
                (0, ask(1, 2, "ann", "")),
                (0, ask(2, 1, "ann", "")),
                (0, Command::Cancel(ReservationId(1))),
                (0, ask(3, 1, "ann", "")),
            ],
        );
        let limit = Outcome::LimitReached { limit_per_user: 2 };
        assert_eq!(told[0], Outcome::UserRequired);
        assert_eq!((&told[1], &told[3]), (&limit, &limit));
        assert!(granted(&told[2]) && granted(&told[5]));
    }

    #[test]
    fn a_first_limit_counts_what_was_bought_before() {
        let terms = Terms { limit_per_user: Some(2), ..Terms::default() };
        let told = outcomes(
            SaleSpec::with_total(9),
            &[
                (0, ask(1, 2, "ann", "")),
                (0, Command::ChangeTerms(terms)),
                (0, ask(2, 1, "ann", "")),
            ],
        );
        assert_eq!(told[2], Outcome::LimitReached { limit_per_user: 2 });
    }

    #[test]
    fn reservations_count_for_ever() {
        let rules =
            Rules { reservations_max: Some(2), reservations_per_user_max: 1, ..Rules::default() };
        let told = outcomes(
            SaleSpec { rules, ..SaleSpec::with_total(9) },
            &[
                (0, ask(1, 1, "ann", "")),
                (0, Command::Cancel(ReservationId(1))),
                (0, ask(2, 1, "ann", "")),
                (0, ask(2, 1, "bob", "")),
                (0, ask(3, 1, "cat", "")),
            ],
        );
        let of_user = Outcome::UserReservationsExhausted { reservations_per_user_max: 1 };
        assert_eq!(told[2], of_user);
        assert_eq!(told[4], Outcome::ReservationsExhausted { reservations_max: 2 });
    }
}
