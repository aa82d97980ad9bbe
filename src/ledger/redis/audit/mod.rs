//! The audit of a sale in Redis: reads everything in small steps while the sale goes on, and is
//! exact nevertheless.
//!
//! Every change of a reservation is in the stream. So the reservations that were read, advanced to
//! an entry of the stream, are the sale right after that entry (`model`). One script reads the
//! counts together with the id of the last entry (`snapshot`). Data that disagrees then is read
//! again in the same way, together with the end of the stream: if it still disagrees, it is a
//! difference and not the trace of a purchase in progress. `repair` repairs it.
//!
//! Architecture invariant: never stops a sale, and never blocks Redis for longer than a batch does.

mod query;
mod find;
mod snapshot;
mod model;
mod repair;

use self::find::{Findings, find};
use self::model::Problems;
pub use self::query::RedisQuery;
use self::repair::Notes;
use super::keys::SaleKeys;
use crate::ledger::LedgerError;
use crate::ledger::client::{Amount, Check, Relation, Repair, SaleAudit};
use crate::sale::{SaleId, TypeUnits, Types};

/// The maximum number of rounds of finding and repairing. The differences left after that are
/// reported: repairing a lost line reveals data that depends on it, and so on.
const REPAIR_ROUNDS_MAX: usize = 6;

/// Compares everything that Redis has of a sale. With a `repair`, also repairs what it allows.
/// `None`: there is no such sale.
///
/// # Errors
/// Redis can't be asked, or the stream loses entries while it is read.
pub fn audit(
    redis: &mut dyn RedisQuery,
    keys: &SaleKeys,
    sale: &SaleId,
    repair: Option<&Repair>,
) -> Result<Option<SaleAudit>, LedgerError> {
    let Some(mut found) = find(redis, keys)? else { return Ok(None) };
    let mut checks = checks(&found);
    let mut notes = Notes::default();
    for _ in 0..REPAIR_ROUNDS_MAX {
        let Some(how) = repair else { break };
        let before = notes.done.len();
        repair::repair(redis, keys, &found, how, &mut notes)?;
        if notes.done.len() == before {
            break;
        }
        let Some(again) = find(redis, keys)? else { return Ok(None) };
        found = again;
        for (check, now) in checks.iter_mut().zip(self::checks(&found)) {
            let done = notes.done.iter().filter(|note| note.0 == check.name);
            let done: Vec<&str> = done.map(|note| &*note.1).collect();
            check.update(now, &done);
        }
    }
    for check in checks.iter_mut().filter(|check| check.repaired.is_none()) {
        let mut why = notes.withheld.iter().filter(|note| note.0 == check.name);
        check.withheld = why.next().filter(|_| check.differences > 0).map(|note| note.1.clone());
    }
    let (view, version) = (found.snapshot.view(), found.snapshot.last.version());
    Ok(Some(SaleAudit {
        checks,
        version,
        streamed_from: found.model.streamed_from(version),
        undelivered_from: found.snapshot.undelivered_from(),
        has_orders: found.snapshot.has_readers(),
        reservations: found.model.changes(sale, view.spec.hold_ms, version),
        view,
    }))
}

/// All comparisons, always in the same order.
fn checks(found: &Findings) -> Vec<Check> {
    let Findings { snapshot: look, model, .. } = found;
    let shown = |text: &Option<String>| Amount::from(text.as_deref().unwrap_or("nothing"));
    let count = |name, expected: u64, is: Option<u64>, text: &Option<String>| Check {
        name,
        expected: expected.into(),
        found: is.map_or_else(|| shown(text), Amount::from),
        differences: u64::from(is != Some(expected)),
        ..Check::default()
    };
    let list = |name, expected: u64, is: u64, problems: Problems| Check {
        name,
        expected: expected.into(),
        found: is.into(),
        differences: problems.count,
        examples: problems.examples,
        ..Check::default()
    };
    let (_, bad_settings) = look.spec();
    let sold = look.sold_units().unwrap_or_else(|| model.sold());
    let total_read = look.total.as_deref().and_then(super::line::number);
    let settings = Problems::of(&bad_settings, |name| format!("{name} is no number in its range"));
    let tally = &found.tally;
    let mut checks = vec![
        count("held", model.held(), look.held_units(), &look.held),
        count("sold", model.sold(), look.sold_units(), &look.sold),
        Check {
            name: "total",
            expected: sold.into(),
            relation: Relation::AtLeast,
            found: total_read.map_or_else(|| shown(&look.total), Amount::from),
            differences: u64::from(total_read.is_none_or(|total| total < sold)) + settings.count,
            examples: settings.examples,
            ..Check::default()
        },
        list("users", tally.users_expected, tally.users_found, found.users_problems()),
        list("claims", tally.claims_expected, tally.claims_found, found.claims_problems()),
        list(
            "deadlines",
            tally.deadlines_expected,
            tally.deadlines_found,
            found.deadlines_problems(),
        ),
        list(
            "stream",
            look.added.saturating_sub(look.trimmed),
            look.length,
            found.stream_problems(),
        ),
        list(
            "lines",
            tally.reservations + found.missing.len() as u64,
            tally.reservations,
            found.lines_problems(),
        ),
    ];
    let of_sale = look.spec().0.types;
    if !of_sale.is_empty() {
        checks.push(types(found, &of_sale));
    }
    checks
}

/// Compares the counts of each ticket type with the reservations.
fn types(found: &Findings, types: &Types) -> Check {
    let Findings { snapshot: look, model, .. } = found;
    let expected = model.type_units(types);
    let text = TypeUnits::list_to_text(&expected);
    let mut problems = Problems::default();
    match look.type_units() {
        None => problems.add(|| "by_type is no list of counts of the sale's types".to_owned()),
        Some(is) => {
            let pairs = types.iter().zip(is.iter().zip(&expected));
            for ((name, cap), (is, expected)) in pairs {
                if is != expected {
                    let [is, expected] = [is, expected].map(|units| (units.held, units.confirmed));
                    problems.add(|| format!("{name}: held and confirmed {is:?}, not {expected:?}"));
                }
                if expected.sold() > cap {
                    problems.add(|| format!("{name}: {} sold of {cap}", expected.sold()));
                }
            }
        }
    }
    for name in model.other_types(types) {
        problems.add(|| format!("a reservation has units of {name}, which is no type of the sale"));
    }
    Check {
        name: "types",
        expected: text.as_str().into(),
        found: look.by_type.as_deref().unwrap_or("nothing").into(),
        differences: problems.count,
        examples: problems.examples,
        ..Check::default()
    }
}
