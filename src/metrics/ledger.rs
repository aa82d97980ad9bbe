//! What the cores ask the ledger, and how it answers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::registry::Unit;

use super::sheet::{DURATION_POWER, Sheet};
use crate::count::Tally;
use crate::ledger::counts::LedgerCounts;
use crate::limits::REFUSED_SALES_SHOWN_MAX;
use crate::status::Status;

pub(super) fn write(sheet: &mut Sheet<'_>, status: &Status) -> fmt::Result {
    let up = status.ledger_up.iter().filter(|up| up.load(Ordering::Relaxed)).count();
    sheet.gauge("ledger_cores_up", "Cores whose link to the ledger carries batches.", up as u64)?;
    let (_, refused) = status.selling.refused_sales.list(REFUSED_SALES_SHOWN_MAX);
    sheet.gauge(
        "refused_sales",
        "Sales that the ledger refuses for what is stored of them.",
        refused as u64,
    )?;
    let of_cores = || status.selling.counts.iter().filter_map(|core| core.ledger.get());
    let waiting = of_cores().map(|core: &Arc<LedgerCounts>| core.waiting.get()).sum();
    sheet.gauge("waiting_requests", "Requests that wait for the ledger.", waiting)?;
    sheet.histogram(
        "batch_commands",
        "Commands in a batch to the ledger.",
        None,
        0,
        &Tally::of(of_cores().map(|core| &core.commands)),
    )?;
    sheet.histogram(
        "batch_queued",
        "For how long the first command of a batch had waited when it left.",
        Some((Unit::Seconds, 1e3)),
        0,
        &Tally::of(of_cores().map(|core| &core.queued_ms)),
    )?;
    sheet.histogram(
        "ledger_round_trip",
        "From when a batch left until it was answered.",
        Some((Unit::Seconds, 1e6)),
        DURATION_POWER,
        &Tally::of(of_cores().map(|core| &core.round_trip_us)),
    )?;
    if let Some(store) = &status.store {
        sheet.histogram(
            "fdatasync_duration",
            "How long the ledger's disk took to make a batch durable.",
            Some((Unit::Seconds, 1e6)),
            DURATION_POWER,
            &Tally::of([&store.sync_us].into_iter()),
        )?;
    }
    Ok(())
}
