//! The rules that every sale has: keys, times, quantities, stock, expiry.

use stampede::sale::{Creation, Outcome, Reserve, Split, Status};

use super::{Change, Says, Verdict};
use crate::oracle::place::Place;
use crate::oracle::row::Row;

/// docs/http-api.md, "Idempotency keys": the same request with the same key gets the same
/// reservation, as it is now, whatever has become of the sale; another request gets none.
pub fn known_key(place: &Place, _now_ms: u64, reserve: &Reserve) -> Option<Outcome> {
    let row = place.claim_of(reserve)?;
    let is_same =
        row.request.quantity == reserve.quantity && row.request.lines.as_ref() == reserve.lines();
    Some(match is_same {
        true => Outcome::Replayed(Box::new(row.shown())),
        false => Outcome::KeyReused,
    })
}

/// Whether the sale is over: also if it was closed before it opened.
pub fn is_over(place: &Place, now_ms: u64) -> bool {
    now_ms >= place.header.spec.closes_at_ms
}

/// The sale is not on sale now.
pub fn not_on_sale(place: &Place, now_ms: u64, _reserve: &Reserve) -> Option<Outcome> {
    let opens_at_ms = place.header.spec.opens_at_ms;
    if is_over(place, now_ms) {
        Some(Outcome::Closed)
    } else if now_ms < opens_at_ms {
        Some(Outcome::NotOpen { opens_at_ms })
    } else {
        None
    }
}

/// The request is for more or fewer units than one reservation may have.
pub fn wrong_quantity(place: &Place, _now_ms: u64, reserve: &Reserve) -> Option<Outcome> {
    let quantity_max = place.header.spec.quantity_max;
    let quantity_min = place.header.spec.rules.quantity_min;
    if reserve.quantity > quantity_max {
        Some(Outcome::QuantityTooLarge { quantity_max })
    } else if reserve.quantity < quantity_min {
        Some(Outcome::QuantityTooSmall { quantity_min })
    } else {
        None
    }
}

/// Fewer units are left than are wanted.
pub fn too_few(place: &Place, _now_ms: u64, reserve: &Reserve) -> Option<Outcome> {
    let free = place.free();
    (free < u64::from(reserve.quantity)).then_some(Outcome::SoldOut { free })
}

/// docs/internals/purchase.md, "A key at a closed latch". With the number of a creation, the core
/// knows that this creation has opened and is not split.
pub fn find_claim(place: &Place, now_ms: u64, reserve: &Reserve, creation: Creation) -> Verdict {
    let is_named = creation != Creation::UNKNOWN;
    if is_named && creation != place.header.creation {
        return Verdict::only(Outcome::NotClaimed);
    }
    if let Split::Head { parts } = place.header.spec.split
        && !is_named
    {
        return Verdict::only(Outcome::Split { parts });
    }
    if let Some(row) = place.claim_of(reserve) {
        return Verdict::only(Outcome::Claimed(row.id()));
    }
    let gate = not_on_sale(place, now_ms, reserve);
    let gate = gate.filter(|gate| *gate == Outcome::Closed || !is_named);
    let sold_out = || (place.free() == 0).then_some(Outcome::SoldOut { free: 0 });
    Verdict::only(gate.or_else(sold_out).unwrap_or(Outcome::NotClaimed))
}

/// Due reservations return, the earliest deadline first, of two at one time the earlier one first.
/// How many return at once, and how exact the next deadline is, the ledger may choose: it must
/// not return what is not due, nor say that nothing more is due if something is, nor name a
/// deadline that is too late.
pub fn expire(place: &Place, now_ms: u64, batch_max: u32, told: Option<&Outcome>) -> Verdict {
    let due = place.deadlines().iter().take_while(|(deadline_ms, ..)| *deadline_ms <= now_ms);
    let due: Vec<&Row> = due.filter_map(|(.., id)| place.rows().get(id)).collect();
    let wanted = match told {
        Some(Outcome::Released { units, .. }) => Some(*units),
        _ => None,
    };
    let (mut units, mut count) = (0, 0);
    for row in due.iter().take(batch_max as usize) {
        if wanted.is_some_and(|wanted| units >= wanted) {
            break;
        }
        units += u64::from(row.quantity);
        count += 1;
    }
    let left = place.deadlines().iter().nth(count).map(|(deadline_ms, ..)| *deadline_ms);
    let more = count < due.len();
    let is_legal = match told {
        Some(Outcome::Released { units: told_units, more: told_more, next_due_ms }) => {
            let names_all = left.is_none_or(|left| next_due_ms.is_some_and(|due| due <= left));
            *told_units == units && (*told_more || !more) && names_all
        }
        _ => false,
    };
    let says = match told.filter(|_| is_legal) {
        Some(told) => told.clone(),
        None => Outcome::Released { units, more, next_due_ms: left },
    };
    let expired = |row: &&Row| Change::Row(Row { status: Status::Expired, ..Row::clone(row) });
    Verdict { says: Says::This(says), changes: due.iter().take(count).map(expired).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Ledger;
    use crate::oracle::rules::{Situation, decide};
    use crate::oracle::testing::{ask, outcomes, place_after};
    use stampede::sale::{Command, ReservationId, SaleSpec};

    fn spec() -> SaleSpec {
        SaleSpec { hold_ms: 100, ..SaleSpec::with_total(3) }
    }

    #[test]
    fn a_key_finds_its_reservation_before_anything_else_is_looked_at() {
        let history = [
            (0, ask(1, 3, "ann", "k")),
            (0, ask(2, 3, "ann", "k")),
            (0, ask(2, 1, "ann", "k")),
            (0, ask(2, 1, "bob", "k")),
            (5, Command::Close),
            (5, ask(2, 3, "ann", "k")),
            (5, ask(2, 1, "bob", "k")),
        ];
        let told = outcomes(spec(), &history);
        assert!(matches!(&told[0], Outcome::Granted { expires_at_ms: 100 }));
        for replayed in [&told[1], &told[5]] {
            assert!(matches!(replayed, Outcome::Replayed(row) if row.id == ReservationId(1)));
        }
        let rest = [&told[2], &told[3], &told[6]];
        assert_eq!(rest, [&Outcome::KeyReused, &Outcome::SoldOut { free: 0 }, &Outcome::Closed]);
    }

    #[test]
    fn a_claim_query_by_creation_looks_only_at_that_creation_and_not_at_its_opening() {
        let mut place = place_after(SaleSpec { opens_at_ms: 50, ..spec() }, &[]);
        place.header.creation = Creation(7);
        let Command::Reserve(reserve) = ask(1, 1, "ann", "k") else { unreachable!() };
        let find = |place: &Place, creation| {
            find_claim(place, 9, &reserve, creation).says.outcome(Some(place))
        };
        assert_eq!(find(&place, Creation::UNKNOWN), Outcome::NotOpen { opens_at_ms: 50 });
        assert_eq!(find(&place, Creation(7)), Outcome::NotClaimed);
        place.header.spec.closes_at_ms = 9;
        assert_eq!(find(&place, Creation(7)), Outcome::Closed);
        assert_eq!(find(&place, Creation(8)), Outcome::NotClaimed, "another creation");
        place.header.spec.split = Split::Head { parts: 3 };
        assert_eq!(find(&place, Creation::UNKNOWN), Outcome::Split { parts: 3 });
    }

    #[test]
    fn an_expiry_may_return_fewer_but_not_others_and_not_forget_any() {
        let history = [(0, ask(1, 1, "", "")), (10, ask(2, 2, "", ""))];
        let place = place_after(spec(), &history);
        let judge = |now_ms, units, more, next_due_ms| {
            let told = Outcome::Released { units, more, next_due_ms };
            let (place, told) = (Some(&place), Some(&told));
            let situation = Situation { place, now_ms, ledger: Ledger::Redis, told };
            let verdict = decide(&situation, &Command::Expire { batch_max: 9 });
            (Some(&verdict.says.outcome(place)) == told, verdict.changes.len())
        };
        assert_eq!(judge(110, 3, false, None), (true, 2));
        assert_eq!(judge(110, 1, true, Some(100)), (true, 1), "an early deadline does no harm");
        assert_eq!(judge(110, 0, true, Some(0)), (true, 0));
        assert_eq!(judge(105, 1, false, Some(110)), (true, 1));
        for (now_ms, units, more, next_due_ms) in [
            (110, 2, true, Some(110)),
            (110, 1, false, Some(110)),
            (105, 3, false, None),
            (99, 1, false, Some(110)),
            (105, 1, false, Some(111)),
            (105, 1, false, None),
        ] {
            assert!(!judge(now_ms, units, more, next_due_ms).0, "{now_ms} {units} {next_due_ms:?}");
        }
    }
}
