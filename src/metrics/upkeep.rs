//! What the threads beside the cores tell of themselves.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::registry::Unit;

use super::sheet::Sheet;
use crate::count::Moment;
use crate::ledger::counts::StoreCounts;
use crate::limits::LEASE_MS;
use crate::logging;
use crate::status::Status;
use crate::upkeep::{AuditCounts, Audited, LeaseCounts, WebhookCounts};

pub(super) fn write(sheet: &mut Sheet<'_>, status: &Status) -> fmt::Result {
    let due = status.store.as_ref().map_or(&status.upkeep.sweep_due, |store| &store.expiry_due);
    write_age(
        sheet,
        "sweep_lag",
        "For how long the return of expired units to stock has been overdue.",
        due,
    )?;
    if let Some(store) = &status.store
        && status.config.orders.is_some()
    {
        write_orders(sheet, store)?;
    }
    if status.config.orders.as_ref().is_some_and(|to| to.database().is_none()) {
        write_webhooks(sheet, &status.upkeep.webhooks)?;
    }
    let upkeep = &status.upkeep;
    if status.store.is_none() {
        write_lease(sheet, &upkeep.lease)?;
    }
    write_audits(sheet, &upkeep.audits)?;
    let certificates = upkeep.certificates();
    if !certificates.is_empty() {
        sheet.gauges(
            "tls_certificate_expiry_timestamp",
            "When a certificate, or the first of its chain, expires, since 1970.",
            Some(Unit::Seconds),
            certificates.iter().map(|one| ([("file", &*one.file)], one.expires_s())),
        )?;
    }
    let lost = logging::lines_lost();
    sheet.counter("log_lines_lost", "Log lines that standard error did not take.", None, lost)?;
    let Some(counts) = status.stat_log.as_ref().map(|counters| counters.counts()) else {
        return Ok(());
    };
    let help = "Lines written to the stat log.";
    sheet.counter("stat_log_lines", help, None, counts.written)?;
    let help = "Lines that the stat log did not take.";
    sheet.counter("stat_log_lines_lost", help, None, counts.lost())
}

/// How far the orders of an embedded ledger are.
fn write_orders(sheet: &mut Sheet<'_>, store: &StoreCounts) -> fmt::Result {
    // First how far the orders are: the ledger only goes ahead meanwhile.
    if let Some(position) = store.orders.position() {
        let lag = store.records.get().saturating_sub(position);
        sheet.gauge("orders_lag_records", "Records of the ledger that the orders lack.", lag)?;
    }
    write_age(
        sheet,
        "orders_lag",
        "For how long the oldest change has waited that the orders lack.",
        &store.orders.behind,
    )
}

/// What the receiver of an embedded ledger's webhooks has, and lacks.
fn write_webhooks(sheet: &mut Sheet<'_>, webhooks: &WebhookCounts) -> fmt::Result {
    let help = "Webhooks that wait to be delivered.";
    sheet.gauge("webhooks_waiting", help, webhooks.waiting.get())?;
    write_age(
        sheet,
        "webhooks_lag",
        "For how long the webhook has waited that has waited longest.",
        &webhooks.oldest,
    )?;
    let help = "Webhooks that the receiver has taken.";
    sheet.counter("webhooks_delivered", help, None, webhooks.delivered.get())?;
    let help = "Attempts to deliver a webhook that failed.";
    sheet.counter("webhook_failures", help, None, webhooks.failed.get())?;
    let help = "Webhooks that are not tried any more.";
    sheet.gauge("webhooks_dead_letters", help, webhooks.dead.get())
}

fn write_lease(sheet: &mut Sheet<'_>, lease: &LeaseCounts) -> fmt::Result {
    let help = "Servers with a lease in the ledger, as of the last renewal.";
    sheet.gauge("members", help, lease.members.get())?;
    sheet.gauge("member_cores", "Their cores together.", lease.cores.get())?;
    let good = Duration::from_millis(LEASE_MS);
    let left = lease.renewed.elapsed().map_or(Duration::ZERO, |ago| good.saturating_sub(ago));
    sheet.gauge_of(
        "lease_remaining",
        "For how long this server's lease is good.",
        Some(Unit::Seconds),
        left.as_secs_f64(),
    )?;
    let help = "Renewals of this server's lease that failed.";
    sheet.counter("lease_renewal_failures", help, None, lease.failures.get())
}

fn write_audits(sheet: &mut Sheet<'_>, audits: &AuditCounts) -> fmt::Result {
    let by_result = Audited::ALL.map(|result| ([("result", result.name())], audits.total(result)));
    let help = "Audits that this server made, by what they came to.";
    sheet.counters("audits", help, None, by_result.into_iter())?;
    let Some(last) = audits.last() else { return Ok(()) };
    let ended = last.ended.duration_since(UNIX_EPOCH).unwrap_or_default();
    sheet.gauge_of(
        "last_audit_timestamp",
        "When the last audit of all sales ended, since 1970.",
        Some(Unit::Seconds),
        ended.as_secs_f64(),
    )?;
    sheet.gauge_of(
        "last_audit_duration",
        "How long it took.",
        Some(Unit::Seconds),
        last.took.as_secs_f64(),
    )?;
    sheet.gauge("last_audit_differences", "Differences that it left.", last.differences)
}

/// How long ago something was, or no time if it was not.
fn write_age(sheet: &mut Sheet<'_>, name: &str, help: &str, since: &Moment) -> fmt::Result {
    let age_s = since.elapsed().unwrap_or_default().as_secs_f64();
    sheet.gauge_of(name, help, Some(Unit::Seconds), age_s)
}
