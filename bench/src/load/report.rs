//! The report of a run: JSON for programs and a page for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::settings::{End, Plan};
use super::tally::{FAILURES, IDS_MAX, Latencies};
use super::worker::Seen;

/// Every figure of a run. The unit ends the name. Latency counts from the sending (closed loop) or the
/// due time (open loop) of a request until its answer is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Answered requests without the warm-up. All other counts refer to these unless they say
    /// otherwise.
    pub requests: u64,
    /// `requests` divided by `seconds`.
    pub requests_per_s: f64,
    /// Time from the first request to the last answer.
    pub seconds: f64,
    /// Answers that granted a ticket.
    pub granted: u64,
    /// Answers that the sale is sold out.
    pub sold_out: u64,
    /// Known answers of other kinds.
    pub others: u64,
    /// Answers by kind. Kinds without an answer are left out.
    pub answers: BTreeMap<String, u64>,
    /// Time from the first request to the first grant; 0 without one.
    pub first_grant_s: f64,
    /// Time from the first request to the last grant; 0 without one.
    pub last_grant_s: f64,
    /// Time from the first request to the last answer of any kind.
    pub last_answer_s: f64,
    /// Latency of all requests. An unanswered or unsent request counts with its waiting time.
    pub latency_us: Percentiles,
    /// Latency of the grants.
    pub granted_latency_us: Percentiles,
    /// Latency of the refusals.
    pub refused_latency_us: Percentiles,
    /// Requests sent in the whole run.
    pub sent: u64,
    /// Answers to requests of the warm-up.
    pub warm_up: u64,
    /// Grants of the whole run with the warm-up, which --total bounds.
    pub granted_in_all: u64,
    /// Grants without a reservation id, which can't be compared.
    pub granted_without_id: u64,
    /// Grants whose ids were not compared, because there were too many.
    pub ids_not_compared: u64,
    /// All failures of `failures_by_kind`.
    pub failures: u64,
    /// Failures by kind.
    pub failures_by_kind: BTreeMap<String, u64>,
    /// Descriptions of the first failures of each kind per thread.
    pub failure_samples: Vec<String>,
    /// Broken rules of the sale, as sentences.
    pub broken_rules: Vec<String>,
    /// Sent requests without an answer, for any reason.
    pub unanswered: u64,
    /// Open loop: due requests that were not sent, because no connection became free.
    pub never_sent: u64,
    /// Open loop: largest number of due requests that waited for a free connection, summed over the
    /// threads.
    pub backlog_max: u64,
    /// Open loop: delay between the due time and the sending of a request with a free connection. It
    /// is the generator's share of the latency.
    pub late_us: Percentiles,
    /// Connections that the server closed in order and that were reopened.
    pub reopened: u64,
    /// With --renew-after: connections closed after their last answer and reopened, in the whole run.
    pub renewed: u64,
    /// TLS: complete handshakes in the whole run.
    pub handshakes: u64,
    /// TLS: handshakes that resumed a session.
    pub resumed: u64,
    /// Time from the start until every connection was open.
    pub connecting_s: f64,
    /// With --watch: CPU time of the server from the first request to the last answer.
    pub watched_cpu_us: Option<f64>,
    /// With --watch: the part of this CPU time in user space.
    pub watched_user_us: Option<f64>,
    /// CPU time of the generator per request, with the kernel.
    pub generator_cpu_us: f64,
    /// Share of time for which the busiest thread had work.
    pub generator_busy: f64,
    /// Whether the generator was nearly always busy and may have been the limit.
    pub generator_saturated: bool,
    /// Whether Ctrl-C ended the run.
    pub interrupted: bool,
    /// Threads.
    pub threads: u64,
    /// Connections of all threads together.
    pub connections: u64,
    /// Requests in flight per connection.
    pub pipeline: u64,
    /// Whether each request had its own connection.
    pub connection_each: bool,
    /// Open loop: requests per second.
    pub rate: Option<f64>,
}

/// Percentiles in microseconds; all 0 without values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // The names say it: p999 is 99.9 of 100.
pub struct Percentiles {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub p9999: f64,
    pub max: f64,
    pub mean: f64,
}

/// A thread that is busy for more than this share counts as saturated.
const SATURATED: f64 = 0.95;

impl Percentiles {
    fn of(latencies: &Latencies) -> Self {
        if latencies.is_empty() {
            return Self::default();
        }
        let at = |percent| us(latencies.value_at_percentile(percent) as f64);
        Self {
            count: latencies.len(),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            p9999: at(99.99),
            max: us(latencies.max() as f64),
            mean: us(latencies.mean()),
        }
    }
}

/// Nanoseconds as microseconds with three decimals.
fn us(ns: f64) -> f64 {
    ns.round() / 1e3
}

impl LoadReport {
    /// Combines the counters of the threads. `None`: there was no thread.
    pub fn new(plan: &Plan, seen: Vec<Seen>, connecting_s: f64, interrupted: bool) -> Option<Self> {
        let busy = |one: &Seen| one.cpu_ns as f64 / one.wall_ns.max(1) as f64;
        let generator_busy = seen.iter().map(busy).fold(0.0, f64::max);
        let cpu_ns: u64 = seen.iter().map(|one| one.cpu_ns).sum();
        let never_sent = seen.iter().map(|one| one.never_sent).sum();
        let backlog_max = seen.iter().map(|one| one.backlog_max).sum();
        let gave_up = seen.iter().any(|one| one.gave_up);
        let mut tally = seen.into_iter().map(|one| one.tally).reduce(|mut sum, one| {
            sum.add(one);
            sum
        })?;
        let mut broken_rules = tally.check(plan.total);
        if gave_up {
            broken_rules.push("too many failures: the run ended early".into());
        }
        if let End::Requests(requests) = plan.end
            && !interrupted
            && tally.answered() + tally.lost < requests
            && !gave_up
        {
            let answered = tally.answered();
            broken_rules.push(format!("only {answered} of {requests} requests got an answer"));
        }
        let mut all = tally.other.clone();
        for part in [&tally.granted, &tally.refused, &tally.waited] {
            // All have the same bounds.
            let added = all.add(part);
            debug_assert!(added.is_ok(), "{added:?}");
        }
        let since_first = |at_ns: Option<u64>| {
            let ns = at_ns.zip(tally.first_ns).map(|(at, first)| at.saturating_sub(first));
            ns.unwrap_or(0) as f64 / 1e9
        };
        let requests = tally.answered();
        let seconds = if requests > 0 { since_first(Some(tally.last_answer_ns)) } else { 0.0 };
        let rate = |count: f64, per: f64| if per > 0.0 { count / per } else { 0.0 };
        let kinds = Kind::all().map(|kind| (kind.name().to_owned(), tally.kinds[kind.index()]));
        let answers: BTreeMap<_, _> = kinds.filter(|(_, count)| *count > 0).collect();
        let failures = FAILURES.iter().map(|name| (*name).to_owned()).zip(tally.failures);
        let of = |name: &str| answers.get(name).copied().unwrap_or(0);
        let (granted, sold_out) = (of("granted"), of("sold_out"));
        Some(Self {
            requests,
            requests_per_s: rate(requests as f64, seconds),
            seconds,
            granted,
            sold_out,
            others: requests - granted - sold_out,
            first_grant_s: since_first(tally.first_grant_ns),
            last_grant_s: since_first(tally.last_grant_ns),
            last_answer_s: seconds,
            latency_us: Percentiles::of(&all),
            granted_latency_us: Percentiles::of(&tally.granted),
            refused_latency_us: Percentiles::of(&tally.refused),
            sent: tally.sent,
            warm_up: tally.warm_up,
            granted_in_all: tally.grants,
            granted_without_id: tally.grants_without_id,
            ids_not_compared: tally.grants - tally.grants_without_id - tally.ids.len() as u64,
            failures: tally.failed(),
            failures_by_kind: failures.filter(|(_, count)| *count > 0).collect(),
            failure_samples: tally.samples,
            broken_rules,
            unanswered: tally.lost,
            never_sent,
            backlog_max,
            late_us: Percentiles::of(&tally.late),
            reopened: tally.reopened,
            renewed: tally.renewed,
            handshakes: tally.handshakes,
            resumed: tally.resumed,
            connecting_s,
            watched_cpu_us: None,
            watched_user_us: None,
            generator_cpu_us: rate(cpu_ns as f64 / 1e3, requests as f64),
            generator_busy,
            generator_saturated: generator_busy > SATURATED,
            interrupted,
            threads: plan.cores.len() as u64,
            connections: u64::from(plan.connections),
            pipeline: u64::from(plan.pipeline),
            connection_each: plan.connection_each,
            rate: plan.rate,
            answers,
        })
    }

    /// Why the run failed, as one sentence. `None`: every answer was correct.
    pub fn complaint(&self) -> Option<String> {
        let mut complaints = self.broken_rules.clone();
        if self.failures > 0 {
            complaints.push(format!("{} failures {:?}", self.failures, self.failures_by_kind));
            complaints.extend(self.failure_samples.iter().map(|sample| format!("  {sample}")));
        }
        (!complaints.is_empty()).then(|| complaints.join("\n"))
    }

    /// The report as a page for people.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing into a String can't fail.
        let _ = self.write_page(&mut page);
        page
    }

    fn write_page(&self, page: &mut String) -> std::fmt::Result {
        let Self { requests, seconds, requests_per_s, .. } = self;
        writeln!(page, "{requests} answers in {seconds:.3} s: {requests_per_s:.0} per second")?;
        for (name, count) in &self.answers {
            writeln!(page, "  {count:>12} {name}")?;
        }
        if self.granted > 0 {
            writeln!(page, "last grant after {:.3} s", self.last_grant_s)?;
        }
        let heading = ["p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"];
        let cells: String = heading.iter().map(|name| format!("{name:>11}")).collect();
        writeln!(page, "{:<22}{cells}", "latency in us")?;
        for (name, row) in [
            ("  everything", &self.latency_us),
            ("  grants", &self.granted_latency_us),
            ("  refusals", &self.refused_latency_us),
            ("  sent late by", &self.late_us),
        ] {
            if row.count > 0 {
                let cells = [row.p50, row.p90, row.p99, row.p999, row.p9999, row.max, row.mean];
                let cells: String = cells.iter().map(|us| format!("{us:>11.1}")).collect();
                writeln!(page, "{name:<22}{cells}")?;
            }
        }
        if self.rate.is_some() {
            let (most, never) = (self.backlog_max, self.never_sent);
            writeln!(page, "waiting for a free connection: at most {most}; not sent: {never}")?;
        }
        for (count, what) in [
            (self.warm_up, "answers of the warm-up, not counted above"),
            (self.reopened, "connections closed by the server and reopened"),
            (self.renewed, "connections closed after their last answer and reopened"),
            (self.handshakes, "TLS handshakes"),
            (self.resumed, "of them resumed"),
            (self.granted_without_id, "grants without a reservation id"),
            (self.unanswered, "requests without an answer"),
        ] {
            if count > 0 {
                writeln!(page, "{count} {what}")?;
            }
        }
        if self.ids_not_compared > 0 {
            writeln!(
                page,
                "{} grants beyond {IDS_MAX} were counted without a comparison of their ids",
                self.ids_not_compared
            )?;
        }
        if let (Some(all), true) = (self.watched_cpu_us, self.requests > 0) {
            writeln!(page, "server: {:.2} us CPU per request", all / self.requests as f64)?;
        }
        let busy = self.generator_busy * 100.0;
        let cpu = self.generator_cpu_us;
        writeln!(page, "generator: {cpu:.2} us CPU per request, busy {busy:.0} % of the time")?;
        if self.generator_saturated {
            writeln!(page, "  SATURATED: the generator may be the limit, not the server")?;
        }
        Ok(())
    }
}
