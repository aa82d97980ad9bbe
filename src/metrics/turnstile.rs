//! Who was let through to purchases, and who was not.

use std::fmt;

use super::sheet::Sheet;
use crate::admission::Denied;
use crate::count::Counter;
use crate::status::Status;
use crate::turnstile::TurnstileCounts;

pub(super) fn write(sheet: &mut Sheet<'_>, status: &Status) -> fmt::Result {
    let sum = |count: &dyn Fn(&TurnstileCounts) -> &Counter| {
        status.turnstile.counts.iter().map(|core| count(core).get()).sum::<u64>()
    };
    let by = |name: &'static str| [("by", name)];
    sheet.counters(
        "rate_limited",
        "Purchases that came too soon, by what was limited.",
        None,
        [
            (by("address"), sum(&|core| &core.limited_addresses)),
            (by("user"), sum(&|core| &core.limited_users)),
        ]
        .into_iter(),
    )?;
    sheet.counters(
        "rate_forgotten",
        "Addresses and users whose limit began anew because others needed their places.",
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
    sheet.counters(
        "admissions",
        "Tokens that were shown, or should have been, by what became of them.",
        None,
        [admitted].into_iter().chain(denied),
    )?;
    sheet.counter(
        "admission_checks",
        "Signatures of tokens that were checked. The other tokens were known, or could not be checked.",
        None,
        sum(&|core| &core.checks),
    )
}
