//! Compares the places of a split sale: the units sent and received, their sum, and their
//! definitions.

use std::collections::HashSet;

use super::mode::Mode;
use super::report::CheckReport;
use crate::ledger::client::{Client, EXAMPLES_MAX};
use crate::ledger::{Batch, Group, LedgerError};
use crate::sale::{Command, InTransit, Outcome, Places, SaleId, SaleView, Split};
use crate::splits;

/// The maximum number of views until a transfer that stays in transit counts as abandoned.
const LOOKS_MAX: usize = 4;

/// Compares the places of a sale, and completes abandoned transfers. Does nothing if the sale is
/// not split.
pub(super) fn checks(
    mut client: &mut dyn Client,
    sale: &SaleId,
    known: &HashSet<SaleId>,
    mode: Mode,
    not_looked_at: &mut Vec<String>,
) -> Result<Vec<CheckReport>, LedgerError> {
    if sale.is_part() {
        return Ok(headless(sale, known).into_iter().collect());
    }
    let show = Group { sale: sale.clone(), commands: vec![Command::Show] };
    let shown = client.apply(&Batch { groups: vec![show] })?.pop();
    let Some(Outcome::Sale(view)) = shown.and_then(|mut reply| reply.outcomes.pop()) else {
        return Ok(Vec::new());
    };
    let Split::Head { parts } = view.spec.split else { return Ok(Vec::new()) };
    let Some(mut places) = splits::view_places(&mut client, sale, parts)? else {
        return Ok(Vec::new());
    };
    let (mut left, mut wrong) = (Vec::new(), Vec::new());
    for _ in 1..LOOKS_MAX {
        let Some(later) = splits::view_places(&mut client, sale, parts)? else {
            return Ok(Vec::new());
        };
        left = places.still_in_transit(&later);
        wrong = places.received_but_not_sent(&later);
        places = later;
        if left.is_empty() {
            break;
        }
    }
    let missing = places.missing();
    let (stock, total) = (places.head().transfers.stock, places.view().spec.total);
    let mut moves = moves(sale, parts, &places, &left, &wrong);
    let mut checks = Vec::new();
    if mode.repairs() && missing.is_empty() {
        // With a total above the stock, receiving would duplicate units; with one below it, sending
        // again would lose them.
        let may_take = mode.releases() || stock.is_none_or(|stock| total <= stock);
        if stock.is_none_or(|stock| total >= stock) {
            // It is reported all the same: some of the units may be sold.
            splits::resend_lost(&mut client, sale, parts, &wrong)?;
        }
        if !left.is_empty() && may_take {
            splits::finish_transfers(&mut client, sale, parts, &left)?;
            let units: u64 = left.iter().map(|of| of.units).sum();
            if wrong.is_empty() {
                moves.repaired = Some(format!("{units} units taken"));
            } else {
                moves.differences = wrong.len() as u64;
            }
        } else if !left.is_empty() {
            moves.withheld = Some("the places have more units than the sale".into());
        }
    }
    let agrees = left.is_empty() && wrong.is_empty() && missing.is_empty();
    match stock {
        Some(stock) if missing.is_empty() => {
            checks.push(sum(client, sale, &places, (stock, total), mode)?);
        }
        Some(_) => {}
        None if mode.repairs() && agrees && client.note_stock(sale, places.head(), total)? => {}
        None => not_looked_at.push(format!(
            "whether the places of {sale} have all its units together: 0.1.0 made it and did not \
             note how many it has; --repair notes it when all else agrees"
        )),
    }
    checks.push(moves);
    checks.push(definitions(sale, parts, &places));
    Ok(checks)
}

fn moves(
    sale: &SaleId,
    parts: u32,
    places: &Places,
    left: &[InTransit],
    wrong: &[InTransit],
) -> CheckReport {
    let name = |number| splits::place_id(sale, number, parts);
    let told = |what: &str, of: &InTransit| {
        format!("{} units {what} from {} to {}", of.units, name(of.from), name(of.to))
    };
    let missing = places.missing();
    let examples = left.iter().map(|of| told("are under way", of));
    let examples = examples.chain(wrong.iter().map(|of| told("that were never given came", of)));
    let examples = examples.chain(missing.iter().map(|&n| format!("{} is not there", name(n))));
    let (gave, took) = places.moved();
    CheckReport {
        differences: (left.len() + wrong.len() + missing.len()) as u64,
        examples: examples.take(EXAMPLES_MAX).collect(),
        ..CheckReport::of("moves", gave, took)
    }
}

/// The units of all places together, which no transfer changes: the number in the head, and the
/// sum.
fn sum(
    client: &mut dyn Client,
    sale: &SaleId,
    places: &Places,
    (stock, total): (u64, u64),
    mode: Mode,
) -> Result<CheckReport, LedgerError> {
    let mut check = CheckReport {
        differences: stock.abs_diff(total),
        ..CheckReport::of("stock", stock, total)
    };
    if check.differences == 0 {
        return Ok(check);
    }
    check.examples.push(if total > stock {
        "a count of what a place gave or took was changed, or 0.1.0 added stock".into()
    } else {
        "a place has lost units, or a count of what it gave or took was changed".to_owned()
    });
    if mode.releases() && client.note_stock(sale, places.head(), total)? {
        check.repaired = Some("the sum is taken for the stock".into());
    } else if mode.repairs() {
        check.withheld = Some("nobody knows which of the two is right".into());
    }
    Ok(check)
}

/// Places whose definition differs from the head's. When a sale opens and closes, its places follow
/// one after the other.
fn definitions(sale: &SaleId, parts: u32, places: &Places) -> CheckReport {
    let of = |view: &SaleView| {
        let spec = &view.spec;
        (spec.hold_ms, spec.limit_per_user, spec.quantity_max, spec.rules)
    };
    let numbers = 1..=parts as usize;
    let there = numbers.filter_map(|number| Some((number, places.get(number)?)));
    let (same, other): (Vec<_>, Vec<_>) =
        there.partition(|(_, view)| of(view) == of(places.head()));
    let example = |(number, _): &(usize, &SaleView)| {
        let part = splits::place_id(sale, *number, parts);
        format!("{part} has another hold time, limit per user or quantity")
    };
    CheckReport {
        differences: other.len() as u64,
        examples: other.iter().take(EXAMPLES_MAX).map(example).collect(),
        ..CheckReport::of("parts", (same.len() + other.len()) as u64, same.len() as u64)
    }
}

/// A part whose sale is missing: nobody can buy from it, and a new sale of that name would find it.
fn headless(part: &SaleId, known: &HashSet<SaleId>) -> Option<CheckReport> {
    let head = part.whole();
    (!known.contains(&head)).then(|| CheckReport {
        differences: 1,
        examples: vec![format!("{head}, of which it is a part, is not there")],
        ..CheckReport::of("sale", "part of a sale", "alone")
    })
}
