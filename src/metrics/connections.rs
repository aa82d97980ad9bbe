//! Metrics of connections, their traffic, and the cores.

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::registry::Unit;

use super::writer::MetricsWriter;
use crate::engine::counts::{CloseReason, Counts};
use crate::status::Status;

pub(super) fn write(metrics: &mut MetricsWriter<'_>, status: &Status) -> fmt::Result {
    let engine = &*status.engine;
    let sum = |count: fn(&Counts) -> u64| engine.counts.iter().map(|core| count(core)).sum::<u64>();
    metrics.gauge("connections", "Open connections.", engine.connections.in_use() as u64)?;
    metrics.gauge(
        "connections_max",
        "Maximum number of open connections.",
        engine.limits.connections_max() as u64,
    )?;
    let accepted = sum(|core| core.accepted.get());
    metrics.counter("connections_accepted", "Connections accepted.", None, accepted)?;
    let ended = |why: CloseReason| {
        engine.counts.iter().map(|core| core.ended[why as usize].get()).sum::<u64>()
    };
    let by_reason = CloseReason::ALL.into_iter().map(|why| ([("reason", why.name())], ended(why)));
    metrics.counters("connections_ended", "Closed connections, by reason.", None, by_reason)?;
    metrics.counter(
        "tls_handshakes",
        "Completed TLS handshakes.",
        None,
        sum(|core| core.handshakes.get()),
    )?;
    metrics.counter(
        "requests",
        "Requests at the public port, including those that could not be framed.",
        None,
        sum(|core| core.requests.get()),
    )?;
    metrics.counter(
        "received",
        "Bytes received from clients; with TLS, of records.",
        Some(Unit::Bytes),
        sum(|core| core.received_bytes.get()),
    )?;
    metrics.counter(
        "sent",
        "Bytes sent to clients; with TLS, of records.",
        Some(Unit::Bytes),
        sum(|core| core.sent_bytes.get()),
    )?;
    write_cores(metrics, status)?;
    let ready = !status.is_leaving() && status.ledger_is_up();
    metrics.gauge("ready", "1 while /readyz is 200.", u64::from(ready))
}

fn write_cores(metrics: &mut MetricsWriter<'_>, status: &Status) -> fmt::Result {
    let engine = &*status.engine;
    metrics.gauge("cores", "Cores that serve buyers.", engine.cores() as u64)?;
    let names: Vec<_> = (0..engine.cores()).map(|core| core.to_string()).collect();
    let labels = || names.iter().map(|name| [("core", name.as_str())]);
    let ticks = engine.ticks.iter().map(|ticks| ticks.load(Ordering::Relaxed));
    metrics.counters(
        "core_ticks",
        "Ticks by core, 20 per second. A core whose ticks do not grow is stuck.",
        None,
        labels().zip(ticks),
    )?;
    let used_s = engine.counts.iter().map(|core| core.cpu_us.get() as f64 / 1e6);
    metrics.counters(
        "core_cpu",
        "CPU time by core, as of its last tick.",
        Some(Unit::Seconds),
        labels().zip(used_s),
    )
}
