//! Changes out of the sales' streams in Redis, as one of the workers of a consumer group.
//!
//! Each sale's stream is read on its own, many in one round trip, never several in one command:
//! streams of different sales may be on different nodes. A stream that has something is read again
//! at once, one that has nothing after a pause that grows to a second, so that thousands of idle
//! sales cost little. What was given to this worker before (a lost answer, a restart under the same
//! name) is read first; what was given to a worker that died is claimed after a while.
//!
//! Architecture invariant: knows nothing of databases.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::entry::{Entry, changes, entries, log_deleted};
use super::source::{Lag, Source, SourceCounts, SourceError};
use crate::ledger::LedgerError;
use crate::ledger::client::Client;
use crate::ledger::redis::{EntryId, Pipeline, RedisClient, RedisLedger, text};
use crate::limits::{BATCH_MAX, CONSUMER_ALIVE_MS, CONSUMER_GONE_MS};
use crate::sale::{Change, SaleId};

mod alone;
mod care;
mod lag;

/// Streams read in one round trip.
const STREAMS_PER_ROUND: usize = 256;
/// Entries of one stream in one reply, at most.
const ENTRIES_MAX: usize = 1_000;
/// Entries acknowledged by one command.
const ACKNOWLEDGE_MAX: usize = 1_000;
/// First and longest pause of a stream that has nothing.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The same of one whose sale is no longer there.
const GONE_PAUSE_MAX: Duration = Duration::from_secs(60);
// A living worker is neither taken out of its group nor its group ended under it.
const _: () = assert!(CONSUMER_ALIVE_MS > 2 * PAUSE_MAX.as_millis() as u64);
const _: () = assert!(CONSUMER_GONE_MS > 10 * GONE_PAUSE_MAX.as_millis() as u64);
/// Time in which many streams are gathered for a round.
const GATHER: Duration = Duration::from_millis(20);
/// Pause of a stream on which a command failed: somebody must see to it.
const FAULT_PAUSE: Duration = Duration::from_secs(10);
/// Time between two looks for new sales: at their number, and at the sales themselves.
const COUNT_INTERVAL: Duration = Duration::from_millis(250);
const INDEX_INTERVAL: Duration = Duration::from_secs(5);
/// Time until a stream is cared for of which something was acknowledged.
const CARE_INTERVAL: Duration = Duration::from_secs(10);
/// Unreadable entries that are remembered, so that each is told once.
const UNREADABLE_MAX: usize = 10_000;

/// Which worker of which group this is.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// The consumer group. Each group gets every change.
    pub group: String,
    /// The name of this worker in it, different from every other's.
    pub consumer: String,
    /// An entry that a worker has had for so long without acknowledging it goes to another.
    pub claim_after: Duration,
    /// A worker without entries that was not heard of for this long, and twice `claim_after`, is
    /// taken out of the group.
    pub gone_after: Duration,
    /// It must be the only worker of its group: so the changes of a reservation come in order.
    pub alone: bool,
}

/// See the module's header.
pub struct StreamSource {
    ledger: Arc<RedisLedger>,
    client: RedisClient,
    options: StreamOptions,
    streams: Vec<Stream>,
    /// Where the next round begins to look, so that every stream has its turn.
    turn: usize,
    known: HashSet<SaleId>,
    sales_count: u64,
    count_at: Option<Instant>,
    index_at: Option<Instant>,
    /// What [`Source::next`] gave and nobody has acknowledged.
    given: Vec<(usize, EntryId)>,
    unreadable: HashSet<(SaleId, EntryId)>,
    /// Every group that reads the sales' streams: nothing is trimmed that one of them lacks.
    groups: Vec<String>,
    counts: SourceCounts,
    /// Changes in an entry, lately.
    changes_per_entry: f64,
    /// Whether the last answer was lost: what was in it is ours, and pending.
    lost: bool,
    /// Whether the log has it that a group's care is refused.
    care_refused: bool,
}

/// One sale's stream.
struct Stream {
    sale: SaleId,
    key: String,
    /// While we read what was given to us before: the last of it that we have seen.
    own_from: Option<EntryId>,
    look_at: Instant,
    pause: Duration,
    claim_at: Instant,
    care_at: Instant,
    /// Our group is there: else its part of the stream would not be kept when it is trimmed.
    grouped: bool,
    /// Something was acknowledged since it was last trimmed.
    dirty: bool,
    faulty: bool,
    /// Its sale is not in the index.
    gone: bool,
}

impl StreamSource {
    /// Connects, and looks for sales.
    pub fn connect(ledger: Arc<RedisLedger>, options: StreamOptions) -> Result<Self, SourceError> {
        let mut source = Self {
            client: RedisClient::new(ledger.clone(), "stampede-orders"),
            ledger,
            options,
            streams: Vec::new(),
            turn: 0,
            known: HashSet::new(),
            sales_count: 0,
            count_at: None,
            index_at: None,
            given: Vec::new(),
            unreadable: HashSet::new(),
            groups: Vec::new(),
            counts: SourceCounts::default(),
            changes_per_entry: BATCH_MAX as f64,
            lost: false,
            care_refused: false,
        };
        source.discover()?;
        if source.options.alone {
            source.take_over()?;
        }
        Ok(source)
    }

    /// One round trip, or why there was none.
    fn exchange(&mut self, commands: &Pipeline) -> Result<Vec<Value>, SourceError> {
        self.client.connect().map_err(|error| match error.is_fatal() {
            true => SourceError::Fatal(error.to_string()),
            false => SourceError::Away(error.to_string()),
        })?;
        let replies = self.client.pipeline(commands).map_err(|error| {
            self.lost |= matches!(error, LedgerError::Lost(_));
            SourceError::Away(error.to_string())
        })?;
        // Of what concerns Redis as a whole, one reply is enough to know.
        for reply in &replies {
            let Value::ServerError(error) = reply else { continue };
            let told = format!("{} {}", error.code(), error.details().unwrap_or_default());
            match error.code() {
                "NOPERM" => {
                    return Err(SourceError::Fatal(format!(
                        "this user of Redis may not read the sales' streams as a group: it needs \
                         the commands XREADGROUP, XGROUP, XACK, XAUTOCLAIM, XINFO, XPENDING, \
                         XRANGE, XLEN, TIME and EVAL ({told})"
                    )));
                }
                "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "OOM" | "MISCONF" | "BUSY" => {
                    self.lost = true;
                    return Err(SourceError::Away(told));
                }
                "READONLY" => {
                    // It is a replica now: a connection made anew finds the primary, or says so.
                    self.client = RedisClient::new(self.ledger.clone(), "stampede-orders");
                    self.lost = true;
                    return Err(SourceError::Away(told));
                }
                _ => {}
            }
        }
        Ok(replies)
    }

    /// Looks for sales that we don't know yet: often at how many there are, now and then at all.
    fn discover(&mut self) -> Result<(), SourceError> {
        let due = |at: Option<Instant>, interval| at.is_none_or(|at| at.elapsed() >= interval);
        let all = due(self.index_at, INDEX_INTERVAL);
        if !all && !due(self.count_at, COUNT_INTERVAL) {
            return Ok(());
        }
        // The client's own calls don't tell a failure that passes from one that doesn't.
        self.exchange(Pipeline::new().add(&[b"PING"]))?;
        let judge = |error: LedgerError| {
            let text = error.to_string();
            let fatal = ["NOPERM", "WRONGTYPE"].iter().any(|code| text.contains(code));
            if fatal { SourceError::Fatal(text) } else { SourceError::Away(text) }
        };
        let count = self.client.sales_count().map_err(judge)?;
        self.count_at = Some(Instant::now());
        if !all && count == self.sales_count {
            return Ok(());
        }
        let sales: HashSet<SaleId> = self.client.sales().map_err(judge)?.into_iter().collect();
        for stream in &mut self.streams {
            let gone = !sales.contains(&stream.sale);
            if stream.gone && !gone {
                // Made anew under its name.
                (stream.look_at, stream.pause, stream.grouped) =
                    (Instant::now(), Duration::ZERO, false);
            }
            stream.gone = gone;
        }
        for sale in sales {
            if self.known.insert(sale.clone()) {
                let key = self.client.codec().keys().of(&sale).stream();
                self.streams.push(Stream::new(sale, key, self.options.claim_after));
            }
        }
        self.sales_count = count;
        self.groups = self.client.join_groups(&self.options.group).map_err(judge)?;
        self.index_at = Some(Instant::now());
        self.check_alone()
    }

    /// Streams whose turn it is to be read, in turn.
    fn due(&mut self) -> Vec<usize> {
        let now = Instant::now();
        let count = self.streams.len();
        let in_turn = (0..count).map(|i| (self.turn + i) % count);
        let due: Vec<_> =
            in_turn.filter(|&at| self.streams[at].look_at <= now).take(STREAMS_PER_ROUND).collect();
        if let Some(last) = due.last() {
            self.turn = (last + 1) % count;
        }
        due
    }

    /// Reads each of these streams once. Whether any of them had something.
    fn round(
        &mut self,
        due: &[usize],
        room: usize,
        out: &mut Vec<Change>,
    ) -> Result<bool, SourceError> {
        let entries_wanted = room as f64 / due.len() as f64 / self.changes_per_entry.max(1.0);
        let count = (entries_wanted as usize).clamp(1, ENTRIES_MAX).to_string();
        let mut reads = Pipeline::new();
        for &at in due {
            let stream = &self.streams[at];
            let from = stream.own_from.map_or_else(|| ">".to_owned(), |id| id.to_string());
            reads.add(&[
                b"XREADGROUP",
                b"GROUP",
                self.options.group.as_bytes(),
                self.options.consumer.as_bytes(),
                b"COUNT",
                count.as_bytes(),
                b"STREAMS",
                stream.key.as_bytes(),
                from.as_bytes(),
            ]);
        }
        let replies = self.exchange(&reads)?;
        let mut missing = Vec::new();
        let mut any = false;
        for (&at, reply) in due.iter().zip(replies) {
            match reply {
                Value::ServerError(error) if error.code() == "NOGROUP" => missing.push(at),
                Value::ServerError(error) => {
                    let told = error.details().unwrap_or_default().to_owned();
                    self.fault(at, &format!("{} {told}", error.code()));
                }
                reply => match read_one(reply) {
                    Some(found) => any |= self.take(at, found, out),
                    None => self.fault(at, "an answer that lists no entries"),
                },
            }
        }
        self.create_groups(&missing)?;
        Ok(any)
    }

    /// Takes what one stream had. Whether that was something.
    fn take(&mut self, at: usize, found: Vec<Entry>, out: &mut Vec<Change>) -> bool {
        let now = Instant::now();
        let stream = &mut self.streams[at];
        (stream.faulty, stream.grouped) = (false, true);
        if found.is_empty() {
            if stream.own_from.take().is_some() {
                stream.look_at = now;
                return true;
            }
            stream.rest();
            return false;
        }
        (stream.pause, stream.look_at) = (Duration::ZERO, now);
        if stream.own_from.is_some() {
            stream.own_from = found.last().map(|entry| entry.id);
        }
        for entry in found {
            self.take_entry(at, entry, out);
        }
        true
    }

    fn take_entry(&mut self, at: usize, entry: Entry, out: &mut Vec<Change>) {
        let sale = self.streams[at].sale.clone();
        let Some(fields) = entry.fields else {
            // It will never be read: what is left of it is its place among the pending.
            log_deleted(&sale, entry.id);
            self.given.push((at, entry.id));
            return;
        };
        let before = out.len();
        match changes(&sale, entry.id, &fields, out) {
            Ok(()) => {
                self.given.push((at, entry.id));
                let count = (out.len() - before) as f64;
                // Up at once and down slowly: an answer that is too large is worse than one more.
                let lately = self.changes_per_entry + (count - self.changes_per_entry) / 16.0;
                self.changes_per_entry = lately.max(count);
            }
            Err(why) => self.note_unreadable(sale, entry.id, &why),
        }
    }

    /// An entry that stays pending, for somebody to look at. Told once.
    fn note_unreadable(&mut self, sale: SaleId, id: EntryId, why: &str) {
        if self.unreadable.len() < UNREADABLE_MAX && self.unreadable.insert((sale.clone(), id)) {
            self.counts.unreadable += 1;
            tracing::error!(%sale, entry = %id, reason = why, "stream entry can't be read; it stays pending");
        }
    }

    fn fault(&mut self, at: usize, why: &str) {
        let stream = &mut self.streams[at];
        stream.look_at = Instant::now() + FAULT_PAUSE;
        if !std::mem::replace(&mut stream.faulty, true) {
            tracing::error!(sale = %stream.sale, key = stream.key, reason = why, "stream can't be read");
        }
    }

    /// Makes the group of streams that have none; there may be no stream either, as long as nothing
    /// was sold.
    fn create_groups(&mut self, missing: &[usize]) -> Result<(), SourceError> {
        if missing.is_empty() {
            return Ok(());
        }
        let mut creates = Pipeline::new();
        let group = self.options.group.as_bytes();
        for &at in missing {
            creates.add(&[b"XGROUP", b"CREATE", self.streams[at].key.as_bytes(), group, b"0"]);
        }
        let replies = self.exchange(&creates)?;
        let now = Instant::now();
        for (&at, reply) in missing.iter().zip(replies) {
            let stream = &mut self.streams[at];
            match reply {
                // Made anew, a stream holds nothing of ours.
                Value::Okay | Value::SimpleString(_) => {
                    stream.own_from = None;
                    stream.look_at = now;
                }
                Value::ServerError(error) if error.code() == "BUSYGROUP" => stream.look_at = now,
                Value::ServerError(error) if error.code() == "ERR" => stream.rest(),
                other => self.fault(at, &format!("XGROUP CREATE answers {other:?}")),
            }
        }
        Ok(())
    }

    fn fill(&mut self, max: usize, wait: Duration) -> Result<Vec<Change>, SourceError> {
        let until = Instant::now() + wait;
        let mut out = Vec::new();
        loop {
            self.discover()?;
            self.care(&mut out)?;
            while out.len() < max {
                let due = self.due();
                if due.is_empty() || !self.round(&due, max - out.len(), &mut out)? {
                    break;
                }
            }
            if !out.is_empty() {
                return Ok(out);
            }
            // A deleted entry has no changes, and is to be acknowledged all the same.
            self.acknowledge()?;
            let now = Instant::now();
            if now >= until {
                return Ok(out);
            }
            thread::sleep(self.next_look(now, until).saturating_duration_since(now));
        }
    }

    /// When there is something to do again. Of many streams one is due all the time: they are
    /// gathered for a little while, so that a round trip is worth it.
    fn next_look(&self, now: Instant, until: Instant) -> Instant {
        let gather = if self.streams.len() > STREAMS_PER_ROUND { GATHER } else { PAUSE_MIN };
        let next = self.streams.iter().map(|stream| stream.look_at).min().unwrap_or(until);
        next.max(now + gather).min(until).min(now + COUNT_INTERVAL)
    }
}

impl Stream {
    fn new(sale: SaleId, key: String, claim_after: Duration) -> Self {
        let now = Instant::now();
        Self {
            sale,
            key,
            own_from: Some(EntryId::default()),
            look_at: now,
            pause: Duration::ZERO,
            claim_at: now + claim_after,
            care_at: now,
            grouped: false,
            dirty: false,
            faulty: false,
            gone: false,
        }
    }

    /// It had nothing: look later, and later again if it still hasn't.
    fn rest(&mut self) {
        let pause_max = if self.gone { GONE_PAUSE_MAX } else { PAUSE_MAX };
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, pause_max);
        self.look_at = Instant::now() + self.pause;
    }
}

/// The entries in the answer to an XREADGROUP of one stream.
fn read_one(reply: Value) -> Option<Vec<Entry>> {
    match reply {
        Value::Nil => Some(Vec::new()),
        Value::Array(mut streams) if streams.len() == 1 => match streams.remove(0) {
            Value::Array(mut pair) if pair.len() == 2 => entries(pair.remove(1)),
            _ => None,
        },
        _ => None,
    }
}

impl Source for StreamSource {
    fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Change>, SourceError> {
        if std::mem::take(&mut self.lost) {
            for stream in &mut self.streams {
                (stream.own_from, stream.look_at) = (Some(EntryId::default()), Instant::now());
            }
        }
        let found = self.fill(max, wait);
        if found.is_err() {
            // What was read before the failure goes nowhere: read it again.
            self.given.clear();
            self.lost = true;
        }
        found
    }

    fn acknowledge(&mut self) -> Result<(), SourceError> {
        if self.given.is_empty() {
            return Ok(());
        }
        let mut given = self.given.clone();
        given.sort_unstable();
        let mut acknowledge = Pipeline::new();
        for of_one in given.chunk_by(|a, b| a.0 == b.0) {
            let key = self.streams[of_one[0].0].key.as_bytes();
            for part in of_one.chunks(ACKNOWLEDGE_MAX) {
                let ids: Vec<String> = part.iter().map(|(_, id)| id.to_string()).collect();
                let mut arguments: Vec<&[u8]> = vec![b"XACK", key, self.options.group.as_bytes()];
                arguments.extend(ids.iter().map(|id| id.as_bytes()));
                acknowledge.add(&arguments);
            }
        }
        self.exchange(&acknowledge)?;
        for (at, _) in self.given.drain(..) {
            let stream = &mut self.streams[at];
            if !std::mem::replace(&mut stream.dirty, true) {
                stream.care_at = stream.care_at.min(Instant::now() + CARE_INTERVAL);
            }
            self.counts.entries += 1;
        }
        Ok(())
    }

    fn lag(&mut self) -> Result<Lag, SourceError> {
        self.measure_lag()
    }

    fn leave(&mut self) {
        self.remove_itself();
    }

    fn counts(&self) -> SourceCounts {
        self.counts
    }
}
