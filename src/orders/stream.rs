//! Reads changes from the sales' streams in Redis, as one of the workers of a consumer group.
//!
//! Each sale's stream is read on its own, many in one round trip, never several in one command:
//! streams of different sales may be on different nodes. A stream that had entries is read again at
//! once; an empty one after a pause that grows to a second, so that thousands of idle sales cost
//! little. Entries that were delivered to this worker before (a lost answer, a restart under the
//! same name) are read first; entries of a worker that died are claimed after a while.
//!
//! Architecture invariant: knows nothing of databases.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::entry::{StreamEntry, changes, entries, log_deleted};
use super::source::{ChangeSource, Lag, SourceCounts, SourceError};
use crate::ledger::LedgerError;
use crate::ledger::client::Client;
use crate::ledger::redis::{EntryId, Pipeline, RedisClient, RedisLedger, text};
use crate::limits::{BATCH_MAX, CONSUMER_ALIVE_MS, CONSUMER_GONE_MS};
use crate::sale::{Change, SaleId};

mod alone;
mod care;
mod lag;

/// Streams per round trip.
const STREAMS_PER_ROUND: usize = 256;
/// Entries of one stream in one reply, at most.
const ENTRIES_MAX: usize = 1_000;
/// Entries acknowledged by one command.
const ACKNOWLEDGE_MAX: usize = 1_000;
/// The first and the longest pause of an empty stream.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The longest pause of a stream whose sale is gone.
const GONE_PAUSE_MAX: Duration = Duration::from_secs(60);
// A living worker is never removed from its group, and its group is never removed.
const _: () = assert!(CONSUMER_ALIVE_MS > 2 * PAUSE_MAX.as_millis() as u64);
const _: () = assert!(CONSUMER_GONE_MS > 10 * GONE_PAUSE_MAX.as_millis() as u64);
/// The time in which many streams are gathered for a round.
const GATHER: Duration = Duration::from_millis(20);
/// The pause of a stream on which a command failed, which an operator must repair.
const FAULT_PAUSE: Duration = Duration::from_secs(10);
/// The time between two checks for new sales: of their number, and of the sales themselves.
const COUNT_INTERVAL: Duration = Duration::from_millis(250);
const INDEX_INTERVAL: Duration = Duration::from_secs(5);
/// The time until a stream with acknowledged entries is maintained.
const CARE_INTERVAL: Duration = Duration::from_secs(10);
/// The maximum number of unreadable entries that are remembered, so that each is logged once.
const UNREADABLE_MAX: usize = 10_000;

/// The worker and its group.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// The consumer group. Each group gets every change.
    pub group: String,
    /// The name of this worker in it, different from every other's.
    pub consumer: String,
    /// An entry that was not acknowledged for this long after its delivery is claimed by another
    /// worker.
    pub claim_after: Duration,
    /// A worker without entries that was not seen for this long, and twice `claim_after`, is
    /// removed from the group.
    pub gone_after: Duration,
    /// It must be the only worker of its group, so that the changes of a reservation stay in order.
    pub alone: bool,
}

/// The streams of all sales, as one worker reads them.
pub struct StreamSource {
    ledger: Arc<RedisLedger>,
    client: RedisClient,
    options: StreamOptions,
    streams: Vec<SaleStream>,
    /// Where the next round begins, so that the streams take turns.
    turn: usize,
    known: HashSet<SaleId>,
    sales_count: u64,
    count_at: Option<Instant>,
    index_at: Option<Instant>,
    /// Entries that [`ChangeSource::next`] delivered and that are not acknowledged.
    given: Vec<(usize, EntryId)>,
    unreadable: HashSet<(SaleId, EntryId)>,
    /// Every group that reads the sales' streams: entries that one of them lacks are not trimmed.
    groups: Vec<String>,
    counts: SourceCounts,
    /// Changes per entry, recently.
    changes_per_entry: f64,
    /// The last answer was lost: its entries were delivered to us and are pending.
    lost: bool,
    /// It was logged that Redis refuses the maintenance of groups.
    care_refused: bool,
}

/// One sale's stream.
struct SaleStream {
    sale: SaleId,
    key: String,
    /// While entries that were delivered before are read: the last one read.
    own_from: Option<EntryId>,
    read_at: Instant,
    pause: Duration,
    claim_at: Instant,
    care_at: Instant,
    /// Our group exists: otherwise trimming would not keep its entries.
    grouped: bool,
    /// Something was acknowledged since the last trimming.
    dirty: bool,
    faulty: bool,
    /// Its sale is not in the index.
    gone: bool,
}

impl StreamSource {
    /// Connects, and reads the list of sales.
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

    /// Makes one round trip, or returns why it failed.
    fn exchange(&mut self, commands: &Pipeline) -> Result<Vec<Value>, SourceError> {
        self.client.connect().map_err(|error| match error.is_fatal() {
            true => SourceError::Fatal(error.to_string()),
            false => SourceError::Away(error.to_string()),
        })?;
        let replies = self.client.pipeline(commands).map_err(|error| {
            self.lost |= matches!(error, LedgerError::Lost(_));
            SourceError::Away(error.to_string())
        })?;
        // One such reply suffices: it concerns Redis as a whole.
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
                    // It is a replica now: a new connection finds the primary, or fails.
                    self.client = RedisClient::new(self.ledger.clone(), "stampede-orders");
                    self.lost = true;
                    return Err(SourceError::Away(told));
                }
                _ => {}
            }
        }
        Ok(replies)
    }

    /// Finds new sales: often by their number, and once in a while by the whole list.
    fn discover(&mut self) -> Result<(), SourceError> {
        let due = |at: Option<Instant>, interval| at.is_none_or(|at| at.elapsed() >= interval);
        let all = due(self.index_at, INDEX_INTERVAL);
        if !all && !due(self.count_at, COUNT_INTERVAL) {
            return Ok(());
        }
        // The client's own calls don't distinguish a failure that passes from one that doesn't.
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
                // Created anew under its name.
                (stream.read_at, stream.pause, stream.grouped) =
                    (Instant::now(), Duration::ZERO, false);
            }
            stream.gone = gone;
        }
        for sale in sales {
            if self.known.insert(sale.clone()) {
                let key = self.client.codec().keys().of(&sale).stream();
                self.streams.push(SaleStream::new(sale, key, self.options.claim_after));
            }
        }
        self.sales_count = count;
        self.groups = self.client.join_groups(&self.options.group).map_err(judge)?;
        self.index_at = Some(Instant::now());
        self.check_alone()
    }

    /// The streams to read now, in turn.
    fn due(&mut self) -> Vec<usize> {
        let now = Instant::now();
        let count = self.streams.len();
        let in_turn = (0..count).map(|i| (self.turn + i) % count);
        let due: Vec<_> =
            in_turn.filter(|&at| self.streams[at].read_at <= now).take(STREAMS_PER_ROUND).collect();
        if let Some(last) = due.last() {
            self.turn = (last + 1) % count;
        }
        due
    }

    /// Reads each of these streams once. Returns whether any had entries.
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

    /// Takes the entries of one stream. Returns whether there were any.
    fn take(&mut self, at: usize, found: Vec<StreamEntry>, out: &mut Vec<Change>) -> bool {
        let now = Instant::now();
        let stream = &mut self.streams[at];
        (stream.faulty, stream.grouped) = (false, true);
        if found.is_empty() {
            if stream.own_from.take().is_some() {
                stream.read_at = now;
                return true;
            }
            stream.rest();
            return false;
        }
        (stream.pause, stream.read_at) = (Duration::ZERO, now);
        if stream.own_from.is_some() {
            stream.own_from = found.last().map(|entry| entry.id);
        }
        for entry in found {
            self.take_entry(at, entry, out);
        }
        true
    }

    fn take_entry(&mut self, at: usize, entry: StreamEntry, out: &mut Vec<Change>) {
        let sale = self.streams[at].sale.clone();
        let Some(fields) = entry.fields else {
            // It will never be read: acknowledging it removes it from the pending ones.
            log_deleted(&sale, entry.id);
            self.given.push((at, entry.id));
            return;
        };
        let before = out.len();
        match changes(&sale, entry.id, &fields, out) {
            Ok(()) => {
                self.given.push((at, entry.id));
                let count = (out.len() - before) as f64;
                // Up at once and down slowly: an answer that is too large is worse than one more
                // round trip.
                let lately = self.changes_per_entry + (count - self.changes_per_entry) / 16.0;
                self.changes_per_entry = lately.max(count);
            }
            Err(why) => self.note_unreadable(sale, entry.id, &why),
        }
    }

    /// An entry that stays pending for an operator. Logged once.
    fn note_unreadable(&mut self, sale: SaleId, id: EntryId, why: &str) {
        if self.unreadable.len() < UNREADABLE_MAX && self.unreadable.insert((sale.clone(), id)) {
            self.counts.unreadable += 1;
            tracing::error!(%sale, entry = %id, reason = why, "stream entry can't be read; it stays pending");
        }
    }

    fn fault(&mut self, at: usize, why: &str) {
        let stream = &mut self.streams[at];
        stream.read_at = Instant::now() + FAULT_PAUSE;
        if !std::mem::replace(&mut stream.faulty, true) {
            tracing::error!(sale = %stream.sale, key = stream.key, reason = why, "stream can't be read");
        }
    }

    /// Creates the group of streams that have none. There may be no stream either, if nothing was
    /// sold.
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
                // A stream created anew has no entries of ours.
                Value::Okay | Value::SimpleString(_) => {
                    stream.own_from = None;
                    stream.read_at = now;
                }
                Value::ServerError(error) if error.code() == "BUSYGROUP" => stream.read_at = now,
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
            // A deleted entry has no changes, and is acknowledged all the same.
            self.acknowledge()?;
            let now = Instant::now();
            if now >= until {
                return Ok(out);
            }
            thread::sleep(self.next_look(now, until).saturating_duration_since(now));
        }
    }

    /// When to read again. With many streams one is always due: they are gathered for a short time,
    /// so that a round trip is worthwhile.
    fn next_look(&self, now: Instant, until: Instant) -> Instant {
        let gather = if self.streams.len() > STREAMS_PER_ROUND { GATHER } else { PAUSE_MIN };
        let next = self.streams.iter().map(|stream| stream.read_at).min().unwrap_or(until);
        next.max(now + gather).min(until).min(now + COUNT_INTERVAL)
    }
}

impl SaleStream {
    fn new(sale: SaleId, key: String, claim_after: Duration) -> Self {
        let now = Instant::now();
        Self {
            sale,
            key,
            own_from: Some(EntryId::default()),
            read_at: now,
            pause: Duration::ZERO,
            claim_at: now + claim_after,
            care_at: now,
            grouped: false,
            dirty: false,
            faulty: false,
            gone: false,
        }
    }

    /// It was empty: read it later, and later still if it stays empty.
    fn rest(&mut self) {
        let pause_max = if self.gone { GONE_PAUSE_MAX } else { PAUSE_MAX };
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, pause_max);
        self.read_at = Instant::now() + self.pause;
    }
}

/// The entries in the reply to an XREADGROUP of one stream.
fn read_one(reply: Value) -> Option<Vec<StreamEntry>> {
    match reply {
        Value::Nil => Some(Vec::new()),
        Value::Array(mut streams) if streams.len() == 1 => match streams.remove(0) {
            Value::Array(mut pair) if pair.len() == 2 => entries(pair.remove(1)),
            _ => None,
        },
        _ => None,
    }
}

impl ChangeSource for StreamSource {
    fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Change>, SourceError> {
        if std::mem::take(&mut self.lost) {
            for stream in &mut self.streams {
                (stream.own_from, stream.read_at) = (Some(EntryId::default()), Instant::now());
            }
        }
        let found = self.fill(max, wait);
        if found.is_err() {
            // Entries read before the failure are dropped: read them again.
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
