//! The store: state and journal together. One commit, one record, one fdatasync.
//!
//! A failure before a batch is applied (no space on the disk) refuses only that batch: the next one
//! may find space. A failure after it (of the write or the fdatasync) leaves the state ahead of the
//! disk by a batch that may or may not be there after a restart; after a failed fdatasync not even
//! reading it back would tell. So that batch is answered "lost", and every later one is refused
//! until a restart has read the disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use super::changes::{self, Cursor, Rest};
use super::codec::{COMMAND_BYTES_MAX, bytes_max, put_time};
use super::compaction::Compaction;
use super::data_dir::{DataDir, contents, journal_path};
use super::disk;
use super::journal::{Found, Journal, is_full};
use super::moving::check_settled;
use super::open_error::OpenError;
use super::record::{RECORD_BYTES_MAX, RECORD_HEADER_BYTES, StopFlag};
use super::recover;
use super::runs::Diverged;
use super::state::LedgerState;
use crate::ledger::counts::StoreCounts;
use crate::ledger::{Batch, BatchReply, LedgerError};
use crate::limits::{SALE_ID_BYTES_MAX, TIME_MS_MAX};
use crate::planted::{self, Bug};
use crate::sale::{Change, Command, SaleId, SaleView};

/// The maximum number of commands in one commit.
pub const COMMIT_COMMANDS_MAX: usize = 32 * 1024;

/// The number of reservations from which a removed sale is freed by a thread of its own: ten
/// million take about a second.
const FREE_AT_ONCE_ROWS: usize = 10_000;

/// Capacity that is kept for the next record if its buffer is much larger.
const RECORD_SPARE_BYTES: usize = 1 << 20;

const _: () =
    assert!(RECORD_HEADER_BYTES + 8 + COMMIT_COMMANDS_MAX * COMMAND_BYTES_MAX < RECORD_BYTES_MAX);

/// Options of a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Changes in the journal before it is compacted into a snapshot; or half the number of the
    /// snapshot's reservations, if that is more, so that the work of compaction stays in
    /// proportion. A restart takes about a second per million.
    pub compaction_changes_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { compaction_changes_min: 1_000_000 }
    }
}

/// All sales of a data folder. For one thread.
pub struct Store {
    pub(super) data_dir: DataDir,
    pub(super) options: Options,
    pub(super) state: LedgerState,
    pub(super) journal: Journal,
    pub(super) next_number: u64,
    /// The record that is being built, with space for its header.
    pub(super) record: Vec<u8>,
    /// Why nothing can be committed any more.
    pub(super) failure: Option<String>,
    /// Changes in all journals since the snapshot.
    pub(super) journal_changes: u64,
    pub(super) snapshot_rows: u64,
    /// The orders have everything up to this version, once their reader has reported it.
    orders_position: Option<u64>,
    /// The reader of changes keeps rows, which an audit can read.
    orders_have_rows: bool,
    /// The number of changes at which the journal is compacted.
    pub(super) compact_at_changes: u64,
    pub(super) compaction: Option<Compaction>,
    counts: Arc<StoreCounts>,
}

impl Store {
    /// Opens a data folder, creates it if it is missing, and reads all sales into memory.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let folder = DataDir::open(path)?;
        // Under the lock, the note on its sales is final.
        check_settled(path)?;
        Self::open_folder(folder, options)
    }

    /// The same, also if sales are moving to another ledger: for the mover.
    pub(super) fn open_to_move(path: &Path, options: Options) -> Result<Self, OpenError> {
        Self::open_folder(DataDir::open(path)?, options)
    }

    fn open_folder(mut folder: DataDir, options: Options) -> Result<Self, OpenError> {
        let started = Instant::now();
        let path = &folder.path().to_owned();
        let fail = |error| OpenError::from_io(path, error);
        let files = contents(path).map_err(fail)?;
        folder.check_files(&files)?;
        let recovered = recover::recover(path, &files, u64::MAX, &StopFlag::default())?;
        let last_number = recovered.next_number - 1;
        if let Some(last) = &recovered.last {
            folder.check_records(last_number, (last.header.generation, last.end))?;
            log_rest(path, last);
        }
        let journal = match recovered.last {
            Some(last) => Journal::resume(path, last),
            None => Journal::create(path, 1, recovered.next_number),
        }
        .map_err(fail)?;
        // The process that has created a file may have been killed before it synced the folder. If
        // the power fails now, such a file may be gone: nothing may be removed for its sake, and the
        // marker must not name it.
        disk::sync_folder(path).map_err(fail)?;
        recover::remove_old(path, &files).map_err(fail)?;
        let last_journal = files.journals.last().copied().unwrap_or(0).max(journal.generation());
        folder.begin_run(last_journal, last_number).map_err(fail)?;
        match folder.note() {
            // The run must be noted before anything is written, and there is no space for that
            // either.
            Err(error) if is_full(&error) && last_number > 0 => {
                tracing::error!(folder = %path.display(), "no space left: the ledger accepts no changes");
            }
            result => result.map_err(fail)?,
        }
        let mut store = Self {
            data_dir: folder,
            options,
            state: recovered.state,
            journal,
            next_number: recovered.next_number,
            record: vec![0; RECORD_HEADER_BYTES],
            failure: None,
            journal_changes: recovered.journal_changes,
            snapshot_rows: recovered.snapshot_rows,
            orders_position: None,
            orders_have_rows: true,
            compact_at_changes: 0,
            compaction: None,
            counts: Arc::default(),
        };
        store.plan_compaction();
        tracing::info!(
            folder = %path.display(),
            sales = store.state.sales.count(),
            reservations = store.state.row_count(),
            replayed = store.journal_changes,
            took_ms = started.elapsed().as_millis() as u64,
            "ledger open"
        );
        Ok(store)
    }

    /// Applies batches in order, at a time in ms since 1970, and makes their changes durable before
    /// it returns. A time before that of an earlier commit counts as that one. Returns one reply
    /// per batch.
    ///
    /// `Refused`: nothing happened. `Lost`: it may have happened, and nothing more can be
    /// committed.
    pub fn commit(
        &mut self,
        now_ms: u64,
        batches: &[Batch],
    ) -> Result<Vec<BatchReply>, LedgerError> {
        self.check()?;
        self.make_room(batches)?;
        self.begin(now_ms);
        let mut changes = 0;
        let mut reply = |group| {
            let (reply, changed) = self.state.apply(group, self.next_number, &mut self.record);
            changes += changed;
            reply
        };
        let replies =
            batches.iter().map(|batch| batch.groups.iter().map(&mut reply).collect()).collect();
        self.finish(changes)?;
        Ok(replies)
    }

    /// Returns expired units to stock, reading about `batch_max` reservations, the earliest first.
    /// Returns whether more is due. Errors as for [`commit`](Self::commit).
    pub fn expire(&mut self, now_ms: u64, batch_max: u32) -> Result<bool, LedgerError> {
        self.check()?;
        let now_ms = now_ms.min(TIME_MS_MAX).max(self.state.now_ms);
        // Sales without due reservations cost nothing here, however many there are.
        let due = self.state.sales.due_count(now_ms, batch_max as usize);
        if due == 0 {
            return Ok(false);
        }
        let entry_bytes = 2 + SALE_ID_BYTES_MAX + 1 + 8;
        self.journal_room(due * entry_bytes)?;
        self.begin(now_ms);
        let (changes, more) = self.state.expire(batch_max, self.next_number, &mut self.record);
        self.finish(changes)?;
        Ok(more)
    }

    /// Maintains the journal: begins to compact one that has become long, and finishes a
    /// compaction. Cheap when there is nothing to do; call it often.
    pub fn maintain(&mut self) {
        self.free_removed();
        if self.compaction.as_ref().is_some_and(|compaction| compaction.is_finished()) {
            self.finish_compaction();
        }
        let is_due = self.journal_changes >= self.compact_at_changes;
        if is_due && self.compaction.is_none() && self.failure.is_none() {
            self.start_compaction();
        }
    }

    /// Every sale as it is now, in no order.
    pub fn sales(&self) -> impl Iterator<Item = (&SaleId, SaleView)> {
        self.state.sales.iter().map(|(id, machine)| (id, machine.view()))
    }

    /// The ledger's time: that of the latest commit, in ms since 1970.
    pub fn now_ms(&self) -> u64 {
        self.state.now_ms
    }

    /// Sets the time, unless that is earlier than it was.
    pub(super) fn set_now(&mut self, now_ms: u64) {
        self.state.now_ms = self.state.now_ms.max(now_ms.min(TIME_MS_MAX));
    }

    /// The number of reservations of all sales, of any status.
    pub fn reservation_count(&self) -> u64 {
        self.state.row_count()
    }

    /// Sets its counters.
    pub(super) fn count_in(&mut self, counts: Arc<StoreCounts>) {
        counts.records.set(self.records_between(0, self.version()));
        self.counts = counts;
    }

    /// Its counters.
    pub(super) fn counts(&self) -> &Arc<StoreCounts> {
        &self.counts
    }

    /// The number of the last record: no change so far has a greater version.
    pub fn version(&self) -> u64 {
        self.next_number - 1
    }

    /// The id of this ledger, whatever its folder is called.
    pub fn id(&self) -> u128 {
        self.data_dir.id()
    }

    /// Checks that a database with the changes up to `position`, last written in the run with this
    /// id, has only this ledger's history.
    pub fn check_history(&self, position: u64, run: Option<u64>) -> Result<(), Diverged> {
        self.data_dir.runs().check(self.version(), position, run)
    }

    /// The id of this run of the ledger. `Refused`: the disk is too full to keep it.
    pub fn run(&self) -> Result<u64, LedgerError> {
        match self.data_dir.runs().current() {
            Some(run) if self.data_dir.is_run_noted() => Ok(run.id()),
            _ => Err(LedgerError::Refused(format!(
                "no space left for {}",
                self.data_dir.path().display()
            ))),
        }
    }

    /// The version up to which the orders have everything, if a reader of changes has reported it.
    pub fn orders_position(&self) -> Option<u64> {
        self.orders_position
    }

    /// Notes that the orders have everything up to this version.
    pub fn set_orders_position(&mut self, version: u64) {
        self.orders_position = Some(version);
        self.state.traces.forget(version);
    }

    /// Sets whether the reader of changes keeps rows, which an audit can read: webhooks do not.
    pub fn set_orders_have_rows(&mut self, have: bool) {
        self.orders_have_rows = have;
    }

    /// See [`set_orders_have_rows`](Self::set_orders_have_rows).
    pub fn orders_have_rows(&self) -> bool {
        self.orders_have_rows
    }

    /// Whether a reader of changes has not taken all changes of this sale.
    pub fn orders_behind(&self, sale: &SaleId) -> bool {
        let machine = self.state.sales.number(sale).and_then(|n| self.state.sales.get(n));
        let rows = machine.map(|(_, machine)| machine.rows());
        // Skips chunks without newer rows, so this is short.
        rows.zip(self.orders_position)
            .is_some_and(|(rows, known)| rows.skip_unchanged(0, known) < rows.len())
    }

    /// The next changes after a cursor's position, about `max` at most, and about a millisecond's
    /// work: there may be none yet although there are more. `Refused`: the state is ahead of the
    /// disk.
    pub fn changes(&mut self, cursor: &mut Cursor, max: usize) -> Result<Vec<Change>, LedgerError> {
        self.check()?;
        let version = self.version();
        Ok(changes::next(&mut self.state, version, cursor, max))
    }

    /// The number of records after one version and up to another.
    pub fn records_between(&self, after: u64, until: u64) -> u64 {
        self.state.gaps.given_between(after, until)
    }

    /// The unread changes of a cursor.
    pub fn rest(&self, cursor: &Cursor) -> Rest {
        changes::rest(&self.state, self.version(), cursor)
    }

    /// Notifies the sender when there are changes for a cursor, at once if there are already.
    pub fn wake_when_more(
        &mut self,
        cursor: &Cursor,
        wake: SyncSender<()>,
    ) -> Result<(), LedgerError> {
        self.check()?;
        changes::wake_when_more(&mut self.state, cursor, wake);
        Ok(())
    }

    /// The state, for the reader of changes. `Refused`: it is ahead of the disk.
    pub(super) fn state_for_reading(&mut self) -> Result<&mut LedgerState, LedgerError> {
        self.check()?;
        Ok(&mut self.state)
    }

    /// Whether a compaction is in progress.
    pub fn is_compacting(&self) -> bool {
        self.compaction.is_some()
    }

    /// Closes it: abandons a compaction, records the time so that it can't go back over the
    /// restart, releases unused space, and records the last number, so that a file that is
    /// truncated later is detected. Committed changes are durable without this.
    pub fn close(mut self) -> Result<(), LedgerError> {
        self.abandon_compaction();
        self.check()?;
        self.journal_room(0)?;
        self.begin(self.state.now_ms);
        self.write()?;
        self.data_dir.change(self.journal.generation(), self.version());
        let trimmed = self.journal.trim().and_then(|()| self.data_dir.note());
        trimmed.map_err(|error| LedgerError::Lost(error.to_string()))
    }

    /// Commits nothing any more, for this reason. For an owner that has caught a panic.
    pub fn fail(&mut self, reason: String) {
        tracing::error!(reason, "ledger accepts nothing more until it is restarted");
        self.failure.get_or_insert(reason);
    }

    /// Whether nothing can be committed any more.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn check(&self) -> Result<(), LedgerError> {
        match &self.failure {
            Some(reason) => Err(LedgerError::Refused(format!("{reason}; restart the ledger"))),
            None => Ok(()),
        }
    }

    pub(super) fn begin(&mut self, now_ms: u64) {
        if planted::is(Bug::AnsweredBeforeCommit) && self.record.len() > RECORD_HEADER_BYTES + 8 {
            let _ = self.write();
        }
        self.set_now(now_ms);
        if self.record.capacity() > RECORD_SPARE_BYTES {
            self.record = Vec::with_capacity(RECORD_SPARE_BYTES);
        }
        self.record.clear();
        self.record.resize(RECORD_HEADER_BYTES, 0);
        put_time(&mut self.record, self.state.now_ms);
    }

    fn finish(&mut self, changes: u64) -> Result<(), LedgerError> {
        if changes == 0 {
            return Ok(());
        }
        self.journal_changes += changes;
        // With the bug, it is written when the next record begins.
        if planted::is(Bug::AnsweredBeforeCommit) { Ok(()) } else { self.write() }
    }

    pub(super) fn write(&mut self) -> Result<(), LedgerError> {
        match self.journal.append(&mut self.record, self.next_number) {
            Ok(sync) => self.counts.sync_us.record(sync.as_micros() as u64),
            Err(error) => {
                let reason = format!("writing {} failed: {error}", self.journal.path().display());
                self.fail(reason.clone());
                return Err(LedgerError::Lost(reason));
            }
        }
        self.counts.records.set(self.state.gaps.given_between(0, self.next_number));
        self.next_number += 1;
        if let Some(tail) = &mut self.state.tail {
            tail.wake_reader();
        }
        Ok(())
    }

    fn free_removed(&mut self) {
        for machine in std::mem::take(&mut self.state.removed) {
            if machine.rows().len() > FREE_AT_ONCE_ROWS {
                let free = || drop(machine);
                // If no thread can be started, it is freed here.
                let _ = std::thread::Builder::new().name("free".into()).spawn(free);
            }
        }
    }

    /// Ensures space for all changes of these batches, before any is made.
    fn make_room(&mut self, batches: &[Batch]) -> Result<(), LedgerError> {
        let commands = || batches.iter().flat_map(|b| &b.groups).flat_map(|group| &group.commands);
        let changing = || commands().filter(|command| may_change(command));
        let changes = changing().count();
        if changes > COMMIT_COMMANDS_MAX {
            let reason = format!("{changes} commands in one commit, at most {COMMIT_COMMANDS_MAX}");
            return Err(LedgerError::Refused(reason));
        }
        // Queries are answered also when the disk is full.
        if changes == 0 { Ok(()) } else { self.journal_room(changing().map(bytes_max).sum()) }
    }

    pub(super) fn journal_room(&mut self, bytes: usize) -> Result<(), LedgerError> {
        let bytes = RECORD_HEADER_BYTES + size_of_val(&self.state.now_ms) + bytes;
        let noted = if self.data_dir.is_run_noted() { Ok(()) } else { self.data_dir.note() };
        noted.and_then(|()| self.journal.make_room(bytes as u64)).map_err(|error| {
            let path = self.journal.path().display();
            LedgerError::Refused(match is_full(&error) {
                true => format!("no space left for {path}"),
                false => format!("no room for {path}: {error}"),
            })
        })
    }
}

impl Drop for Store {
    /// A compaction must not outlive the lock on the folder.
    fn drop(&mut self) {
        self.abandon_compaction();
    }
}

/// Logs the bytes that the next write overwrites.
fn log_rest(folder: &Path, last: &Found) {
    if last.rest_bytes > 0 {
        tracing::warn!(
            file = %journal_path(folder, last.header.generation).display(),
            at = last.end,
            bytes = last.rest_bytes,
            "unfinished record removed from the end of the journal; it was never answered"
        );
    }
}

fn may_change(command: &Command) -> bool {
    match command {
        command if command.only_looks() => false,
        Command::TransferOut { .. } | Command::TransferIn { .. } => false,
        Command::CreatePart { .. } | Command::Reset { .. } => false,
        _ => true,
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "fault_tests.rs"]
mod fault_tests;
