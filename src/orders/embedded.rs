//! The embedded ledger as a source of orders: queries the ledger thread for the changes that the
//! database lacks.
//!
//! It keeps no position of its own. The database does, written with the changes, so the two always
//! agree. The database also keeps the run of the ledger (`runs`) that wrote it, so a folder that
//! was restored to an earlier state is detected, however much it has sold since. While a source
//! reads, the ledger keeps a queue of row numbers for it, and nothing else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::database::Sink;
use super::source::{ChangeSource, Lag, SourceCounts, SourceError};
use super::worker::ConnectError;
use crate::ledger::LedgerError;
use crate::ledger::embedded::{Cursor, Diverged, Handle, LedgerId, source_name};
use crate::sale::Change;

/// The time for an answer of the ledger thread: longer than any fdatasync that will ever end.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// The id of the next reader in this process.
static READERS: AtomicU64 = AtomicU64::new(1);

/// The changes of an embedded ledger after a position. Only one at a time: a second one makes the
/// first search for its changes anew.
pub struct EmbeddedSource {
    handle: Handle,
    name: String,
    cursor: Cursor,
    /// The database has everything up to this version.
    acknowledged: u64,
    /// The number of records up to the cursor, up to the acknowledged version, and up to the start:
    /// not all versions have a record.
    records: u64,
    acknowledged_records: u64,
    began_at_records: Option<u64>,
    /// When the oldest change was made that was delivered and not acknowledged.
    given_at_ms: Option<u64>,
    /// When the latest acknowledged change was made.
    acknowledged_at_ms: Option<u64>,
}

impl EmbeddedSource {
    /// The changes that a database lacks, after a comparison with the ledger. If the database has
    /// changes that this ledger never made, the error is [`SourceError::Fatal`] and the ledger
    /// stops selling: the missing reservations may have been sold and paid.
    pub fn connect(handle: Handle, database: &mut dyn Sink) -> Result<Self, ConnectError> {
        let ledger_id = handle.ledger_id(ANSWER_DEADLINE).map_err(away)?;
        let name = source_name(ledger_id);
        let run_name = format!("{name}:run");
        let position = database.position(&name)?.unwrap_or(0);
        let known_run = database.position(&run_name)?;
        let asked = handle.ask(ANSWER_DEADLINE, move |store| {
            let checked = store.check_history(position, known_run);
            (checked, store.run())
        });
        let (checked, run) = asked.map_err(away)?;
        if let Err(diverged) = checked {
            let reason = behind(ledger_id, diverged);
            let told = reason.clone();
            handle.ask(ANSWER_DEADLINE, move |store| store.fail(told)).map_err(away)?;
            return Err(SourceError::Fatal(reason).into());
        }
        // Before any change of this run is written.
        let run = run.map_err(away)?;
        if known_run != Some(run) {
            database.write(&[], Some((&run_name, run)))?;
        }
        Ok(Self::new(handle, name, position))
    }

    /// The changes after a position.
    pub fn new(handle: Handle, name: String, position: u64) -> Self {
        Self {
            name,
            handle,
            cursor: new_cursor(position),
            acknowledged: position,
            records: 0,
            acknowledged_records: 0,
            began_at_records: None,
            given_at_ms: None,
            acknowledged_at_ms: None,
        }
    }

    /// The changes that there are now. After an error it is not known what was taken from the
    /// queue, so everything after the delivered changes is searched for again.
    fn take(&mut self, max: usize) -> Result<Vec<Change>, SourceError> {
        let (mut cursor, acknowledged) = (self.cursor.clone(), self.acknowledged);
        let taken = self.handle.ask(ANSWER_DEADLINE, move |store| {
            store.set_orders_position(acknowledged);
            let before = store.records_between(0, acknowledged);
            let changes = store.changes(&mut cursor, max)?;
            let records = (before, store.records_between(0, cursor.position()));
            Ok((changes, cursor, records, store.now_ms()))
        });
        match taken.and_then(|taken| taken) {
            Ok((changes, cursor, (before, records), now_ms)) => {
                self.cursor = cursor;
                self.records = records;
                self.began_at_records.get_or_insert(before);
                if let Some(oldest_ms) = changes.iter().map(|change| change.at_ms).min() {
                    let oldest_ms = self.given_at_ms.map_or(oldest_ms, |ms| ms.min(oldest_ms));
                    self.given_at_ms = Some(oldest_ms);
                    let age = Duration::from_millis(now_ms.saturating_sub(oldest_ms));
                    self.handle.counts().orders.behind.set_ago(age);
                }
                Ok(changes)
            }
            Err(error) => {
                self.cursor = new_cursor(self.cursor.position());
                Err(away(error))
            }
        }
    }

    fn has_all_before_the_cursor(&mut self) {
        self.acknowledged = self.cursor.position();
        self.acknowledged_records = self.records;
        let counts = &self.handle.counts().orders;
        counts.set_position(self.records);
        if !self.cursor.is_walking() {
            counts.behind.clear();
        }
    }

    /// Waits until there are more changes.
    fn wait(&self, time: Duration) -> Result<(), SourceError> {
        let (sender, receiver) = sync_channel(1);
        let cursor = self.cursor.clone();
        let asked =
            self.handle.ask(ANSWER_DEADLINE, move |store| store.wake_when_more(&cursor, sender));
        asked.and_then(|asked| asked).map_err(away)?;
        // Woken, timed out or abandoned by a ledger that ends: the next query finds out.
        let _ = receiver.recv_timeout(time);
        Ok(())
    }
}

impl ChangeSource for EmbeddedSource {
    fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Change>, SourceError> {
        let until = Instant::now() + wait;
        loop {
            let changes = self.take(max)?;
            if !changes.is_empty() {
                return Ok(changes);
            }
            // Records that change no reservation need no acknowledgement.
            if self.given_at_ms.is_none() {
                self.has_all_before_the_cursor();
            }
            // Also during a walk over many rows: the caller may have been stopped.
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(changes);
            }
            if !self.cursor.is_walking() {
                self.wait(left)?;
            }
        }
    }

    fn acknowledge(&mut self) -> Result<(), SourceError> {
        self.acknowledged_at_ms = self.given_at_ms.take().or(self.acknowledged_at_ms);
        self.has_all_before_the_cursor();
        Ok(())
    }

    fn position(&self) -> Option<(String, u64)> {
        Some((self.name.clone(), self.cursor.position()))
    }

    /// Entries are the journal's records, one per commit. During a walk, the age is that of the
    /// last acknowledged changes: the oldest missing one is younger.
    fn lag(&mut self) -> Result<Lag, SourceError> {
        let (cursor, acknowledged) = (self.cursor.clone(), self.acknowledged);
        let asked = self.handle.ask(ANSWER_DEADLINE, move |store| {
            store.set_orders_position(acknowledged);
            (store.rest(&cursor), store.records_between(acknowledged, store.version()))
        });
        let (rest, entries) = asked.map_err(away)?;
        let oldest = self.given_at_ms.or(rest.oldest_at_ms).or(self.acknowledged_at_ms);
        let oldest_ms = oldest.map_or(0, |at_ms| rest.now_ms.saturating_sub(at_ms));
        Ok(Lag { entries, oldest_ms: if entries == 0 { 0 } else { oldest_ms } })
    }

    fn counts(&self) -> SourceCounts {
        let began_at = self.began_at_records.unwrap_or(self.acknowledged_records);
        let entries = self.acknowledged_records.saturating_sub(began_at);
        SourceCounts { entries, ..SourceCounts::default() }
    }
}

/// What to do about a ledger that is behind its orders.
fn behind(ledger_id: u128, diverged: Diverged) -> String {
    format!(
        "the ledger is behind its orders: {diverged}. Its folder was restored from a backup, or \
         another copy of it has sold. Nothing is sold from it, since the same units may be paid for: \
         put the newer folder back. If there is none, `stampede audit --orders` names the orders that \
         the ledger lacks; when they are settled, start once with --restored-ledger {}",
        LedgerId(ledger_id)
    )
}

fn new_cursor(position: u64) -> Cursor {
    Cursor::new(position, READERS.fetch_add(1, Ordering::Relaxed))
}

fn away(error: LedgerError) -> SourceError {
    SourceError::Away(error.to_string())
}
