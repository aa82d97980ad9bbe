//! The loop that turns changes into orders: next, write, acknowledge.
//!
//! Nothing is acknowledged that the database has not committed, so whatever fails, or dies, between
//! the steps is done again, and the versions make that harmless. A source or a database that is away
//! is waited for, for ever, with one line in the log when it goes and one when it is back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Database, DatabaseError, DatabaseUrl, Lag, Source, SourceError};
use crate::limits::{RECONNECT_BACKOFF_MS_MAX, RECONNECT_BACKOFF_MS_MIN};

/// Longest wait for changes, and for anything else, before the order to stop is looked at.
const PATIENCE: Duration = Duration::from_millis(100);
/// Time between two lines about progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Asking how far behind we are may take this part of our time, one in so many.
const LAG_SHARE: u32 = 20;
/// Time between two writes of a position alone.
const POSITION_INTERVAL: Duration = Duration::from_secs(1);

/// How a worker works.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOptions {
    /// Changes in one transaction, about.
    pub batch: usize,
    /// End when nothing is left to do.
    pub once: bool,
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
    #[error("orders in {url}: {reason}")]
    Database {
        /// Without its password.
        url: String,
        /// What it says.
        reason: String,
    },
}

/// How the source is reached, once the database is: it may say where to go on.
pub type Connect<'a> = dyn FnMut(&mut dyn Database) -> Result<Box<dyn Source>, ConnectError> + 'a;

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
    url: &DatabaseUrl,
    connect: &mut Connect<'_>,
    options: WorkerOptions,
    stop: &AtomicBool,
) -> Result<Done, WorkerError> {
    let mut worker = Worker { url, stop, options, done: Done::default(), away: None };
    let Some(mut database) = worker.persist(|| url.open().map_err(Trouble::from))? else {
        return Ok(worker.done);
    };
    let connected = worker.persist(|| connect(&mut *database).map_err(Trouble::from))?;
    let Some(mut source) = connected else { return Ok(worker.done) };
    worker.work(&mut *database, &mut *source)?;
    worker.done.unreadable = source.counts().unreadable;
    Ok(worker.done)
}

struct Worker<'a> {
    url: &'a DatabaseUrl,
    stop: &'a AtomicBool,
    options: WorkerOptions,
    done: Done,
    /// What is away and has been told to be.
    away: Option<&'static str>,
}

/// What stands in the way, and whose it is.
struct Trouble {
    whose: &'static str,
    text: String,
    fatal: bool,
}

const SOURCE: &str = "the ledger";
const DATABASE: &str = "the database";

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        let fatal = matches!(error, SourceError::Fatal(_));
        Self { whose: SOURCE, text: error.to_string(), fatal }
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        let fatal = matches!(error, DatabaseError::Fatal(_));
        Self { whose: DATABASE, text: error.to_string(), fatal }
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

    /// Does something until it is done. `None`: told to stop.
    fn persist<T>(
        &mut self,
        mut attempt: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<Option<T>, WorkerError> {
        let mut pause = Duration::from_millis(RECONNECT_BACKOFF_MS_MIN);
        loop {
            let trouble = match attempt() {
                Ok(done) => {
                    if let Some(whose) = self.away.take() {
                        tracing::info!("{whose} can be reached again; orders go on");
                    }
                    return Ok(Some(done));
                }
                Err(trouble) => trouble,
            };
            if trouble.fatal {
                return Err(self.fatal(trouble));
            }
            if self.away != Some(trouble.whose) {
                self.away = Some(trouble.whose);
                let (whose, reason) = (trouble.whose, &trouble.text);
                tracing::warn!(%reason, "{whose} can't be reached; orders wait and lose nothing");
            }
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if self.stopped() {
                    return Ok(None);
                }
                thread::sleep(PATIENCE.min(until.saturating_duration_since(Instant::now())));
            }
            pause = (pause * 2).min(Duration::from_millis(RECONNECT_BACKOFF_MS_MAX));
        }
    }

    fn fatal(&self, trouble: Trouble) -> WorkerError {
        if trouble.whose == SOURCE {
            return WorkerError::Source(trouble.text);
        }
        WorkerError::Database { url: self.url.to_string(), reason: trouble.text }
    }

    fn work(
        &mut self,
        database: &mut dyn Database,
        source: &mut dyn Source,
    ) -> Result<(), WorkerError> {
        let mut progress = Progress::new();
        let mut written = None;
        while !self.stopped() {
            let batch = self.options.batch;
            let next = self.persist(|| Ok(source.next(batch, PATIENCE)?))?;
            let Some(changes) = next else { break };
            let position = source.position();
            let moved = position.is_some() && position != written;
            if changes.is_empty() && !(moved && progress.position_due()) {
                if self.options.once && self.is_finished(source)? {
                    break;
                }
                progress.tell(source, &self.done);
                continue;
            }
            let at = position.as_ref().map(|(name, version)| (name.as_str(), *version));
            let wrote = self.persist(|| Ok(database.write(&changes, at)?))?;
            let Some(()) = wrote else { break };
            progress.position_at = Instant::now();
            // It is written: told to stop or not, say so.
            let Some(()) = self.persist(|| Ok(source.acknowledge()?))? else { break };
            written = position;
            self.done.changes += changes.len() as u64;
            progress.tell(source, &self.done);
        }
        Ok(())
    }

    fn is_finished(&mut self, source: &mut dyn Source) -> Result<bool, WorkerError> {
        let lag = self.persist(|| Ok(source.lag()?))?;
        Ok(lag.is_none_or(|lag| lag.entries == 0))
    }
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
        tracing::info!(
            entries_per_s = a_second(entries - self.told_entries),
            rows_per_s = a_second(changes),
            rows = done.changes,
            behind_entries = self.lag.entries,
            behind_ms = self.lag.oldest_ms,
            "orders"
        );
        (self.told, self.told_entries, self.told_at) = (*done, entries, now);
    }
}
