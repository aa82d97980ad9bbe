//! The loop that turns changes into orders: next, write, acknowledge.
//!
//! Nothing is acknowledged that the database has not committed. So if a step fails, or the worker
//! dies between two, the work is repeated, and the versions make that harmless. The worker waits
//! for a source or a database that is away, for ever unless an option limits it, with one log line
//! when it goes away and one when it is back. If a database has lost written data (its file was
//! deleted, it was restored), the data is written again if the source can deliver it; otherwise the
//! worker ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::database::{DatabaseError, Sink, SinkLocation};
use super::source::{ChangeSource, Lag, SourceError};
use crate::duration::format_duration;
use crate::limits::{RECONNECT_BACKOFF_MS_MAX, RECONNECT_BACKOFF_MS_MIN};

/// The longest wait for changes, and for anything else, before the stop flag is checked.
const PATIENCE: Duration = Duration::from_millis(100);
/// The time between two log lines about progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Measuring the lag may take one part in this many of the time.
const LAG_SHARE: u32 = 20;
/// The time between two writes of a position alone, and between two checks of an idle database.
const POSITION_INTERVAL: Duration = Duration::from_secs(1);

/// The options of a worker.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// The approximate number of changes per transaction.
    pub batch: usize,
    /// End when there are no more changes.
    pub once: bool,
    /// End when the source or the database has been away for this long. `None`: wait for ever.
    pub away_max: Option<Duration>,
}

/// The work that a worker has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkDone {
    /// Changes written.
    pub changes: u64,
    /// Entries that could not be read: the log has their ids.
    pub unreadable: u64,
}

/// Why a worker ends without being stopped.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The operator must repair the source.
    #[error("{0}")]
    Source(String),
    /// The operator must repair the database.
    #[error("{place}: {reason}")]
    Database {
        /// Its kind and address, without its password.
        place: String,
        /// The error.
        reason: String,
    },
    /// Source or database was away for longer than [`WorkerOptions::away_max`].
    #[error("gave up after {} without {whose}: {reason}", format_duration(*.after_ms))]
    Away {
        /// Which of them.
        whose: &'static str,
        /// The error.
        reason: String,
        /// The setting.
        after_ms: u64,
    },
}

/// Connects to the source, after the database was opened, which may have the position.
pub type Connect<'a> = dyn FnMut(&mut dyn Sink) -> Result<Box<dyn ChangeSource>, ConnectError> + 'a;

/// Why there is no source.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The database could not return the position.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Works until `stop` is set, or with `once` until no changes are left.
pub fn run(
    place: &dyn SinkLocation,
    connect: &mut Connect<'_>,
    options: WorkerOptions,
    stop: &AtomicBool,
) -> Result<WorkDone, WorkerError> {
    let mut worker =
        Worker { place, stop, options, done: WorkDone::default(), away: None, refills: false };
    loop {
        match worker.session(connect) {
            Ok(()) => return Ok(worker.done),
            Err(trouble) if trouble.kind == OutageKind::Replaced && worker.refills => {
                let reason = trouble.text;
                tracing::error!(%reason, "the database has lost orders: they are written again");
                worker.pause(PATIENCE);
            }
            Err(trouble) => return Err(worker.fatal(trouble)),
        }
    }
}

struct Worker<'a> {
    place: &'a dyn SinkLocation,
    stop: &'a AtomicBool,
    options: WorkerOptions,
    done: WorkDone,
    /// What is away, which has been logged.
    away: Option<&'static str>,
    /// Whether the source can deliver everything to a new database.
    refills: bool,
}

/// What fails, and why.
struct Outage {
    whose: &'static str,
    text: String,
    kind: OutageKind,
}

/// How to handle a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OutageKind {
    /// It passes.
    Away,
    /// It has been away for too long.
    TooLong,
    /// The operator must act.
    Fatal,
    /// Written data is gone.
    Replaced,
}

const SOURCE: &str = "the ledger";
const DATABASE: &str = "the database";
const RECEIVER: &str = "the receiver";
/// What to do if rows are gone whose entries were trimmed from the streams.
const REPLACED: &str = ". The rows in it were taken off the streams and don't come again by \
                        themselves: put the file back; or start again, which makes a new one, and \
                        write what it lacks by `stampede audit --repair --ledger … --orders …`";

impl From<SourceError> for Outage {
    fn from(error: SourceError) -> Self {
        let kind = match error {
            SourceError::Away(_) => OutageKind::Away,
            SourceError::Fatal(_) => OutageKind::Fatal,
        };
        Self { whose: SOURCE, text: error.to_string(), kind }
    }
}

impl From<DatabaseError> for Outage {
    fn from(error: DatabaseError) -> Self {
        let kind = match error {
            DatabaseError::Away(_) => OutageKind::Away,
            DatabaseError::Fatal(_) => OutageKind::Fatal,
            DatabaseError::Replaced(_) => OutageKind::Replaced,
        };
        Self { whose: DATABASE, text: error.to_string(), kind }
    }
}

impl From<ConnectError> for Outage {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Source(error) => error.into(),
            ConnectError::Database(error) => error.into(),
        }
    }
}

impl Worker<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// From opening the database until the work ends, or until the database loses data.
    fn session(&mut self, connect: &mut Connect<'_>) -> Result<(), Outage> {
        let place = self.place;
        let opened = self.persist(|| place.open_sink().map_err(Outage::from))?;
        let Some(mut database) = opened else { return Ok(()) };
        let connected = self.persist(|| connect(&mut *database).map_err(Outage::from))?;
        let Some(mut source) = connected else { return Ok(()) };
        self.refills = source.position().is_some();
        let worked = self.work(&mut *database, &mut *source);
        if worked.is_ok() && self.away.is_none() {
            source.leave();
        }
        self.done.unreadable = source.counts().unreadable;
        worked
    }

    /// Waits for this long, or until `stop` is set.
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.stopped() {
            thread::sleep(PATIENCE.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Repeats something until it succeeds. `None`: `stop` was set.
    fn persist<T>(
        &mut self,
        mut attempt: impl FnMut() -> Result<T, Outage>,
    ) -> Result<Option<T>, Outage> {
        let since = Instant::now();
        let mut pause = Duration::from_millis(RECONNECT_BACKOFF_MS_MIN);
        loop {
            let trouble = match attempt() {
                Ok(done) => {
                    if let Some(whose) = self.away.take() {
                        tracing::info!(whose, "reachable again; orders continue");
                    }
                    return Ok(Some(done));
                }
                Err(trouble) => trouble,
            };
            if trouble.kind != OutageKind::Away {
                return Err(trouble);
            }
            if self.away != Some(trouble.whose) {
                self.away = Some(trouble.whose);
                let (whose, reason) = (trouble.whose, &trouble.text);
                tracing::warn!(whose, %reason, "unreachable; orders wait and lose nothing");
            }
            if self.options.away_max.is_some_and(|max| since.elapsed() + pause > max) {
                return Err(Outage { kind: OutageKind::TooLong, ..trouble });
            }
            self.pause(pause);
            if self.stopped() {
                return Ok(None);
            }
            pause = (pause * 2).min(Duration::from_millis(RECONNECT_BACKOFF_MS_MAX));
        }
    }

    fn fatal(&self, trouble: Outage) -> WorkerError {
        let Outage { whose, text: reason, kind } = trouble;
        if kind == OutageKind::TooLong {
            let after_ms = self.options.away_max.map_or(0, |max| max.as_millis() as u64);
            return WorkerError::Away { whose, reason, after_ms };
        }
        if whose == SOURCE {
            return WorkerError::Source(reason);
        }
        let hint = match kind {
            OutageKind::Replaced => REPLACED,
            _ => "",
        };
        WorkerError::Database { place: self.place.name(), reason: reason + hint }
    }

    fn work(
        &mut self,
        database: &mut dyn Sink,
        source: &mut dyn ChangeSource,
    ) -> Result<(), Outage> {
        let mut progress = Progress::new();
        let mut written = None;
        // The database had everything up to here, and still has it unless it lost data.
        let mut known = source.position().map_or(0, |(_, version)| version);
        while !self.stopped() {
            let Some(room) = self.persist(|| has_room(&mut *database))? else { break };
            let batch = self.options.batch.min(room);
            let next = self.persist(|| Ok(source.next(batch, PATIENCE)?))?;
            let Some(changes) = next else { break };
            let position = source.position();
            let moved = position.is_some() && position != written;
            if changes.is_empty() && !(moved && progress.position_due()) {
                let Some(()) = self.persist(|| Ok(database.has_everything()?))? else { break };
                if self.options.once && self.is_finished(source)? {
                    break;
                }
                if progress.position_due() {
                    let check = || Ok(check(database, position.as_ref(), known)?);
                    let Some(()) = self.persist(check)? else { break };
                    progress.position_at = Instant::now();
                }
                progress.tell(source, &self.done);
                continue;
            }
            let at = position.as_ref().map(|(name, version)| (name.as_str(), *version));
            let wrote = self.persist(|| {
                check(database, position.as_ref(), known)?;
                Ok(database.write(&changes, at)?)
            })?;
            let Some(()) = wrote else { break };
            known = at.map_or(0, |(_, version)| version);
            progress.position_at = Instant::now();
            // It is written: acknowledge it, stopped or not.
            let Some(()) = self.persist(|| Ok(source.acknowledge()?))? else { break };
            written = position;
            self.done.changes += changes.len() as u64;
            progress.tell(source, &self.done);
        }
        Ok(())
    }

    fn is_finished(&mut self, source: &mut dyn ChangeSource) -> Result<bool, Outage> {
        let lag = self.persist(|| Ok(source.lag()?))?;
        Ok(lag.is_none_or(|lag| lag.entries == 0))
    }
}

/// How many changes the sink takes now.
fn has_room(database: &mut dyn Sink) -> Result<usize, Outage> {
    match database.room()? {
        0 => Err(Outage {
            whose: RECEIVER,
            text: "as many changes wait for it as may".into(),
            kind: OutageKind::Away,
        }),
        room => Ok(room),
    }
}

/// Checks whether the database still has what was written. A database that was restored, or whose
/// standby took over and lacks the last transactions, shows it by its position.
fn check(
    database: &mut dyn Sink,
    position: Option<&(String, u64)>,
    known: u64,
) -> Result<(), DatabaseError> {
    let Some((source, _)) = position else { return database.check() };
    let at = database.position(source)?.unwrap_or(0);
    if at < known {
        return Err(DatabaseError::Replaced(format!(
            "it was written up to change {known} and has only what came up to {at}: was it restored, \
             or did a standby take over?"
        )));
    }
    Ok(())
}

/// The progress that is logged.
struct Progress {
    told_at: Instant,
    told: WorkDone,
    told_entries: u64,
    lag: Lag,
    lag_after: Instant,
    position_at: Instant,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            told_at: now,
            told: WorkDone::default(),
            told_entries: 0,
            lag: Lag::default(),
            lag_after: now,
            position_at: now,
        }
    }

    fn position_due(&self) -> bool {
        self.position_at.elapsed() >= POSITION_INTERVAL
    }

    /// At most one line per second, and none while nothing happens.
    fn tell(&mut self, source: &mut dyn ChangeSource, done: &WorkDone) {
        let elapsed = self.told_at.elapsed();
        if elapsed < PROGRESS_INTERVAL {
            return;
        }
        let changes = done.changes - self.told.changes;
        let now = Instant::now();
        if changes == 0 && self.lag.entries == 0 {
            self.told_at = now;
            return;
        }
        if now < self.lag_after {
            return;
        }
        // The loop meets and reports the failure.
        if let Ok(lag) = source.lag() {
            self.lag = lag;
        }
        self.lag_after = Instant::now() + now.elapsed() * LAG_SHARE;
        let entries = source.counts().entries;
        let a_second = |count: u64| (count as f64 / elapsed.as_secs_f64()).round() as u64;
        tracing::debug!(
            entries_per_s = a_second(entries - self.told_entries),
            rows_per_s = a_second(changes),
            rows = done.changes,
            behind_entries = self.lag.entries,
            behind_ms = self.lag.oldest_ms,
            "orders written"
        );
        (self.told, self.told_entries, self.told_at) = (*done, entries, now);
    }
}
