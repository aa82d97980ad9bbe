//! Metrics of purchase outcomes, and of the queries that answer buyers from memory.

use std::fmt;
use std::time::Instant;

use prometheus_client::registry::Unit;

use super::writer::{DURATION_POWER, MetricsWriter};
use crate::count::Tally;
use crate::purchase::{Counted, Sums, ViewQueries};
use crate::status::Status;

/// The label of all other sales, when only the busiest ones have their own.
const OTHER_SALES: &str = "";
/// The first bound of ages in ms: 8 ms.
const AGE_POWER: usize = 3;

pub(super) fn write(metrics: &mut MetricsWriter<'_>, status: &Status) -> fmt::Result {
    let (named, others) = status.selling.sales.read(Instant::now());
    let strangers = status.selling.counts.iter().map(|core| core.unknown_sales_sums());
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
    metrics.counters(
        "purchases",
        "Purchases by what became of them. Refusals from memory asked nobody. The busiest sales have \
         a name, the others none.",
        None,
        series,
    )?;
    metrics.histogram(
        "purchase_duration",
        "Time from a purchase's arrival until its answer was written, for purchases that queried the ledger.",
        Some((Unit::Seconds, 1e6)),
        DURATION_POWER,
        &Tally::of(status.selling.counts.iter().map(|core| &core.purchases_us)),
    )?;
    metrics.gauge(
        "allowance_units",
        "Units that this server may still request from the ledger, over all sales in use.",
        status.selling.allowance_left(),
    )?;
    write_questions(metrics, status)
}

/// Queries that the cores make so that buyers' requests need none.
fn write_questions(metrics: &mut MetricsWriter<'_>, status: &Status) -> fmt::Result {
    let of_cores = || status.selling.counts.iter().map(|core| &core.queries);
    let sum = |count: fn(&ViewQueries) -> u64| of_cores().map(count).sum::<u64>();
    let by_reason = [
        ([("reason", "waiting")], sum(|core| core.awaited.get())),
        ([("reason", "background")], sum(|core| core.background.get())),
    ];
    metrics.counters(
        "sale_queries",
        "Ledger queries about a sale's state: for waiting requests, or in the background.",
        None,
        by_reason.into_iter(),
    )?;
    metrics.counter(
        "sale_query_waiters",
        "Requests that waited for the answer to such a query, including shared ones.",
        None,
        sum(|core| core.waiters.get()),
    )?;
    metrics.counter(
        "claim_queries",
        "Ledger queries for the reservation that an idempotency key may already have.",
        None,
        sum(|core| core.claims.get()),
    )?;
    metrics.histogram(
        "latch_age",
        "Age of the latch of each sale in use, at each tick.",
        Some((Unit::Seconds, 1e3)),
        AGE_POWER,
        &Tally::of(of_cores().map(|core| &core.latch_age_ms)),
    )?;
    metrics.histogram(
        "view_age",
        "Age of the view of each sale in use, at each tick.",
        Some((Unit::Seconds, 1e3)),
        AGE_POWER,
        &Tally::of(of_cores().map(|core| &core.view_age_ms)),
    )
}
