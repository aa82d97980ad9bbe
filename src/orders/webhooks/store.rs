//! The durable events to be delivered: every change that was taken over, until the receiver has it
//! or it is a dead letter.
//!
//! Of the events of one reservation only the earliest is due; the later ones wait for it, and for
//! nothing else. The file keeps this: an event that leaves makes the next one due in the same
//! transaction, so a crash leaves nothing to restore.
//!
//! Architecture invariant: knows no network and no clock. The caller passes the time.

use std::path::{Path, PathBuf};

use rusqlite::{
    Connection, OptionalExtension, Statement, Transaction, TransactionBehavior, params,
};

use super::event::Event;
use super::file::{Lock, open};
use super::schedule::NextStep;
use super::status::{Counts, counts, oldest};
use crate::limits::{WEBHOOK_PAUSE_MS_MAX, WEBHOOK_UNACKNOWLEDGED_MAX};
use crate::orders::database::DatabaseError;
use crate::orders::rows::{signed, unsigned};
use crate::orders::sqlite_file::{FileId, judge, replaced};
use crate::sale::Change;

/// A full backlog stays full until this share of it is free again.
const FREED_PERCENT: u64 = 10;

const INSERT: &str = "\
INSERT INTO events (reservation, version, body, retry_at, state)
VALUES (?1, ?2, ?3, ?4, NOT EXISTS (SELECT 1 FROM events WHERE reservation = ?1 AND state < 2))
ON CONFLICT (reservation, version) DO NOTHING";
/// Makes the earliest event of a reservation due, and no other.
const RELEASE: &str = "\
UPDATE events SET state = 1
WHERE state = 0 AND number = (SELECT number FROM events WHERE reservation = ?1 AND state < 2
                              ORDER BY version LIMIT 1)";
const HOLD_BACK: &str = "\
UPDATE events SET state = 0
WHERE reservation = ?1 AND state = 1
  AND version > (SELECT min(version) FROM events WHERE reservation = ?1 AND state < 2)";

/// A due event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) number: i64,
    pub(super) reservation: String,
    pub(super) version: i64,
    pub(super) body: String,
    /// The number of earlier attempts.
    pub(super) attempts: u32,
}

/// The outcome of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) number: i64,
    pub(super) reservation: String,
    pub(super) verdict: NextStep,
    /// Why it failed, if it did.
    pub(super) failure: String,
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// A power cut: used before the ledger is acknowledged.
    PowerCut,
    /// The end of the process: used for outcomes of attempts. After a power cut the file may lack
    /// some outcomes, and those attempts are made again, in order.
    Kill,
}

/// The state of one worker.
pub(super) struct Store {
    path: PathBuf,
    file: FileId,
    connection: Connection,
    _lock: Lock,
    backlog_max: u64,
    full: bool,
    counts: Counts,
    /// Shows that another process has changed the file.
    data_version: i64,
    /// There may be rows in `taken`.
    marked: bool,
    /// What a commit survives with the present setting of the connection.
    lasts: Option<Lasts>,
}

impl Store {
    /// Opens the file, creates it if it is missing, and locks out every other worker.
    pub(super) fn open(path: &Path, backlog_max: u64, now_ms: u64) -> Result<Self, DatabaseError> {
        let lock = Lock::take(path)?;
        let (connection, file) = open(path, true)?;
        let mut store = Self {
            path: path.to_owned(),
            file,
            connection,
            _lock: lock,
            backlog_max,
            full: false,
            counts: Counts::default(),
            data_version: 0,
            marked: true,
            lasts: None,
        };
        store.with(Lasts::PowerCut, |write| {
            write.execute("UPDATE taken SET earlier = 1 WHERE earlier = 0", [])?;
            write.execute(
                "DELETE FROM taken WHERE number <= (SELECT max(number) FROM taken) - ?1",
                [signed(WEBHOOK_UNACKNOWLEDGED_MAX)],
            )?;
            // A clock that was ahead must not delay an event for longer than any pause.
            let latest = signed(now_ms + 2 * WEBHOOK_PAUSE_MS_MAX);
            write.execute(
                "UPDATE events SET retry_at = ?1 WHERE retry_at > ?2",
                [signed(now_ms), latest],
            )
        })?;
        store.count()?;
        Ok(store)
    }

    /// The name under which its worker reads the streams.
    pub(super) fn worker(&self) -> Result<String, DatabaseError> {
        let found = self.connection.query_row("SELECT name FROM worker", [], |row| row.get(0));
        found.map_err(|error| judge(&self.path, &error))
    }

    /// Checks that the path still names the open file.
    pub(super) fn check(&self) -> Result<(), DatabaseError> {
        replaced(&self.path, self.file).map_err(|error| match error {
            DatabaseError::Replaced(text) => DatabaseError::Fatal(format!(
                "{text}. What was still to be delivered is in it: put the file back. Without it, a \
                 new one is made at the next start, and those events never come again"
            )),
            other => other,
        })
    }

    /// One transaction on the file that the path names.
    fn with<T>(
        &mut self,
        lasts: Lasts,
        run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        self.check()?;
        if self.lasts != Some(lasts) {
            let set = match lasts {
                Lasts::PowerCut => "PRAGMA synchronous = FULL",
                Lasts::Kill => "PRAGMA synchronous = NORMAL",
            };
            let done = self.connection.execute_batch(set);
            done.map_err(|error| judge(&self.path, &error))?;
            self.lasts = Some(lasts);
        }
        let write = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let done = write.and_then(|write| {
            let done = run(&write)?;
            write.commit().map(|()| done)
        });
        let done = done.map_err(|error| judge(&self.path, &error))?;
        self.check()?;
        Ok(done)
    }

    fn query<T>(
        &self,
        sql: &str,
        run: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let done = self.connection.prepare_cached(sql).and_then(|mut select| run(&mut select));
        done.map_err(|error| judge(&self.path, &error))
    }

    /// Takes changes over, and the position of a ledger that keeps none itself. Ignores changes
    /// that were taken over before.
    pub(super) fn take(
        &mut self,
        changes: &[Change],
        position: Option<(&str, u64)>,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        let events = changes.iter().map(Event::of).collect::<Result<Vec<_>, _>>();
        let events = events.map_err(|error| DatabaseError::Fatal(error.to_string()))?;
        let added = self.with(Lasts::PowerCut, |write| {
            // The ledger has the acknowledgement of everything that this worker took over before.
            write.prepare_cached("DELETE FROM taken WHERE earlier = 0")?.execute([])?;
            let mut mark = write.prepare_cached(
                "INSERT INTO taken (reservation, version) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            )?;
            let mut insert = write.prepare_cached(INSERT)?;
            let mut added = 0;
            for Event { reservation, version, body } in &events {
                let is_new = mark.execute(params![reservation, version])? == 1;
                let row = params![reservation, version, body, signed(now_ms)];
                if is_new && insert.execute(row)? == 1 {
                    added += 1;
                    put_in_order(write, reservation)?;
                }
            }
            if let Some((source, version)) = position {
                let sql = "INSERT INTO positions (source, version) VALUES (?1, ?2)
                           ON CONFLICT (source) DO UPDATE SET version = excluded.version
                           WHERE positions.version < excluded.version";
                write.prepare_cached(sql)?.execute(params![source, signed(version)])?;
            }
            Ok(added)
        })?;
        self.counts.waiting += added;
        self.marked = true;
        Ok(())
    }

    /// The ledger has no more changes, and has the acknowledgement of everything that was taken
    /// over.
    pub(super) fn forget_taken(&mut self) -> Result<(), DatabaseError> {
        if self.marked {
            self.with(Lasts::Kill, |write| write.execute("DELETE FROM taken", []))?;
            self.marked = false;
        }
        Ok(())
    }

    /// The position up to which changes of this source have been taken over.
    pub(super) fn position(&self, source: &str) -> Result<Option<u64>, DatabaseError> {
        let sql = "SELECT version FROM positions WHERE source = ?1";
        let found = self.query(sql, |it| it.query_row([source], |row| row.get(0)).optional())?;
        Ok(found.map(unsigned))
    }

    /// The number of further changes for which there is room. Once there is none, there is again
    /// when a tenth of the backlog is free.
    pub(super) fn room(&mut self) -> Result<u64, DatabaseError> {
        let Counts { waiting, dead } = self.counts()?;
        let free = self.backlog_max.saturating_sub(waiting + dead);
        self.full = match self.full {
            true => free < (self.backlog_max * FREED_PERCENT / 100).max(1),
            false => free == 0,
        };
        Ok(if self.full { 0 } else { free })
    }

    /// The number of events.
    pub(super) fn counts(&mut self) -> Result<Counts, DatabaseError> {
        let version = self.query("PRAGMA data_version", |it| it.query_row([], |row| row.get(0)))?;
        if version != self.data_version {
            self.data_version = version;
            self.count()?;
        }
        Ok(self.counts)
    }

    fn count(&mut self) -> Result<(), DatabaseError> {
        self.counts = counts(&self.connection).map_err(|error| judge(&self.path, &error))?;
        Ok(())
    }

    /// Since when the longest waiting event has waited, in ms since 1970. `None`: none is waiting.
    pub(super) fn oldest_at_ms(&self) -> Result<Option<u64>, DatabaseError> {
        let found = oldest(&self.connection).map_err(|error| judge(&self.path, &error))?;
        Ok(found.map(|oldest| oldest.at_ms))
    }

    /// At most `limit` due events, the longest waiting first.
    pub(super) fn due(&self, now_ms: u64, limit: usize) -> Result<Vec<Due>, DatabaseError> {
        let sql = "SELECT number, reservation, version, body, attempts FROM events
                   WHERE state = 1 AND retry_at <= ?1 ORDER BY retry_at, number LIMIT ?2";
        self.query(sql, |it| {
            let rows = it.query_map(params![signed(now_ms), signed(limit as u64)], |row| {
                Ok(Due {
                    number: row.get(0)?,
                    reservation: row.get(1)?,
                    version: row.get(2)?,
                    body: row.get(3)?,
                    attempts: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }

    /// When the next event becomes due.
    pub(super) fn next_at_ms(&self, now_ms: u64) -> Result<Option<u64>, DatabaseError> {
        let sql = "SELECT retry_at FROM events WHERE state = 1 AND retry_at > ?1
                   ORDER BY retry_at LIMIT 1";
        let at = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        let found = self.query(sql, |it| it.query_row([signed(now_ms)], at).optional())?;
        Ok(found.map(unsigned))
    }

    /// Writes the outcomes of attempts.
    pub(super) fn settle(&mut self, all: &[Settled], now_ms: u64) -> Result<(), DatabaseError> {
        let (delivered, died) = self.with(Lasts::Kill, |write| {
            let (mut delivered, mut died) = (0, 0);
            for Settled { number, reservation, verdict, failure } in all {
                match verdict {
                    NextStep::Delivered => {
                        let sql = "DELETE FROM events WHERE number = ?1";
                        delivered += write.prepare_cached(sql)?.execute([number])? as u64;
                        put_in_order(write, reservation)?;
                    }
                    NextStep::Again { at_ms } => {
                        let sql = "UPDATE events SET attempts = attempts + 1, retry_at = ?2,
                                          failure = ?3, failed_at = ?4 WHERE number = ?1";
                        let row = params![number, signed(*at_ms), failure, signed(now_ms)];
                        write.prepare_cached(sql)?.execute(row)?;
                    }
                    NextStep::Dead => {
                        let sql = "UPDATE events SET state = 2, attempts = attempts + 1,
                                          failure = ?2, failed_at = ?3 WHERE number = ?1";
                        let row = params![number, failure, signed(now_ms)];
                        died += write.prepare_cached(sql)?.execute(row)? as u64;
                        put_in_order(write, reservation)?;
                    }
                }
            }
            let sql = "UPDATE worker SET delivered = delivered + ?1, failed = failed + ?2";
            let failed = all.iter().filter(|it| it.verdict != NextStep::Delivered).count() as u64;
            write.prepare_cached(sql)?.execute([signed(delivered), signed(failed)])?;
            Ok((delivered, died))
        })?;
        let Counts { waiting, dead } = self.counts;
        self.counts =
            Counts { waiting: waiting.saturating_sub(delivered + died), dead: dead + died };
        Ok(())
    }
}

/// Makes the earliest event of a reservation due, and no other.
fn put_in_order(write: &Transaction<'_>, reservation: &str) -> rusqlite::Result<()> {
    write.prepare_cached(HOLD_BACK)?.execute([reservation])?;
    write.prepare_cached(RELEASE)?.execute([reservation])?;
    Ok(())
}
