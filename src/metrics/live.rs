//! The numbers of the live page: the counters of `/metrics`, as JSON.
//!
//! Numbers that grow are given as totals. The page computes rates from two answers, so the server
//! keeps no state for a page.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::count::{Moment, Tally};
use crate::ledger::counts::LedgerCounts;
use crate::limits::{LEASE_MS, REFUSED_SALES_SHOWN_MAX};
use crate::purchase::{Counted, Sums};
use crate::status::Status;

/// A running server at one point in time.
#[derive(Serialize)]
pub struct LiveServer {
    /// Time since the control port began. Two answers with the same time are the same.
    at_ms: u64,
    version: &'static str,
    ready: bool,
    draining: bool,
    cores: Vec<CoreJson>,
    connections: ConnectionsJson,
    latency: LatencyJson,
    ledger: LedgerJson,
    /// Orders or webhooks that this server writes. `None`: it writes none.
    orders: Option<OrdersJson>,
    /// Its lease in a shared ledger. `None`: the ledger is not shared.
    lease: Option<LeaseJson>,
}

/// Counters of one core.
#[derive(Serialize)]
struct CoreJson {
    core: usize,
    #[serde(flatten)]
    purchases: PurchasesJson,
    requests: u64,
    cpu_us: u64,
    waiting: u64,
    ledger_up: bool,
}

/// Purchases by outcome.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct PurchasesJson {
    granted: u64,
    replayed: u64,
    /// The core knew by itself that the sale has nothing to sell.
    rejected_from_memory: u64,
    rejected_by_ledger: u64,
    /// Neither granted nor rejected by the sale: busy, unavailable, unknown, abandoned.
    failed: u64,
}

#[derive(Serialize)]
struct ConnectionsJson {
    open: usize,
    max: usize,
    accepted: u64,
}

/// Histograms over all cores.
#[derive(Serialize)]
struct LatencyJson {
    purchase_us: HistogramJson,
    queued_ms: HistogramJson,
    round_trip_us: HistogramJson,
    batch_commands: HistogramJson,
    fdatasync_us: Option<HistogramJson>,
}

#[derive(Serialize)]
struct HistogramJson {
    sum: u64,
    /// Values by size: at most 1, at most 2, at most 4 and so on. Values above all bounds come
    /// last.
    counts: Vec<u64>,
}

#[derive(Serialize)]
struct LedgerJson {
    kind: &'static str,
    cores_up: usize,
    refused_sales: Vec<RefusedJson>,
    refused_sales_count: usize,
    /// Time for which returning expired units to stock has been overdue.
    sweep_lag_ms: u64,
    allowance_units: u64,
}

#[derive(Serialize)]
struct RefusedJson {
    sale: String,
    reason: String,
}

#[derive(Serialize)]
struct OrdersJson {
    to: &'static str,
    lag_ms: u64,
    /// Ledger records that the database lacks. `None`: not known yet, or there is no database.
    lag_records: Option<u64>,
    webhooks: Option<WebhooksJson>,
}

#[derive(Serialize)]
struct WebhooksJson {
    waiting: u64,
    delivered: u64,
    failed: u64,
    dead_letters: u64,
}

#[derive(Serialize)]
struct LeaseJson {
    members: u64,
    cores: u64,
    remaining_ms: u64,
    renewal_failures: u64,
}

impl LiveServer {
    /// The current numbers. `began`: when the control port began.
    pub fn of(status: &Status, began: Instant) -> Self {
        let engine = &*status.engine;
        let connections = ConnectionsJson {
            open: engine.connections.in_use(),
            max: engine.limits.connections_max(),
            accepted: engine.counts.iter().map(|core| core.accepted.get()).sum(),
        };
        let draining = status.is_leaving();
        Self {
            at_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            version: env!("CARGO_PKG_VERSION"),
            ready: !draining && status.ledger_is_up(),
            draining,
            cores: cores(status),
            connections,
            latency: latency(status),
            ledger: ledger(status),
            orders: orders(status),
            lease: status.store.is_none().then(|| lease(status)),
        }
    }
}

fn cores(status: &Status) -> Vec<CoreJson> {
    let selling = &status.selling;
    let by_core = selling.sales.by_core(selling.cores());
    let waiting = |core: &LedgerCounts| core.waiting.get();
    selling
        .counts
        .iter()
        .zip(&by_core)
        .enumerate()
        .map(|(core, (counts, sums))| CoreJson {
            core,
            purchases: PurchasesJson::of(&[*sums, counts.unknown_sales_sums()]),
            requests: status.engine.counts[core].requests.get(),
            cpu_us: status.engine.counts[core].cpu_us.get(),
            waiting: counts.ledger.get().map_or(0, |ledger| waiting(ledger)),
            ledger_up: status.ledger_up[core].load(std::sync::atomic::Ordering::Relaxed),
        })
        .collect()
}

impl PurchasesJson {
    fn of(all: &[Sums]) -> Self {
        let mut purchases = Self::default();
        for sums in all {
            for (counted, count) in Counted::ALL.into_iter().zip(sums) {
                *purchases.place(counted) += count;
            }
        }
        purchases
    }

    fn place(&mut self, counted: Counted) -> &mut u64 {
        match counted {
            Counted::Granted => &mut self.granted,
            Counted::Replayed => &mut self.replayed,
            Counted::Busy
            | Counted::Unavailable
            | Counted::Unknown
            | Counted::Abandoned
            | Counted::Damaged => &mut self.failed,
            counted if counted.is_known() => &mut self.rejected_from_memory,
            _ => &mut self.rejected_by_ledger,
        }
    }
}

fn latency(status: &Status) -> LatencyJson {
    let cores = || status.selling.counts.iter();
    let queues = || cores().filter_map(|core| core.ledger.get());
    let histogram = |tally: Tally| {
        let (bounds, larger) = tally.from_power(0);
        let counts = bounds.into_iter().map(|(_, count)| count).chain([larger]).collect();
        HistogramJson { sum: tally.sum, counts }
    };
    LatencyJson {
        purchase_us: histogram(Tally::of(cores().map(|core| &core.purchases_us))),
        queued_ms: histogram(Tally::of(queues().map(|core| &core.queued_ms))),
        round_trip_us: histogram(Tally::of(queues().map(|core| &core.round_trip_us))),
        batch_commands: histogram(Tally::of(queues().map(|core| &core.commands))),
        fdatasync_us: status
            .store
            .as_ref()
            .map(|store| histogram(Tally::of([&store.sync_us].into_iter()))),
    }
}

fn ledger(status: &Status) -> LedgerJson {
    let up = status.ledger_up.iter();
    let (refused, count) = status.selling.refused_sales.list(REFUSED_SALES_SHOWN_MAX);
    let shown = |(sale, reason)| RefusedJson { sale, reason };
    let due = status.store.as_ref().map_or(&status.background.sweep_due, |store| &store.expiry_due);
    LedgerJson {
        kind: if status.store.is_some() { "embedded" } else { "redis" },
        cores_up: up.filter(|up| up.load(std::sync::atomic::Ordering::Relaxed)).count(),
        refused_sales: refused.into_iter().map(shown).collect(),
        refused_sales_count: count,
        sweep_lag_ms: age_ms(due),
        allowance_units: status.selling.allowance_left(),
    }
}

fn orders(status: &Status) -> Option<OrdersJson> {
    let (store, to) = (status.store.as_ref()?, status.config.orders.as_ref()?);
    let webhooks = &status.background.webhooks;
    if to.database().is_none() {
        return Some(OrdersJson {
            to: "webhooks",
            lag_ms: age_ms(&webhooks.oldest),
            lag_records: None,
            webhooks: Some(WebhooksJson {
                waiting: webhooks.waiting.get(),
                delivered: webhooks.delivered.get(),
                failed: webhooks.failed.get(),
                dead_letters: webhooks.dead.get(),
            }),
        });
    }
    // The position of the orders is read first: the ledger can only advance meanwhile.
    let position = store.orders.position();
    Some(OrdersJson {
        to: "database",
        lag_ms: age_ms(&store.orders.behind),
        lag_records: position.map(|position| store.records.get().saturating_sub(position)),
        webhooks: None,
    })
}

fn lease(status: &Status) -> LeaseJson {
    let lease = &status.background.lease;
    let good = Duration::from_millis(LEASE_MS);
    let left = lease.renewed.elapsed().map_or(Duration::ZERO, |ago| good.saturating_sub(ago));
    LeaseJson {
        members: lease.members.get(),
        cores: lease.cores.get(),
        remaining_ms: left.as_millis() as u64,
        renewal_failures: lease.failures.get(),
    }
}

fn age_ms(since: &Moment) -> u64 {
    since.elapsed().unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_in_exactly_one_sum() {
        let mut sums = Sums::default();
        for counted in Counted::ALL {
            sums[counted as usize] = 1;
        }
        let purchases = PurchasesJson::of(&[sums, sums]);
        let want = PurchasesJson {
            granted: 2,
            replayed: 2,
            rejected_from_memory: 6,
            rejected_by_ledger: 2 * (Counted::ALL.len() as u64 - 10),
            failed: 10,
        };
        assert_eq!(purchases, want);
    }
}
