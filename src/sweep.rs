//! The sweep of a Redis ledger: returns to stock what was held past its deadline, for every sale
//! there is, whether anybody asks for it or not.
//!
//! Every instance has one, a thread with a blocking connection of its own, and none leads: the
//! ledger decides what has expired, in one step, so two that sweep the same sale do no harm, and one
//! that dies is not missed. It learns of sales from the index in Redis, and from the stream beside it
//! and the cores of its server which of them may have been made anew; [`Schedule`] says when to look
//! at which.
//!
//! Architecture invariant: it knows no core and no HTTP, and never decides by this machine's time.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

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
use crate::upkeep::Upkeep;

mod schedule;

pub use schedule::{Look, Schedule, Seen};

/// The running sweep. It ends, at its next step, when this is dropped.
pub struct Sweep {
    _running: Sender<()>,
}

impl Sweep {
    /// Starts it. It waits for a Redis that is away.
    pub fn start(ledger: Arc<RedisLedger>, upkeep: Arc<Upkeep>) -> io::Result<Self> {
        upkeep.sweep_due.set(Instant::now());
        let (running, stop) = mpsc::channel();
        let is_cluster = ledger.is_cluster();
        let mut client = RedisClient::new(ledger, "stampede-sweep");
        if is_cluster {
            // Sales of all nodes wait for the one that does not answer.
            client.set_answer_time(Duration::from_millis(SWEEP_CLUSTER_ANSWER_DEADLINE_MS));
        }
        let body = move || Sweeper::new(client, upkeep).run(&stop);
        thread::Builder::new().name("sweep".into()).spawn(body)?;
        Ok(Self { _running: running })
    }
}

/// Time since the start that never goes back and stands still only for a step, whatever is done to
/// the machine's clocks.
struct Pace {
    last: Instant,
    passed: Duration,
}

impl Pace {
    fn now_ms(&mut self) -> u64 {
        let now = Instant::now();
        self.passed += now.saturating_duration_since(self.last);
        self.last = now;
        u64::try_from(self.passed.as_millis()).unwrap_or(u64::MAX)
    }
}

struct Sweeper {
    client: RedisClient,
    upkeep: Arc<Upkeep>,
    schedule: Schedule,
    pace: Pace,
    /// Why the index could not be read last.
    index_error: Option<LedgerError>,
    /// The connection that the schedule's knowledge comes from.
    connections: u64,
    /// The last entry of the stream that says which sales were made.
    made: EntryId,
    /// How many members the index had when it was read.
    counted: Option<u64>,
    count_at_ms: u64,
    scan_at_ms: u64,
    refusal_logged_ms: Option<u64>,
    /// The sales that are refused and of which that has been said.
    told: HashSet<SaleId>,
}

impl Sweeper {
    fn new(client: RedisClient, upkeep: Arc<Upkeep>) -> Self {
        Self {
            client,
            upkeep,
            schedule: Schedule::default(),
            pace: Pace { last: Instant::now(), passed: Duration::ZERO },
            index_error: None,
            connections: 0,
            made: EntryId::default(),
            counted: None,
            count_at_ms: 0,
            scan_at_ms: 0,
            refusal_logged_ms: None,
            told: HashSet::new(),
        }
    }

    fn run(mut self, stop: &Receiver<()>) {
        let mut backoff_ms = RECONNECT_BACKOFF_MS_MIN;
        let mut away = false;
        loop {
            let wait_ms = match self.round() {
                Ok(wait_ms) => {
                    if away {
                        tracing::info!("expired units return to stock again");
                    }
                    (away, backoff_ms) = (false, RECONNECT_BACKOFF_MS_MIN);
                    wait_ms
                }
                Err(error) => {
                    if !away {
                        tracing::warn!(%error, "expired units can't be returned to stock for now");
                    }
                    away = true;
                    let wait_ms = backoff_ms;
                    backoff_ms = (backoff_ms * 2).min(RECONNECT_BACKOFF_MS_MAX);
                    wait_ms
                }
            };
            match stop.recv_timeout(Duration::from_millis(wait_ms)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does what is due and returns the time until something else is.
    fn round(&mut self) -> Result<u64, LedgerError> {
        let mut now_ms = self.pace.now_ms();
        if now_ms >= self.count_at_ms {
            self.count_at_ms = now_ms + SWEEP_COUNT_INTERVAL_MS;
            // Without the index, what is known already returns to stock all the same.
            self.index_error = self.read_index(now_ms).err();
            now_ms = self.pace.now_ms();
        }
        if self.connections != self.client.connections() {
            // What answers now may be another Redis, or one that has forgotten.
            if self.connections > 0 {
                self.made = EntryId::default();
            }
            self.connections = self.client.connections();
            self.schedule.doubt_all(now_ms);
        }
        loop {
            let looks = self.schedule.due(now_ms, SWEEP_SALES_MAX);
            if looks.is_empty() {
                break;
            }
            if let Err(error) = self.look_at(&looks) {
                self.schedule.doubt_all(now_ms);
                return Err(error);
            }
            now_ms = self.pace.now_ms();
            if now_ms >= self.count_at_ms {
                // However much there is to do: new sales too, and whether it is to end.
                break;
            }
        }
        if let Some(error) = &self.index_error {
            return Err(error.clone());
        }
        let next_ms = self.schedule.next_ms().unwrap_or(u64::MAX).min(self.count_at_ms);
        // Only here: a look that was owed when something failed is owed still.
        match next_ms.checked_sub(now_ms) {
            Some(wait_ms) => {
                self.upkeep.sweep_due.set(Instant::now() + Duration::from_millis(wait_ms));
            }
            None => self.upkeep.sweep_due.set_ago(Duration::from_millis(now_ms - next_ms)),
        }
        Ok(next_ms.saturating_sub(now_ms))
    }

    /// Learns which sales there are, if that may have changed, and which may be others than before.
    fn read_index(&mut self, now_ms: u64) -> Result<(), LedgerError> {
        match self.client.ledger().take_told() {
            Some(sales) => sales.iter().for_each(|sale| self.schedule.doubt(sale, now_ms)),
            None => self.schedule.doubt_all(now_ms),
        }
        let (count, made) = self.client.sales_news(Some(self.made))?;
        if let Some((sales, last)) = made {
            self.made = last;
            sales.iter().for_each(|sale| self.schedule.doubt(sale, now_ms));
        }
        if Some(count) == self.counted && now_ms < self.scan_at_ms {
            return Ok(());
        }
        let sales: HashSet<SaleId> = self.client.sales()?.into_iter().collect();
        self.schedule.set_listed(&sales, now_ms);
        (self.counted, self.scan_at_ms) = (Some(count), now_ms + SWEEP_SCAN_INTERVAL_MS);
        Ok(())
    }

    /// Looks at some sales in one round trip.
    fn look_at(&mut self, looks: &[Look]) -> Result<(), LedgerError> {
        // A round trip holds up Redis for as long as it does, so many sales share what one may do.
        let share = EXPIRE_BATCH_MAX / u32::try_from(looks.len()).unwrap_or(u32::MAX);
        let expire = Command::Expire { batch_max: share.max(SWEEP_EXPIRE_MIN) };
        let group = |look: &Look| Group {
            sale: look.sale.clone(),
            commands: if look.define {
                vec![Command::Show, expire.clone()]
            } else {
                vec![expire.clone()]
            },
        };
        let batch = Batch { groups: looks.iter().map(group).collect() };
        let sent_ms = self.pace.now_ms();
        let replies = self.client.apply_each(&batch)?;
        let now_ms = self.pace.now_ms();

        let (mut gone, mut unlisted, mut heads) = (Vec::new(), Vec::new(), Vec::new());
        for (look, reply) in looks.iter().zip(replies) {
            match reply {
                Ok(GroupReply { free: None, .. }) => {
                    self.client.ledger().refused_sales().clear(&look.sale);
                    gone.push(&look.sale);
                }
                Ok(reply) => {
                    self.client.ledger().note_reply(&look.sale, Ok(&reply));
                    self.told.remove(&look.sale);
                    if let Some(Outcome::Sale(view)) = reply.outcomes.first()
                        && let Split::Head { parts } = view.spec.split
                    {
                        heads.push((look.sale.clone(), parts));
                    }
                    let seen = seen(&reply, sent_ms, now_ms);
                    if !self.schedule.looked(&look.sale, &seen) {
                        unlisted.push(&look.sale);
                    }
                }
                Err(error) => {
                    self.schedule.refused(&look.sale, now_ms);
                    let noted = match &error {
                        LedgerError::Refused(text) => {
                            self.client.ledger().note_reply(&look.sale, Err(text))
                        }
                        LedgerError::Lost(_) => false,
                    };
                    if !noted {
                        self.log_refusal(&look.sale, &error, now_ms);
                    }
                }
            }
        }
        for (sale, parts) in heads {
            if let Err(error) = self.finish_moves(&sale, parts) {
                self.log_refusal(&sale, &error, now_ms);
            }
        }
        for sale in &gone {
            self.schedule.forget(sale);
            self.told.remove(*sale);
        }
        // Neither is worth another look if it fails: the next reading of the index brings it up.
        let _ = self.client.forget(&gone);
        let _ = self.client.register(&unlisted);
        Ok(())
    }

    /// Has units arrive that somebody sent from one part of a split sale to another and who then died:
    /// until then nobody can buy them who does not look for them.
    fn finish_moves(&mut self, head: &SaleId, parts: u32) -> Result<(), LedgerError> {
        let mut client: &mut dyn Client = &mut self.client;
        let Some(places) = splits::look(&mut client, head, parts)? else { return Ok(()) };
        splits::take_back(&mut client, head, parts, &places.from_nowhere(&places))?;
        splits::finish(&mut client, head, parts, &places.under_way())
    }

    /// Once for a sale, as long as it lasts, and not of many at once.
    fn log_refusal(&mut self, sale: &SaleId, error: &LedgerError, now_ms: u64) {
        if self.refusal_logged_ms.is_none_or(|last| now_ms >= last + REFUSAL_LOG_INTERVAL_MS)
            && self.told.insert(sale.clone())
        {
            self.refusal_logged_ms = Some(now_ms);
            tracing::warn!(%sale, %error, "expired units can't be returned to stock");
        }
    }
}

/// What a reply says of when to look again.
fn seen(reply: &GroupReply, sent_ms: u64, now_ms: u64) -> Seen {
    let mut seen = Seen { sent_ms, now_ms, hold_ms: None, more: false, due_in_ms: None };
    for outcome in &reply.outcomes {
        match outcome {
            Outcome::Sale(view) => seen.hold_ms = Some(view.spec.hold_ms),
            Outcome::Released { more, next_due_ms, .. } => {
                seen.more = *more;
                // By the ledger's own time: this machine's may be any. One more, since both sides
                // cut off a part of a millisecond.
                seen.due_in_ms = next_due_ms.map(|due_ms| due_ms.saturating_sub(reply.now_ms) + 1);
            }
            _ => {}
        }
    }
    seen
}
