//! Metrics of the cores' ledger queries.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::registry::Unit;

use super::writer::{DURATION_POWER, MetricsWriter};
use crate::count::Tally;
use crate::ledger::counts::LedgerCounts;
use crate::limits::REFUSED_SALES_SHOWN_MAX;
use crate::status::Status;

pub(super) fn write(metrics: &mut MetricsWriter<'_>, status: &Status) -> fmt::Result {
    let up = status.ledger_up.iter().filter(|up| up.load(Ordering::Relaxed)).count();
    metrics.gauge(
        "ledger_cores_up",
        "Cores whose link to the ledger carries batches.",
        up as u64,
    )?;
    let (_, refused) = status.selling.refused_sales.list(REFUSED_SALES_SHOWN_MAX);
    metrics.gauge(
        "refused_sales",
        "Sales that the ledger refuses because their stored data is damaged.",
        refused as u64,
    )?;
    let of_cores = || status.selling.counts.iter().filter_map(|core| core.ledger.get());
    let waiting = of_cores().map(|core: &Arc<LedgerCounts>| core.waiting.get()).sum();
    metrics.gauge("waiting_requests", "Requests that wait for the ledger.", waiting)?;
    metrics.histogram(
        "batch_commands",
        "Commands in a batch to the ledger.",
        None,
        0,
        &Tally::of(of_cores().map(|core| &core.commands)),
    )?;
    metrics.histogram(
        "batch_queued",
        "Time that the first command of a batch waited before the batch was sent.",
        Some((Unit::Seconds, 1e3)),
        0,
        &Tally::of(of_cores().map(|core| &core.queued_ms)),
    )?;
    metrics.histogram(
        "ledger_round_trip",
        "Time from sending a batch until it was answered.",
        Some((Unit::Seconds, 1e6)),
        DURATION_POWER,
        &Tally::of(of_cores().map(|core| &core.round_trip_us)),
    )?;
    if let Some(store) = &status.store {
        metrics.histogram(
            "fdatasync_duration",
            "Time that the ledger's disk took to make a batch durable.",
            Some((Unit::Seconds, 1e6)),
            DURATION_POWER,
            &Tally::of([&store.sync_us].into_iter()),
        )?;
    }
    Ok(())
}
