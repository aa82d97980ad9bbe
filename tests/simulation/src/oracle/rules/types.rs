//! Ticket types: kinds of units with caps of their own, which share the sale's total.

use stampede::sale::{Lines, Outcome, Reserve};

use crate::oracle::place::Place;
use crate::oracle::row::Row;

/// docs/operate.md, "Ticket types": a request names types if, and only if, the sale has some.
pub fn wrong_lines(place: &Place, _now_ms: u64, reserve: &Reserve) -> Option<Outcome> {
    let has_types = !place.header.spec.types.is_empty();
    match (has_types, reserve.lines()) {
        (false, None) => None,
        (true, None) => Some(Outcome::LinesRequired),
        (false, Some(_)) => Some(Outcome::LinesUnexpected),
        (true, Some(lines)) => {
            let names = lines.iter().map(|(name, _)| name);
            let unknown = names.filter(|name| place.free_of_type(name).is_none()).min();
            unknown.map(|name| Outcome::UnknownType { name: name.clone() })
        }
    }
}

/// The first type, by name, of which fewer units are left than are wanted. A sale with nothing left
/// refuses everybody alike, whatever types are named.
pub fn too_few_of_type(place: &Place, _now_ms: u64, reserve: &Reserve) -> Option<Outcome> {
    let lines = reserve.lines().filter(|_| place.free() > 0)?;
    let short = lines.iter().filter_map(|(name, wanted)| {
        let free = place.free_of_type(name)?;
        (free < u64::from(wanted)).then_some((name, free))
    });
    let (name, free) = short.min()?;
    Some(Outcome::TypeSoldOut { name: name.clone(), free })
}

/// Whether the caps leave the units that a row had.
pub fn have_room(place: &Place, row: &Row) -> bool {
    row.lines.iter().flat_map(Lines::iter).all(|(name, wanted)| {
        place.free_of_type(name).is_some_and(|free| free >= u64::from(wanted))
    })
}

/// The first type of which more units are sold than its cap.
pub fn oversold(place: &Place) -> Option<String> {
    place.header.spec.types.iter().find_map(|(name, cap)| {
        let units = place.units_of_type(name);
        let is_over = units.held + units.confirmed > cap;
        is_over.then(|| format!("{units:?} of {name}, of which there are {cap}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{ask, ask_lines, outcomes};
    use stampede::sale::{Command, Remaining, ReservationId, SaleSpec, TypeName, Types};

    fn spec(types: &str, total: u64) -> SaleSpec {
        let types = Types::from_text(types).unwrap();
        SaleSpec { types, hold_ms: 10, ..SaleSpec::with_total(total) }
    }

    fn name(text: &str) -> TypeName {
        TypeName::new(text).unwrap()
    }

    #[test]
    fn lines_are_named_if_and_only_if_there_are_types() {
        let told = outcomes(
            spec("adult:3", 9),
            &[(0, ask(1, 1, "", "")), (0, ask_lines(1, "adult:1,eel:1,fox:1", ""))],
        );
        assert_eq!(told, [Outcome::LinesRequired, Outcome::UnknownType { name: name("eel") }]);
        let told = outcomes(SaleSpec::with_total(9), &[(0, ask_lines(1, "adult:1", ""))]);
        assert_eq!(told, [Outcome::LinesUnexpected]);
    }

    #[test]
    fn a_cap_and_the_total_both_bound() {
        let told = outcomes(
            spec("adult:2,child:9", 4),
            &[
                (0, ask_lines(1, "adult:1,child:2", "")),
                (0, ask_lines(2, "adult:2", "")),
                (0, ask_lines(2, "child:2", "")),
                (0, ask_lines(2, "child:1", "")),
                (0, ask_lines(3, "adult:2", "")),
            ],
        );
        assert!(matches!(told[0], Outcome::Granted { .. }));
        assert_eq!(told[1], Outcome::TypeSoldOut { name: name("adult"), free: 1 });
        assert_eq!(told[2], Outcome::SoldOut { free: 1 });
        assert!(matches!(told[3], Outcome::Granted { .. }));
        assert_eq!(told[4], Outcome::SoldOut { free: 0 }, "nobody gets anything");
    }

    #[test]
    fn lines_that_were_given_back_free_their_types() {
        let to = |text: &str| Remaining::Lines(Lines::from_text(text).unwrap());
        let told = outcomes(
            spec("adult:2,child:2", 4),
            &[
                (0, ask_lines(1, "adult:2,child:1", "k")),
                (0, Command::CancelTo(ReservationId(1), to("child:1"))),
                (0, ask_lines(2, "adult:2", "")),
                (0, ask_lines(3, "adult:2,child:1", "k")),
                (20, Command::Expire { batch_max: 9 }),
                (20, ask_lines(4, "child:2", "")),
                (20, Command::Confirm(ReservationId(1))),
            ],
        );
        assert!(matches!(told[2], Outcome::Granted { .. }));
        assert!(matches!(&told[3], Outcome::Replayed(row) if row.quantity == 1));
        assert!(matches!(told[4], Outcome::Released { units: 3, .. }));
        assert_eq!(told[6], Outcome::Expired, "another buyer has the children's units");
    }
}
