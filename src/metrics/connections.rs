//! Connections, what went over them, and the cores that they live on.

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::registry::Unit;

use super::sheet::Sheet;
use crate::engine::counts::{Counts, End};
use crate::status::Status;

pub(super) fn write(sheet: &mut Sheet<'_>, status: &Status) -> fmt::Result {
    let engine = &*status.engine;
    let sum = |count: fn(&Counts) -> u64| engine.counts.iter().map(|core| count(core)).sum::<u64>();
    sheet.gauge(
        "connections",
        "Connections that have a place.",
        engine.connections.taken() as u64,
    )?;
    sheet.gauge(
        "connections_max",
        "Connections that may have a place.",
        engine.limits.connections_max() as u64,
    )?;
    let accepted = sum(|core| core.accepted.get());
    sheet.counter("connections_accepted", "Connections accepted.", None, accepted)?;
    let ended =
        |why: End| engine.counts.iter().map(|core| core.ended[why as usize].get()).sum::<u64>();
    let by_reason = End::ALL.into_iter().map(|why| ([("reason", why.name())], ended(why)));
    sheet.counters("connections_ended", "Connections ended, by why.", None, by_reason)?;
    sheet.counter(
        "tls_handshakes",
        "Handshakes that ended well.",
        None,
        sum(|core| core.handshakes.get()),
    )?;
    sheet.counter(
        "requests",
        "Requests at the buyers' port, also those that could not be framed.",
        None,
        sum(|core| core.requests.get()),
    )?;
    sheet.counter(
        "received",
        "Bytes that clients have sent: with TLS, of records.",
        Some(Unit::Bytes),
        sum(|core| core.received_bytes.get()),
    )?;
    sheet.counter(
        "sent",
        "Bytes that clients were sent: with TLS, of records.",
        Some(Unit::Bytes),
        sum(|core| core.sent_bytes.get()),
    )?;
    write_cores(sheet, status)?;
    let ready = !status.is_leaving() && status.ledger_is_up();
    sheet.gauge("ready", "1 while /readyz is 200.", u64::from(ready))
}

fn write_cores(sheet: &mut Sheet<'_>, status: &Status) -> fmt::Result {
    let engine = &*status.engine;
    sheet.gauge("cores", "Cores that serve buyers.", engine.cores() as u64)?;
    let names: Vec<_> = (0..engine.cores()).map(|core| core.to_string()).collect();
    let labels = || names.iter().map(|name| [("core", name.as_str())]);
    let ticks = engine.ticks.iter().map(|ticks| ticks.load(Ordering::Relaxed));
    sheet.counters(
        "core_ticks",
        "Ticks by core, 20 per second: one that stands still is stuck.",
        None,
        labels().zip(ticks),
    )?;
    let used_s = engine.counts.iter().map(|core| core.cpu_us.get() as f64 / 1e6);
    sheet.counters(
        "core_cpu",
        "CPU time by core, as of its last tick.",
        Some(Unit::Seconds),
        labels().zip(used_s),
    )
}
