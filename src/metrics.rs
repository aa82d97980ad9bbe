//! `/metrics`: what the cores have counted, put together when somebody asks.
//!
//! Architecture invariant: it reads what others write, and asks no core and no ledger. While it reads the
//! lists of sales, a core that meets a sale for the first time waits for it.

mod format;
mod sheet;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::{Registry, Unit};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::count::Tally;
use crate::engine::counts::{Counts, End};
use crate::ledger::counts::LedgerCounts;
use crate::limits::REFUSED_SALES_SHOWN_MAX;
use crate::purchase::{Counted, Sums};
use crate::status::Status;

pub use format::Format;
use sheet::Sheet;

/// What the others are told under, when the busiest sales have names of their own.
const OTHER_SALES: &str = "";
/// The first bound of durations in microseconds: 64 us.
const DURATION_POWER: usize = 6;

/// See the module's header.
pub struct Metrics(Registry);

impl Metrics {
    /// Of a running server.
    pub fn new(status: Arc<Status>) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process { started_s: started.as_secs_f64() }));
        let stampede = registry.sub_registry_with_prefix("stampede");
        stampede.register_collector(Box::new(Server(status)));
        Self(registry)
    }

    /// All of them, as they are now.
    pub fn write(&self, format: Format) -> Vec<u8> {
        let mut open_metrics = String::new();
        if let Err(error) = text::encode(&mut open_metrics, &self.0) {
            tracing::error!(%error, "metrics can't be written");
        }
        format.of(open_metrics).into_bytes()
    }
}

/// The server's own.
struct Server(Arc<Status>);

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl Collector for Server {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        let status = &*self.0;
        sheet.info("build", "The version that runs.", &[("version", env!("CARGO_PKG_VERSION"))])?;
        write_purchases(&mut sheet, status)?;
        write_ledger(&mut sheet, status)?;
        write_connections(&mut sheet, status)
    }
}

fn write_purchases(sheet: &mut Sheet<'_>, status: &Status) -> fmt::Result {
    let (named, others) = status.selling.sales.read(Instant::now());
    let strangers = status.selling.counts.iter().map(|core| core.strangers_sums());
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
    sheet.counters(
        "purchases",
        "Purchases by what became of them. Refusals from memory asked nobody. The busiest sales have \
         a name, the others none.",
        None,
        series,
    )?;
    sheet.histogram(
        "purchase_duration",
        "From when a purchase came until its answer was written, of those that asked the ledger.",
        Some((Unit::Seconds, 1e6)),
        DURATION_POWER,
        &Tally::of(status.selling.counts.iter().map(|core| &core.purchases_us)),
    )?;
    sheet.gauge(
        "allowance_units",
        "Units that this server may still ask the ledger for, over all sales it was asked for.",
        status.selling.allowance_left(),
    )
}

fn write_ledger(sheet: &mut Sheet<'_>, status: &Status) -> fmt::Result {
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
    )
}

fn write_connections(sheet: &mut Sheet<'_>, status: &Status) -> fmt::Result {
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
    let ended = |why: End| engine.counts.iter().map(|core| core.ended[why as usize].get()).sum();
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
    let ticks = engine.ticks.iter().enumerate();
    let ticks = ticks.map(|(core, ticks)| (core.to_string(), ticks.load(Ordering::Relaxed)));
    let ticks: Vec<_> = ticks.collect();
    let by_core = ticks.iter().map(|(core, ticks)| ([("core", &**core)], *ticks));
    sheet.counters(
        "core_ticks",
        "Ticks by core, 20 per second: one that stands still is stuck.",
        None,
        by_core,
    )?;
    let ready = !status.is_leaving() && status.ledger_is_up();
    sheet.gauge("ready", "1 while /readyz is 200.", u64::from(ready))
}

/// What every process tells, under the names that all give them.
#[derive(Debug)]
struct Process {
    started_s: f64,
}

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let used_s = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        sheet.counter("process_cpu", "CPU time used.", Some(Unit::Seconds), used_s)?;
        sheet.gauge_of(
            "process_start_time",
            "When the process began, since 1970.",
            Some(Unit::Seconds),
            self.started_s,
        )?;
        if let Some(bytes) = resident_bytes() {
            sheet.gauge_of(
                "process_resident_memory",
                "Memory in use.",
                Some(Unit::Bytes),
                bytes,
            )?;
        }
        // Linux 6.2 and later tell how many there are without a list of them.
        if let Some(open) = std::fs::metadata("/proc/self/fd").ok().filter(|fd| fd.len() > 0) {
            sheet.gauge("process_open_fds", "Descriptors open.", open.len())?;
        }
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        sheet.gauge("process_max_fds", "Descriptors that may be open.", most)
    }
}

fn resident_bytes() -> Option<f64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some((pages * rustix::param::page_size() as u64) as f64)
}
