//! The loop that turns changes into orders: next, write, acknowledge.
//!
//! Nothing is acknowledged that the database has not committed, so whatever fails, or dies, between
//! the steps is done again, and the versions make that harmless. A source or a database that is away
//! is waited for, for ever unless the options say otherwise, with one line in the log when it goes and
//! one when it is back. A database that has lost what was written to it (its file was deleted, it was
//! restored) is written again, if the source can give that; else the worker ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::database::{DatabaseError, Place, Sink};
use super::source::{Lag, Source, SourceError};
use crate::duration::format_duration;
use crate::limits::{RECONNECT_BACKOFF_MS_MAX, RECONNECT_BACKOFF_MS_MIN};

/// Longest wait for changes, and for anything else, before the order to stop is looked at.
const PATIENCE: Duration = Duration::from_millis(100);
/// Time between two lines about progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Asking how far behind we are may take this part of our time, one in so many.
const LAG_SHARE: u32 = 20;
/// Time between two writes of a position alone, and between two looks at an idle database.
const POSITION_INTERVAL: Duration = Duration::from_secs(1);

/// How a worker works.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Changes in one transaction, about.
    pub batch: usize,
    /// End when nothing is left to do.
    pub once: bool,
    /// End when the source or the database has been away for this long. `None`: wait for ever.
    pub away_max: Option<Duration>,
}

/// What a worker has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Changes written.
    pub changes: u64,
    /// Entries that could not be read: in the log, with their ids.
    pub unreadable: u64,
}

/// Why a worker ends other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The source needs its operator.
    #[error("{0}")]
    Source(String),
    /// The database needs its operator.
    #[error("{place}: {reason}")]
    Database {
        /// What it is and where, without its password.
        place: String,
        /// What it says.
        reason: String,
    },
    /// One of them was away for longer than [`WorkerOptions::away_max`].
    #[error("gave up after {} without {whose}: {reason}", format_duration(*.after_ms))]
    Away {
        /// Which of them.
        whose: &'static str,
        /// What it says.
        reason: String,
        /// The setting.
        after_ms: u64,
    },
}

/// How the source is reached, once the database is: it may say where to go on.
pub type Connect<'a> = dyn FnMut(&mut dyn Sink) -> Result<Box<dyn Source>, ConnectError> + 'a;

/// Why there is no source.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The source itself.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The database did not say where to go on.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Works until it is told to stop, or with `once` until nothing is left.
pub fn run(
    place: &dyn Place,
    connect: &mut Connect<'_>,
    options: WorkerOptions,
    stop: &AtomicBool,
) -> Result<Done, WorkerError> {
    let mut worker =
        Worker { place, stop, options, done: Done::default(), away: None, refills: false };
    loop {
        match worker.session(connect) {
            Ok(()) => return Ok(worker.done),
            Err(trouble) if trouble.kind == Kind::Replaced && worker.refills => {
                let reason = trouble.text;
                tracing::error!(%reason, "the database has lost orders: they are written again");
                worker.pause(PATIENCE);
            }
            Err(trouble) => return Err(worker.fatal(trouble)),
        }
    }
}

struct Worker<'a> {
    place: &'a dyn Place,
    stop: &'a AtomicBool,
    options: WorkerOptions,
    done: Done,
    /// What is away and has been told to be.
    away: Option<&'static str>,
    /// Whether the source can give a new database everything that there is.
    refills: bool,
}

/// What stands in the way, and whose it is.
struct Trouble {
    whose: &'static str,
    text: String,
    kind: Kind,
}

/// What is to be done about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It passes.
    Away,
    /// It has been away for too long.
    TooLong,
    /// Somebody must act.
    Fatal,
    /// What was written is no longer there.
    Replaced,
}

const SOURCE: &str = "the ledger";
const DATABASE: &str = "the database";
const RECEIVER: &str = "the receiver";
/// What to do when rows are gone that were taken off the streams.
const REPLACED: &str = ". The rows in it were taken off the streams and don't come again by \
                        themselves: put the file back; or start again, which makes a new one, and \
                        write what it lacks by `stampede audit --repair --ledger … --orders …`";

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        let kind = match error {
            SourceError::Away(_) => Kind::Away,
            SourceError::Fatal(_) => Kind::Fatal,
        };
        Self { whose: SOURCE, text: error.to_string(), kind }
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        let kind = match error {
            DatabaseError::Away(_) => Kind::Away,
            DatabaseError::Fatal(_) => Kind::Fatal,
            DatabaseError::Replaced(_) => Kind::Replaced,
        };
        Self { whose: DATABASE, text: error.to_string(), kind }
    }
}

impl From<ConnectError> for Trouble {
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

    /// From the opening of the database to the end of the work, or until the database lost something.
    fn session(&mut self, connect: &mut Connect<'_>) -> Result<(), Trouble> {
        let place = self.place;
        let opened = self.persist(|| place.open_sink().map_err(Trouble::from))?;
        let Some(mut database) = opened else { return Ok(()) };
        let connected = self.persist(|| connect(&mut *database).map_err(Trouble::from))?;
        let Some(mut source) = connected else { return Ok(()) };
        self.refills = source.position().is_some();
        let worked = self.work(&mut *database, &mut *source);
        if worked.is_ok() && self.away.is_none() {
            source.leave();
        }
        self.done.unreadable = source.counts().unreadable;
        worked
    }

    /// Waits, or until it is told to stop.
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.stopped() {
            thread::sleep(PATIENCE.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Does something until it is done. `None`: told to stop.
    fn persist<T>(
        &mut self,
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<Option<T>, Trouble> {
        let since = Instant::now();
        let mut pause = Duration::from_millis(RECONNECT_BACKOFF_MS_MIN);
        loop {
            let trouble = match attempt() {
                Ok(done) => {
                    if let Some(whose) = self.away.take() {
                        tracing::info!(whose, "can be reached again; orders go on");
                    }
                    return Ok(Some(done));
                }
                Err(trouble) => trouble,
            };
            if trouble.kind != Kind::Away {
                return Err(trouble);
            }
            if self.away != Some(trouble.whose) {
                self.away = Some(trouble.whose);
                let (whose, reason) = (trouble.whose, &trouble.text);
                tracing::warn!(whose, %reason, "can't be reached; orders wait and lose nothing");
            }
            if self.options.away_max.is_some_and(|max| since.elapsed() + pause > max) {
                return Err(Trouble { kind: Kind::TooLong, ..trouble });
            }
            self.pause(pause);
            if self.stopped() {
                return Ok(None);
            }
            pause = (pause * 2).min(Duration::from_millis(RECONNECT_BACKOFF_MS_MAX));
        }
    }

    fn fatal(&self, trouble: Trouble) -> WorkerError {
        let Trouble { whose, text: reason, kind } = trouble;
        if kind == Kind::TooLong {
            let after_ms = self.options.away_max.map_or(0, |max| max.as_millis() as u64);
            return WorkerError::Away { whose, reason, after_ms };
        }
        if whose == SOURCE {
            return WorkerError::Source(reason);
        }
        let hint = match kind {
            Kind::Replaced => REPLACED,
            _ => "",
        };
        WorkerError::Database { place: self.place.name(), reason: reason + hint }
    }

    fn work(&mut self, database: &mut dyn Sink, source: &mut dyn Source) -> Result<(), Trouble> {
        let mut progress = Progress::new();
        let mut written = None;
        // Up to here the database had everything, and has it still unless it lost something.
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
            // It is written: told to stop or not, say so.
            let Some(()) = self.persist(|| Ok(source.acknowledge()?))? else { break };
            written = position;
            self.done.changes += changes.len() as u64;
            progress.tell(source, &self.done);
        }
        Ok(())
    }

    fn is_finished(&mut self, source: &mut dyn Source) -> Result<bool, Trouble> {
        let lag = self.persist(|| Ok(source.lag()?))?;
        Ok(lag.is_none_or(|lag| lag.entries == 0))
    }
}

/// How many changes the sink takes now, if any.
fn has_room(database: &mut dyn Sink) -> Result<usize, Trouble> {
    match database.room()? {
        0 => Err(Trouble {
            whose: RECEIVER,
            text: "as many changes wait for it as may".into(),
            kind: Kind::Away,
        }),
        room => Ok(room),
    }
}

/// Looks whether the database still has what was written to it. One that was restored, or whose
/// standby took over and lacks the last transactions, says so by its position.
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

/// What the log is told while there is something to tell.
struct Progress {
    told_at: Instant,
    told: Done,
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
            told: Done::default(),
            told_entries: 0,
            lag: Lag::default(),
            lag_after: now,
            position_at: now,
        }
    }

    fn position_due(&self) -> bool {
        self.position_at.elapsed() >= POSITION_INTERVAL
    }

    /// One line a second at the most, and none while nothing happens.
    fn tell(&mut self, source: &mut dyn Source, done: &Done) {
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
        // What keeps it from answering will be met, and told, by the loop.
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
