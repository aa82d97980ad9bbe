//! Metrics of the background threads.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::registry::Unit;

use super::writer::MetricsWriter;
use crate::background::{AuditCounts, Audited, LeaseCounts, WebhookCounts};
use crate::count::Moment;
use crate::ledger::counts::StoreCounts;
use crate::limits::LEASE_MS;
use crate::logging;
use crate::status::Status;

pub(super) fn write(metrics: &mut MetricsWriter<'_>, status: &Status) -> fmt::Result {
    let due = status.store.as_ref().map_or(&status.background.sweep_due, |store| &store.expiry_due);
    write_age(
        metrics,
        "sweep_lag",
        "Time for which returning expired units to stock has been overdue.",
        due,
    )?;
    if let Some(store) = &status.store
        && status.config.orders.is_some()
    {
        write_orders(metrics, store)?;
    }
    if status.config.orders.as_ref().is_some_and(|to| to.database().is_none()) {
        write_webhooks(metrics, &status.background.webhooks)?;
    }
    let background = &status.background;
    if status.store.is_none() {
        write_lease(metrics, &background.lease)?;
    }
    write_audits(metrics, &background.audits)?;
    let certificates = background.certificates();
    if !certificates.is_empty() {
        metrics.gauges(
            "tls_certificate_expiry_timestamp",
            "Expiry time of a certificate, or of the first in its chain, since 1970.",
            Some(Unit::Seconds),
            certificates.iter().map(|one| ([("file", &*one.file)], one.expires_s())),
        )?;
    }
    let lost = logging::lines_lost();
    metrics.counter("log_lines_lost", "Log lines that standard error did not take.", None, lost)?;
    let Some(counts) = status.stat_log.as_ref().map(|counters| counters.counts()) else {
        return Ok(());
    };
    let help = "Lines written to the stat log.";
    metrics.counter("stat_log_lines", help, None, counts.written)?;
    let help = "Lines that the stat log did not take.";
    metrics.counter("stat_log_lines_lost", help, None, counts.lost())
}

/// The position of an embedded ledger's orders.
fn write_orders(metrics: &mut MetricsWriter<'_>, store: &StoreCounts) -> fmt::Result {
    // The position of the orders is read first: the ledger can only advance meanwhile.
    if let Some(position) = store.orders.position() {
        let lag = store.records.get().saturating_sub(position);
        metrics.gauge(
            "orders_lag_records",
            "Ledger records that are not in the orders yet.",
            lag,
        )?;
    }
    write_age(
        metrics,
        "orders_lag",
        "Age of the oldest change that is not in the orders yet.",
        &store.orders.behind,
    )
}

/// Webhooks of an embedded ledger: delivered and pending.
fn write_webhooks(metrics: &mut MetricsWriter<'_>, webhooks: &WebhookCounts) -> fmt::Result {
    let help = "Webhooks that wait to be delivered.";
    metrics.gauge("webhooks_waiting", help, webhooks.waiting.get())?;
    write_age(
        metrics,
        "webhooks_lag",
        "Age of the oldest webhook that waits to be delivered.",
        &webhooks.oldest,
    )?;
    let help = "Webhooks that were delivered.";
    metrics.counter("webhooks_delivered", help, None, webhooks.delivered.get())?;
    let help = "Failed attempts to deliver a webhook.";
    metrics.counter("webhook_failures", help, None, webhooks.failed.get())?;
    let help = "Webhooks that are not tried any more.";
    metrics.gauge("webhooks_dead_letters", help, webhooks.dead.get())
}

fn write_lease(metrics: &mut MetricsWriter<'_>, lease: &LeaseCounts) -> fmt::Result {
    let help = "Servers with a lease in the ledger, as of the last renewal.";
    metrics.gauge("members", help, lease.members.get())?;
    metrics.gauge("member_cores", "Cores of these servers.", lease.cores.get())?;
    let good = Duration::from_millis(LEASE_MS);
    let left = lease.renewed.elapsed().map_or(Duration::ZERO, |ago| good.saturating_sub(ago));
    metrics.gauge_of(
        "lease_remaining",
        "Time until this server's lease expires.",
        Some(Unit::Seconds),
        left.as_secs_f64(),
    )?;
    let help = "Failed renewals of this server's lease.";
    metrics.counter("lease_renewal_failures", help, None, lease.failures.get())
}

fn write_audits(metrics: &mut MetricsWriter<'_>, audits: &AuditCounts) -> fmt::Result {
    let by_result = Audited::ALL.map(|result| ([("result", result.name())], audits.total(result)));
    let help = "Audits by this server, by result.";
    metrics.counters("audits", help, None, by_result.into_iter())?;
    let Some(last) = audits.last() else { return Ok(()) };
    let ended = last.ended.duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics.gauge_of(
        "last_audit_timestamp",
        "End time of the last audit of all sales, since 1970.",
        Some(Unit::Seconds),
        ended.as_secs_f64(),
    )?;
    metrics.gauge_of(
        "last_audit_duration",
        "Duration of the last audit of all sales.",
        Some(Unit::Seconds),
        last.took.as_secs_f64(),
    )?;
    metrics.gauge(
        "last_audit_differences",
        "Differences left by the last audit of all sales.",
        last.differences,
    )
}

/// The age of a moment, or no time if it is not set.
fn write_age(
    metrics: &mut MetricsWriter<'_>,
    name: &str,
    help: &str,
    since: &Moment,
) -> fmt::Result {
    let age_s = since.elapsed().unwrap_or_default().as_secs_f64();
    metrics.gauge_of(name, help, Some(Unit::Seconds), age_s)
}
