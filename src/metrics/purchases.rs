//! What became of purchases, and what the cores asked so that buyers need not.

use std::fmt;
use std::time::Instant;

use prometheus_client::registry::Unit;

use super::sheet::{DURATION_POWER, Sheet};
use crate::count::Tally;
use crate::purchase::{Counted, Questions, Sums};
use crate::status::Status;

/// What the others are told under, when the busiest sales have names of their own.
const OTHER_SALES: &str = "";
/// The first bound of ages in ms: 8 ms.
const AGE_POWER: usize = 3;

pub(super) fn write(sheet: &mut Sheet<'_>, status: &Status) -> fmt::Result {
    let (named, others) = status.selling.sales.read(Instant::now());
    let strangers = status.selling.counts.iter().map(|core| core.strangers_sums());
    let others = strangers.fold(others, |mut all: Sums, more| {
        all.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.wrapping_add(more));
        all
    });
    let named = named.iter().map(|(id, sums)| (id.as_str(), sums));
    let series = named.chain([(OTHER_SALES, &others)]).flat_map(|(sale, sums)| {
        let counted = Counted::ALL.into_iter().zip(sums).filter(|(_, count)| **count > 0);
        counted.map(move |(counted, count)| {
            let source = if counted.is_known() { "memory" } else { "ledger" };
            ([("sale", sale), ("outcome", counted.name()), ("source", source)], *count)
        })
    });
    sheet.counters(
        "purchases",
        "Purchases by what became of them. Refusals from memory asked nobody. The busiest sales have \
         a name, the others none.",
        None,
        series,
    )?;
    sheet.histogram(
        "purchase_duration",
        "From when a purchase came until its answer was written, of those that asked the ledger.",
        Some((Unit::Seconds, 1e6)),
        DURATION_POWER,
        &Tally::of(status.selling.counts.iter().map(|core| &core.purchases_us)),
    )?;
    sheet.gauge(
        "allowance_units",
        "Units that this server may still ask the ledger for, over all sales it was asked for.",
        status.selling.allowance_left(),
    )?;
    write_questions(sheet, status)
}

/// What keeps buyers from asking the ledger themselves.
fn write_questions(sheet: &mut Sheet<'_>, status: &Status) -> fmt::Result {
    let of_cores = || status.selling.counts.iter().map(|core| &core.questions);
    let sum = |count: fn(&Questions) -> u64| of_cores().map(count).sum::<u64>();
    let by_reason = [
        ([("reason", "waiting")], sum(|core| core.awaited.get())),
        ([("reason", "background")], sum(|core| core.background.get())),
    ];
    sheet.counters(
        "sale_queries",
        "Queries of how a sale stands: with requests that wait for the answer, or in the background.",
        None,
        by_reason.into_iter(),
    )?;
    sheet.counter(
        "sale_query_waiters",
        "Requests that waited for the answer to such a query, whoever's it was.",
        None,
        sum(|core| core.waiters.get()),
    )?;
    sheet.counter(
        "claim_queries",
        "Looks for the reservation that an idempotency key may have already.",
        None,
        sum(|core| core.claims.get()),
    )?;
    sheet.histogram(
        "latch_age",
        "Age of what refuses from memory, of each sale in use, at each tick.",
        Some((Unit::Seconds, 1e3)),
        AGE_POWER,
        &Tally::of(of_cores().map(|core| &core.latch_age_ms)),
    )?;
    sheet.histogram(
        "view_age",
        "Age of what is shown of a sale, of each in use, at each tick.",
        Some((Unit::Seconds, 1e3)),
        AGE_POWER,
        &Tally::of(of_cores().map(|core| &core.view_age_ms)),
    )
}
