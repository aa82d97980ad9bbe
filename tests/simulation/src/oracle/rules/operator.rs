//! What an operator changes: stock, terms, opening and closing, the end of a sale, a new beginning.

use stampede::limits::{LIMIT_COUNT_LINES_MAX, LIMIT_COUNT_UNITS_MAX, TIME_MS_MAX, TOTAL_MAX};
use stampede::sale::{Creation, Outcome, Rules, SaleSpec, Split, Terms};

use super::{Change, Says, Verdict, creation_in, plain};
use crate::oracle::place::{Header, Place};

/// The sale's total rises.
pub fn add_stock(place: &Place, units: u64) -> Verdict {
    let mut header = place.header.clone();
    match header.spec.total.checked_add(units) {
        Some(total) if total <= TOTAL_MAX => header.spec.total = total,
        _ => return Verdict::only(Outcome::TotalTooLarge),
    }
    header.transfers.stock = header.transfers.stock.map(|stock| stock + units);
    Verdict::redefined(header)
}

/// docs/operate.md, "Stock": only free units, and all of them or none, unless fewer will do.
pub fn take_stock(place: &Place, units: u64, at_most: bool) -> Verdict {
    let free = place.free();
    let taken = match (units <= free, at_most) {
        (true, _) => units,
        (false, true) => free,
        (false, false) => return Verdict::only(Outcome::TooFewFree { free }),
    };
    let mut header = place.header.clone();
    header.spec.total -= taken;
    header.transfers.stock = header.transfers.stock.map(|stock| stock.saturating_sub(taken));
    Verdict { says: Says::StockTaken(taken), changes: vec![Change::Header(Box::new(header))] }
}

/// docs/operate.md, "Changing a sale": all of the named terms change, or none.
pub fn change_terms(place: &Place, terms: &Terms) -> Verdict {
    let old = &place.header.spec;
    if let Some(refusal) = wrong_terms(place, old, terms) {
        return Verdict::only(refusal);
    }
    let spec = with_terms(old, terms);
    Verdict::redefined(Header { spec, ..place.header.clone() })
}

fn with_terms(old: &SaleSpec, terms: &Terms) -> SaleSpec {
    let per_user = terms.reservations_per_user_max;
    let rules = Rules {
        extend_max_ms: terms.extend_max_ms.unwrap_or(old.rules.extend_max_ms),
        quantity_min: terms.quantity_min.unwrap_or(old.rules.quantity_min),
        reservations_max: terms.reservations_max.unwrap_or(old.rules.reservations_max),
        reservations_per_user_max: per_user.unwrap_or(old.rules.reservations_per_user_max),
    };
    SaleSpec {
        closes_at_ms: terms.closes_at_ms.unwrap_or(old.closes_at_ms),
        hold_ms: terms.hold_ms.unwrap_or(old.hold_ms),
        limit_per_user: terms.limit_per_user.unwrap_or(old.limit_per_user),
        quantity_max: terms.quantity_max.unwrap_or(old.quantity_max),
        rules,
        ..old.clone()
    }
}

fn wrong_terms(place: &Place, old: &SaleSpec, terms: &Terms) -> Option<Outcome> {
    let opens_at_ms = old.opens_at_ms;
    if terms.closes_at_ms.is_some_and(|closes_at_ms| closes_at_ms <= opens_at_ms) {
        return Some(Outcome::ClosesTooEarly { opens_at_ms });
    }
    let new = with_terms(old, terms);
    let (quantity_min, quantity_max) = (new.rules.quantity_min, new.quantity_max);
    if quantity_min > quantity_max && terms.quantity_max.is_some() {
        return Some(Outcome::QuantityMaxTooSmall { quantity_min });
    }
    if quantity_min > quantity_max && terms.quantity_min.is_some() {
        return Some(Outcome::QuantityMinTooLarge { quantity_max });
    }
    let bound = |spec: &SaleSpec| spec.rules.reservations_max.unwrap_or(0);
    let per_user = |spec: &SaleSpec| spec.rules.reservations_per_user_max;
    let is_first_bound = bound(old) == 0 && bound(&new) > 0;
    if is_first_bound && old.split != Split::Whole {
        return Some(Outcome::BoundOfParts);
    }
    // The step that sets a first limit counts what was bought before.
    let counts_units = old.limit_per_user == 0 && new.limit_per_user > 0;
    let counts_reservations = is_first_bound || per_user(old) == 0 && per_user(&new) > 0;
    let units = place.held() + place.confirmed();
    let has_many = (counts_units || counts_reservations) && units > LIMIT_COUNT_UNITS_MAX
        || counts_reservations && place.rows().len() as u64 > LIMIT_COUNT_LINES_MAX;
    has_many.then_some(Outcome::TooManyToCount { units })
}

/// The sale is open from now on, if not for longer.
pub fn open(place: &Place, now_ms: u64) -> Verdict {
    let mut header = place.header.clone();
    header.spec.opens_at_ms = header.spec.opens_at_ms.min(now_ms);
    if plain::is_over(place, now_ms) {
        header.spec.closes_at_ms = TIME_MS_MAX;
    }
    Verdict::redefined(header)
}

/// The sale is over from now on, if not for longer.
pub fn close(place: &Place, now_ms: u64) -> Verdict {
    let mut header = place.header.clone();
    header.spec.closes_at_ms = header.spec.closes_at_ms.min(now_ms);
    Verdict::redefined(header)
}

/// Only a sale that is over and holds nothing is removed.
pub fn remove(place: &Place, now_ms: u64) -> Verdict {
    if !plain::is_over(place, now_ms) {
        Verdict::only(Outcome::NotClosed)
    } else if place.held() > 0 {
        Verdict::only(Outcome::StillHeld { held: place.held() })
    } else {
        Verdict { says: Says::This(Outcome::Removed), changes: vec![Change::Gone] }
    }
}

/// docs/redis.md, "Resetting a sale": all reservations, keys and counts are deleted, and the sale
/// is another creation. A place of a split sale is only removed.
pub fn reset(place: &Place, total: Option<u64>, force: bool, told: Option<&Outcome>) -> Verdict {
    let (held, confirmed) = (place.held(), place.confirmed());
    if held + confirmed > 0 && !force {
        return Verdict::only(Outcome::HasSold { held, confirmed });
    }
    let old = &place.header;
    if old.spec.split != Split::Whole {
        return Verdict { says: Says::This(Outcome::Removed), changes: vec![Change::Gone] };
    }
    // The number is the ledger's, but a later one.
    let later = creation_in(told).filter(|creation| *creation > old.creation);
    let creation = later.unwrap_or(Creation(old.creation.0 + 1));
    let spec = SaleSpec { total: total.unwrap_or(old.spec.total), ..old.spec.clone() };
    let header = Header { term: old.term, ..Header::of(&spec, creation) };
    Verdict { says: Says::Sale, changes: vec![Change::Begin(Box::new(header))] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{ask, outcomes, place_after};
    use stampede::sale::{Command, ReservationId};

    fn total_and_sold(outcome: &Outcome) -> (u64, u64) {
        match outcome {
            Outcome::Sale(view) | Outcome::StockTaken { view, .. } => {
                (view.spec.total, view.held + view.confirmed)
            }
            outcome => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn stock_rises_and_falls_by_what_is_free() {
        let take = |units, at_most| Command::TakeStock { units, at_most };
        let told = outcomes(
            SaleSpec::with_total(3),
            &[
                (0, ask(1, 2, "", "")),
                (0, Command::AddStock(2)),
                (0, take(4, false)),
                (0, take(1, false)),
                (0, take(9, true)),
                (0, Command::AddStock(TOTAL_MAX)),
                (0, Command::AddStock(u64::MAX)),
            ],
        );
        assert_eq!(total_and_sold(&told[1]), (5, 2));
        assert_eq!(told[2], Outcome::TooFewFree { free: 3 });
        assert_eq!((total_and_sold(&told[3]), total_and_sold(&told[4])), ((4, 2), (2, 2)));
        assert_eq!((&told[5], &told[6]), (&Outcome::TotalTooLarge, &Outcome::TotalTooLarge));
    }

    #[test]
    fn terms_change_together_or_not_at_all() {
        let spec = SaleSpec { opens_at_ms: 10, quantity_max: 4, ..SaleSpec::with_total(3) };
        let change = Command::ChangeTerms;
        let told = outcomes(
            spec,
            &[
                (0, change(Terms { closes_at_ms: Some(10), hold_ms: Some(7), ..Terms::default() })),
                (0, change(Terms { quantity_min: Some(5), hold_ms: Some(7), ..Terms::default() })),
                (0, change(Terms { quantity_min: Some(3), ..Terms::default() })),
                (0, change(Terms { quantity_max: Some(2), hold_ms: Some(7), ..Terms::default() })),
                (0, Command::Show),
            ],
        );
        assert_eq!(told[0], Outcome::ClosesTooEarly { opens_at_ms: 10 });
        assert_eq!(told[1], Outcome::QuantityMinTooLarge { quantity_max: 4 });
        assert_eq!(told[3], Outcome::QuantityMaxTooSmall { quantity_min: 3 });
        assert_eq!(told[4], told[2]);
    }

    #[test]
    fn a_part_cannot_bound_its_reservations_and_a_large_sale_cannot_begin_to() {
        let all =
            |max| Command::ChangeTerms(Terms { reservations_max: Some(max), ..Terms::default() });
        let split = Split::Part { of: 2 };
        let told = outcomes(
            SaleSpec { split, ..SaleSpec::with_total(3) },
            &[(0, all(Some(1))), (0, all(Some(0)))],
        );
        assert_eq!(told[0], Outcome::BoundOfParts);
        assert!(matches!(told[1], Outcome::Sale(_)));
        let units = LIMIT_COUNT_UNITS_MAX + 1;
        let quantity_max = units as u32;
        let told = outcomes(
            SaleSpec { quantity_max, ..SaleSpec::with_total(units) },
            &[(0, ask(1, quantity_max, "ann", "")), (0, all(Some(9)))],
        );
        assert_eq!(told[1], Outcome::TooManyToCount { units });
    }

    #[test]
    fn a_sale_is_removed_when_it_is_over_and_holds_nothing() {
        let told = outcomes(
            SaleSpec::with_total(3),
            &[
                (1, ask(1, 1, "", "")),
                (1, Command::Remove),
                (1, Command::Close),
                (1, Command::Remove),
                (1, Command::Confirm(ReservationId(1))),
                (1, Command::Remove),
                (1, Command::Show),
            ],
        );
        assert_eq!((&told[1], &told[5]), (&Outcome::NotClosed, &Outcome::Removed));
        assert_eq!(told[3], Outcome::StillHeld { held: 1 });
        assert_eq!(told[6], Outcome::UnknownSale);
    }

    #[test]
    fn a_sale_opens_and_closes_by_hand() {
        let spec = SaleSpec { opens_at_ms: 10, closes_at_ms: 20, ..SaleSpec::with_total(3) };
        let told = outcomes(
            spec,
            &[
                (5, Command::Open),
                (5, ask(1, 1, "", "")),
                (6, Command::Close),
                (6, ask(2, 1, "", "")),
                (7, Command::Open),
                (99, ask(2, 1, "", "")),
            ],
        );
        assert!(matches!(told[1], Outcome::Granted { .. }));
        assert_eq!(told[3], Outcome::Closed);
        assert!(matches!(told[5], Outcome::Granted { .. }));
    }

    #[test]
    fn a_reset_sale_is_another_creation_without_reservations() {
        let reset = |force| Command::Reset { total: Some(7), force };
        let history = [(0, ask(1, 1, "ann", "k")), (0, reset(false)), (0, reset(true))];
        let told = outcomes(SaleSpec::with_total(3), &history);
        assert_eq!(told[1], Outcome::HasSold { held: 1, confirmed: 0 });
        assert_eq!(total_and_sold(&told[2]), (7, 0));
        let place = place_after(SaleSpec::with_total(3), &history);
        assert!(place.rows().is_empty() && place.header.creation > Creation::UNKNOWN);
    }
}
