//! Metrics of rate limits and admission.

use std::fmt;

use super::writer::MetricsWriter;
use crate::admission::Denied;
use crate::count::Counter;
use crate::gatekeeper::GatekeeperCounts;
use crate::status::Status;

pub(super) fn write(metrics: &mut MetricsWriter<'_>, status: &Status) -> fmt::Result {
    let sum = |count: &dyn Fn(&GatekeeperCounts) -> &Counter| {
        status.gatekeeper.counts.iter().map(|core| count(core).get()).sum::<u64>()
    };
    let by = |name: &'static str| [("by", name)];
    metrics.counters(
        "rate_limited",
        "Purchases refused by a rate limit, by kind of limit.",
        None,
        [
            (by("address"), sum(&|core| &core.limited_addresses)),
            (by("user"), sum(&|core| &core.limited_users)),
        ]
        .into_iter(),
    )?;
    metrics.counters(
        "rate_forgotten",
        "Addresses and users evicted from the table of rate limits before their burst was free again.",
        None,
        [
            (by("address"), sum(&|core| &core.forgotten_addresses)),
            (by("user"), sum(&|core| &core.forgotten_users)),
        ]
        .into_iter(),
    )?;
    let denied = Denied::NAMES
        .into_iter()
        .enumerate()
        .map(|(kind, name)| ([("outcome", name)], sum(&|core| &core.denied[kind])));
    let admitted = ([("outcome", "admitted")], sum(&|core| &core.admitted));
    metrics.counters(
        "admissions",
        "Admission tokens, including missing ones, by result.",
        None,
        [admitted].into_iter().chain(denied),
    )?;
    metrics.counter(
        "admission_checks",
        "Verified token signatures. Other tokens were cached, or were not verified.",
        None,
        sum(&|core| &core.checks),
    )
}
