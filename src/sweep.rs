//! The sweep of a Redis ledger: returns units to stock that were held past their deadline, for
//! every sale, whether or not there are requests for it.
//!
//! Every instance has one, a thread with its own blocking connection, and none leads. The ledger
//! decides in one step which reservations have expired, so two sweeps of the same sale do no harm,
//! and one that dies is not missed. The sweep learns of sales from the index in Redis. The stream
//! beside it and the cores of its server report which sales may have been created anew.
//! [`Schedule`] decides when to probe which sale.
//!
//! Architecture invariant: it knows no core and no HTTP, and never decides by this machine's time.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::background::BackgroundStats;
use crate::ledger::client::Client;
use crate::ledger::redis::{EntryId, RedisClient, RedisLedger};
use crate::ledger::{Batch, Group, GroupReply, LedgerError};
use crate::limits::{
    EXPIRE_BATCH_MAX, RECONNECT_BACKOFF_MS_MAX, RECONNECT_BACKOFF_MS_MIN, REFUSAL_LOG_INTERVAL_MS,
    SWEEP_CLUSTER_ANSWER_DEADLINE_MS, SWEEP_COUNT_INTERVAL_MS, SWEEP_EXPIRE_MIN, SWEEP_SALES_MAX,
    SWEEP_SCAN_INTERVAL_MS,
};
use crate::sale::{Command, Outcome, SaleId, Split};
use crate::splits;

mod access;
mod schedule;

pub use access::{News, SweepLedger};
pub use schedule::{Probe, ProbeResult, Schedule};

/// The running sweep. Dropping it ends it at its next step.
pub struct Sweep {
    _running: Sender<()>,
}

impl Sweep {
    /// Starts the sweep. It waits for a Redis that is away.
    pub fn start(ledger: Arc<RedisLedger>, background: Arc<BackgroundStats>) -> io::Result<Self> {
        background.sweep_due.set(Instant::now());
        let (running, stop) = mpsc::channel();
        let is_cluster = ledger.is_cluster();
        let mut client = RedisClient::new(ledger, "stampede-sweep");
        if is_cluster {
            // The sales of all nodes wait for a node that does not answer.
            client.set_answer_time(Duration::from_millis(SWEEP_CLUSTER_ANSWER_DEADLINE_MS));
        }
        let body = move || {
            let mut clock = MonotonicClock { last: Instant::now(), passed: Duration::ZERO };
            let mut sweeper = Sweeper::new(client, || clock.now_ms(), background);
            let wait = |ms| stop.recv_timeout(Duration::from_millis(ms));
            while wait(sweeper.step()) == Err(RecvTimeoutError::Timeout) {}
        };
        thread::Builder::new().name("sweep".into()).spawn(body)?;
        Ok(Self { _running: running })
    }
}

/// Time since the start. It never goes back, and a change of the machine's clocks stops it for at
/// most one step.
struct MonotonicClock {
    last: Instant,
    passed: Duration,
}

impl MonotonicClock {
    fn now_ms(&mut self) -> u64 {
        let now = Instant::now();
        self.passed += now.saturating_duration_since(self.last);
        self.last = now;
        u64::try_from(self.passed.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The body of a sweep: one [`step`](Self::step) after the other.
pub struct Sweeper<L, T> {
    client: L,
    /// Milliseconds since the start.
    now_ms: T,
    background: Arc<BackgroundStats>,
    schedule: Schedule,
    /// The ledger can't be reached.
    away: bool,
    backoff_ms: u64,
    /// Why the index could not be read the last time.
    index_error: Option<LedgerError>,
    /// The connection from which the schedule's knowledge comes.
    connections: u64,
    /// The last entry of the stream of created sales.
    made: EntryId,
    /// The number of members of the index when it was read.
    counted: Option<u64>,
    count_at_ms: u64,
    scan_at_ms: u64,
    refusal_logged_ms: Option<u64>,
    /// Sales whose refusal has already been logged.
    logged: HashSet<SaleId>,
}

impl<L: SweepLedger, T: FnMut() -> u64> Sweeper<L, T> {
    /// A sweep that knows no sale yet. `now_ms` returns the milliseconds since its start.
    pub fn new(client: L, now_ms: T, background: Arc<BackgroundStats>) -> Self {
        Self {
            client,
            now_ms,
            background,
            schedule: Schedule::default(),
            away: false,
            backoff_ms: RECONNECT_BACKOFF_MS_MIN,
            index_error: None,
            connections: 0,
            made: EntryId::default(),
            counted: None,
            count_at_ms: 0,
            scan_at_ms: 0,
            refusal_logged_ms: None,
            logged: HashSet::new(),
        }
    }

    /// Does what is due. Returns how long to wait until the next step, in ms: after a failure longer
    /// each time.
    pub fn step(&mut self) -> u64 {
        match self.round() {
            Ok(wait_ms) => {
                if self.away {
                    tracing::info!("expired units return to stock again");
                }
                (self.away, self.backoff_ms) = (false, RECONNECT_BACKOFF_MS_MIN);
                wait_ms
            }
            Err(error) => {
                if !self.away {
                    tracing::warn!(%error, "expired units can't be returned to stock for now");
                }
                self.away = true;
                let wait_ms = self.backoff_ms;
                self.backoff_ms = (wait_ms * 2).min(RECONNECT_BACKOFF_MS_MAX);
                wait_ms
            }
        }
    }

    /// Does what is due. Returns the time until the next probe, in ms.
    fn round(&mut self) -> Result<u64, LedgerError> {
        let mut now_ms = (self.now_ms)();
        if now_ms >= self.count_at_ms {
            self.count_at_ms = now_ms + SWEEP_COUNT_INTERVAL_MS;
            // Without the index, units of known sales still return to stock.
            self.index_error = self.read_index(now_ms).err();
            now_ms = (self.now_ms)();
        }
        if self.connections != self.client.connections() {
            // The connection may lead to another Redis, or to one that has lost data.
            if self.connections > 0 {
                self.made = EntryId::default();
            }
            self.connections = self.client.connections();
            self.schedule.invalidate_all(now_ms);
        }
        loop {
            let probes = self.schedule.due(now_ms, SWEEP_SALES_MAX);
            if probes.is_empty() {
                break;
            }
            if let Err(error) = self.probe(&probes) {
                self.schedule.invalidate_all(now_ms);
                return Err(error);
            }
            now_ms = (self.now_ms)();
            if now_ms >= self.count_at_ms {
                // Enough for this round: check for new sales and for the end of the sweep.
                break;
            }
        }
        if let Some(error) = &self.index_error {
            return Err(error.clone());
        }
        let next_ms = self.schedule.next_ms().unwrap_or(u64::MAX).min(self.count_at_ms);
        // Only after a complete round: an overdue probe stays overdue if something failed.
        match next_ms.checked_sub(now_ms) {
            Some(wait_ms) => {
                self.background.sweep_due.set(Instant::now() + Duration::from_millis(wait_ms));
            }
            None => self.background.sweep_due.set_ago(Duration::from_millis(now_ms - next_ms)),
        }
        Ok(next_ms.saturating_sub(now_ms))
    }

    /// Reads the list of sales, if it may have changed, and which sales may have been replaced.
    fn read_index(&mut self, now_ms: u64) -> Result<(), LedgerError> {
        match self.client.take_notified() {
            Some(sales) => sales.iter().for_each(|sale| self.schedule.invalidate(sale, now_ms)),
            None => self.schedule.invalidate_all(now_ms),
        }
        let (count, made) = self.client.news(self.made)?;
        if let Some((sales, last)) = made {
            self.made = last;
            sales.iter().for_each(|sale| self.schedule.invalidate(sale, now_ms));
        }
        if Some(count) == self.counted && now_ms < self.scan_at_ms {
            return Ok(());
        }
        let sales: HashSet<SaleId> = self.client.sales()?.into_iter().collect();
        self.schedule.set_listed(&sales, now_ms);
        (self.counted, self.scan_at_ms) = (Some(count), now_ms + SWEEP_SCAN_INTERVAL_MS);
        Ok(())
    }

    /// Probes some sales in one round trip.
    fn probe(&mut self, probes: &[Probe]) -> Result<(), LedgerError> {
        // A round trip blocks Redis while it runs, so many sales share what one may do.
        let share = EXPIRE_BATCH_MAX / u32::try_from(probes.len()).unwrap_or(u32::MAX);
        let expire = Command::Expire { batch_max: share.max(SWEEP_EXPIRE_MIN) };
        let group = |probe: &Probe| Group {
            sale: probe.sale.clone(),
            commands: if probe.define {
                vec![Command::Show, expire.clone()]
            } else {
                vec![expire.clone()]
            },
        };
        let batch = Batch { groups: probes.iter().map(group).collect() };
        let sent_ms = (self.now_ms)();
        let replies = self.client.apply_each(&batch)?;
        let now_ms = (self.now_ms)();

        let (mut gone, mut unlisted, mut heads) = (Vec::new(), Vec::new(), Vec::new());
        for (probe, reply) in probes.iter().zip(replies) {
            match reply {
                Ok(GroupReply { free: None, .. }) => {
                    self.client.clear_refused(&probe.sale);
                    gone.push(&probe.sale);
                }
                Ok(reply) => {
                    self.client.note_reply(&probe.sale, Ok(&reply));
                    self.logged.remove(&probe.sale);
                    if let Some(Outcome::Sale(view)) = reply.outcomes.first()
                        && let Split::Head { parts } = view.spec.split
                    {
                        heads.push((probe.sale.clone(), parts));
                    }
                    let result = probe_result(&reply, sent_ms, now_ms);
                    if !self.schedule.on_probed(&probe.sale, &result) {
                        unlisted.push(&probe.sale);
                    }
                }
                Err(error) => {
                    self.schedule.on_refused(&probe.sale, now_ms);
                    let noted = match &error {
                        LedgerError::Refused(text) => {
                            self.client.note_reply(&probe.sale, Err(text))
                        }
                        LedgerError::Lost(_) => false,
                    };
                    if !noted {
                        self.log_refusal(&probe.sale, &error, now_ms);
                    }
                }
            }
        }
        for (sale, parts) in heads {
            if let Err(error) = self.finish_transfers(&sale, parts) {
                self.log_refusal(&sale, &error, now_ms);
            }
        }
        for sale in &gone {
            self.schedule.forget(sale);
            self.logged.remove(*sale);
        }
        // If either fails, the next reading of the index repeats it.
        let _ = self.client.forget(&gone);
        let _ = self.client.register(&unlisted);
        Ok(())
    }

    /// Completes transfers between parts of a split sale whose sender died: until then only a
    /// search for units finds them.
    fn finish_transfers(&mut self, head: &SaleId, parts: u32) -> Result<(), LedgerError> {
        let mut client: &mut dyn Client = &mut self.client;
        let Some(places) = splits::view_places(&mut client, head, parts)? else { return Ok(()) };
        splits::resend_lost(&mut client, head, parts, &places.received_but_not_sent(&places))?;
        splits::finish_transfers(&mut client, head, parts, &places.in_transit())
    }

    /// Logs once per sale while the refusal lasts, and not for many sales at once.
    fn log_refusal(&mut self, sale: &SaleId, error: &LedgerError, now_ms: u64) {
        if self.refusal_logged_ms.is_none_or(|last| now_ms >= last + REFUSAL_LOG_INTERVAL_MS)
            && self.logged.insert(sale.clone())
        {
            self.refusal_logged_ms = Some(now_ms);
            tracing::warn!(%sale, %error, "expired units can't be returned to stock");
        }
    }
}

/// When to probe again, according to a reply.
fn probe_result(reply: &GroupReply, sent_ms: u64, now_ms: u64) -> ProbeResult {
    let mut result = ProbeResult { sent_ms, now_ms, hold_ms: None, more: false, due_in_ms: None };
    for outcome in &reply.outcomes {
        match outcome {
            Outcome::Sale(view) => result.hold_ms = Some(view.spec.hold_ms),
            Outcome::Released { more, next_due_ms, .. } => {
                result.more = *more;
                // By the ledger's own time, since this machine's clock may be wrong. One more,
                // since both sides truncate a part of a millisecond.
                result.due_in_ms =
                    next_due_ms.map(|due_ms| due_ms.saturating_sub(reply.now_ms) + 1);
            }
            _ => {}
        }
    }
    result
}
