//! The store: state and journal together. One commit, one record, one fdatasync.
//!
//! What fails before a batch is applied (no room on the disk) refuses that batch and nothing else:
//! the next one may find room. What fails after it (the write, the fdatasync) leaves the state ahead
//! of the disk by a batch that may or may not be there after a restart, and after a failed fdatasync
//! not even reading it back would tell. So that batch is answered "lost", and every later one is
//! refused until a restart has read what is really there.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use super::changes::{self, Cursor, Rest};
use super::codec::{COMMAND_BYTES_MAX, bytes_max, put_time};
use super::fold::Fold;
use super::folder::{Folder, contents, journal_path};
use super::journal::{Found, Journal, is_full};
use super::moving::check_settled;
use super::open_error::OpenError;
use super::record::{RECORD_BYTES_MAX, RECORD_HEADER_BYTES, StopFlag};
use super::recover;
use super::runs::Diverged;
use super::state::State;
use crate::ledger::counts::StoreCounts;
use crate::ledger::{Batch, BatchReply, LedgerError};
use crate::limits::{SALE_ID_BYTES_MAX, TIME_MS_MAX};
use crate::sale::{Change, Command, SaleId, SaleView};

/// Most commands in one commit.
pub const COMMIT_COMMANDS_MAX: usize = 32 * 1024;

/// A removed sale with more reservations than this is freed by a thread of its own: ten million take
/// about a second.
const FREE_AT_ONCE_ROWS: usize = 10_000;

/// Room kept for the next record when its buffer is much larger than it need be.
const RECORD_SPARE_BYTES: usize = 1 << 20;

const _: () =
    assert!(RECORD_HEADER_BYTES + 8 + COMMIT_COMMANDS_MAX * COMMAND_BYTES_MAX < RECORD_BYTES_MAX);

/// How a store keeps its files.
#[derive(Debug, Clone)]
pub struct Options {
    /// Changes in the journal before it is folded into a snapshot; or half as many as the snapshot
    /// has reservations, if that is more, so that the work of folding stays in proportion. A restart
    /// takes about a second for every million.
    pub fold_changes_min: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { fold_changes_min: 1_000_000 }
    }
}

/// All sales of a data folder. Not for several threads: it has one owner.
pub struct Store {
    pub(super) folder: Folder,
    pub(super) options: Options,
    pub(super) state: State,
    pub(super) journal: Journal,
    pub(super) next_number: u64,
    /// The record being built, with room for its header.
    pub(super) record: Vec<u8>,
    /// Why nothing can be committed any more.
    pub(super) failure: Option<String>,
    /// Changes in all journals since the snapshot.
    pub(super) journal_changes: u64,
    pub(super) snapshot_rows: u64,
    /// Up to where the orders have everything, once their reader has said so.
    orders_position: Option<u64>,
    /// What reads the changes keeps rows, which an audit can look at.
    orders_have_rows: bool,
    /// A journal with this many changes is to be folded.
    pub(super) fold_at_changes: u64,
    pub(super) fold: Option<Fold>,
    counts: Arc<StoreCounts>,
}

impl Store {
    /// Opens a data folder, making it if it is missing, and reads all sales into memory.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let folder = Folder::open(path)?;
        // Whatever was said of its sales is said under the lock.
        check_settled(path)?;
        Self::open_folder(folder, options)
    }

    /// The same, also if sales are on their way to another ledger: for whoever moves them.
    pub(super) fn open_to_move(path: &Path, options: Options) -> Result<Self, OpenError> {
        Self::open_folder(Folder::open(path)?, options)
    }

    fn open_folder(mut folder: Folder, options: Options) -> Result<Self, OpenError> {
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
        recover::remove_old(path, &files).map_err(fail)?;
        let last_journal = files.journals.last().copied().unwrap_or(0).max(journal.generation());
        folder.begin_run(last_journal, last_number).map_err(fail)?;
        match folder.note() {
            // It is noted before anything is written: there is no room for that either.
            Err(error) if is_full(&error) && last_number > 0 => {
                tracing::error!(folder = %path.display(), "no space left: the ledger only answers");
            }
            result => result.map_err(fail)?,
        }
        let mut store = Self {
            folder,
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
            fold_at_changes: 0,
            fold: None,
            counts: Arc::default(),
        };
        store.plan_fold();
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
    /// it returns. Time that goes back stands still. Gives one reply a batch.
    ///
    /// `Refused`: nothing happened. `Lost`: it may have, and nothing more can be committed.
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

    /// Returns to stock what was held past its deadline, looking at about `batch_max` reservations,
    /// the earliest first. Gives whether more is due. Errors as for [`commit`](Self::commit).
    pub fn expire(&mut self, now_ms: u64, batch_max: u32) -> Result<bool, LedgerError> {
        self.check()?;
        let now_ms = now_ms.min(TIME_MS_MAX).max(self.state.now_ms);
        // Sales of which nothing is due cost nothing here, however many there are.
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

    /// Looks after the journal: begins to fold one that has become long, and takes note of one that
    /// is folded. Cheap when there is nothing to do; to be called often.
    pub fn maintain(&mut self) {
        self.free_removed();
        if self.fold.as_ref().is_some_and(|fold| fold.is_finished()) {
            self.finish_fold();
        }
        let is_due = self.journal_changes >= self.fold_at_changes;
        if is_due && self.fold.is_none() && self.failure.is_none() {
            self.start_fold();
        }
    }

    /// Every sale as it stands, in no order.
    pub fn sales(&self) -> impl Iterator<Item = (&SaleId, SaleView)> {
        self.state.sales.iter().map(|(id, machine)| (id, machine.view()))
    }

    /// The ledger's time: that of the latest commit, in ms since 1970.
    pub fn now_ms(&self) -> u64 {
        self.state.now_ms
    }

    /// The time is now this, unless that is earlier than it was.
    pub(super) fn set_now(&mut self, now_ms: u64) {
        self.state.now_ms = self.state.now_ms.max(now_ms.min(TIME_MS_MAX));
    }

    /// Reservations of all sales, whatever became of them.
    pub fn reservation_count(&self) -> u64 {
        self.state.row_count()
    }

    /// It counts in these from now on.
    pub(super) fn count_in(&mut self, counts: Arc<StoreCounts>) {
        counts.records.set(self.records_between(0, self.version()));
        self.counts = counts;
    }

    /// What it counts.
    pub(super) fn counts(&self) -> &Arc<StoreCounts> {
        &self.counts
    }

    /// The number of the last record: every change so far has at the most this version.
    pub fn version(&self) -> u64 {
        self.next_number - 1
    }

    /// What tells this ledger from any other, whatever its folder is called.
    pub fn id(&self) -> u128 {
        self.folder.id()
    }

    /// Whether a database that has the changes up to `position`, the last of them written in the run
    /// with this id, knows of nothing but this ledger's history.
    pub fn check_history(&self, position: u64, run: Option<u64>) -> Result<(), Diverged> {
        self.folder.runs().check(self.version(), position, run)
    }

    /// The id of this run of the ledger. `Refused`: the disk is too full to keep it.
    pub fn run(&self) -> Result<u64, LedgerError> {
        match self.folder.runs().current() {
            Some(run) if self.folder.is_run_noted() => Ok(run.id()),
            _ => Err(LedgerError::Refused(format!(
                "no space left for {}",
                self.folder.path().display()
            ))),
        }
    }

    /// Up to where the orders have everything, if a reader of changes has told.
    pub fn orders_position(&self) -> Option<u64> {
        self.orders_position
    }

    /// The orders have everything up to this version.
    pub fn set_orders_position(&mut self, version: u64) {
        self.orders_position = Some(version);
        self.state.traces.forget(version);
    }

    /// Whether what reads the changes keeps rows, which an audit can look at: webhooks do not.
    pub fn set_orders_have_rows(&mut self, have: bool) {
        self.orders_have_rows = have;
    }

    /// See [`set_orders_have_rows`](Self::set_orders_have_rows).
    pub fn orders_have_rows(&self) -> bool {
        self.orders_have_rows
    }

    /// Whether a reader of changes has yet to take some of this sale.
    pub fn orders_behind(&self, sale: &SaleId) -> bool {
        let machine = self.state.sales.number(sale).and_then(|n| self.state.sales.get(n));
        let rows = machine.map(|(_, machine)| machine.rows());
        // Chunks in which nothing is newer are passed over, so this is short.
        rows.zip(self.orders_position)
            .is_some_and(|(rows, known)| rows.skip_unchanged(0, known) < rows.len())
    }

    /// The next changes after a cursor's position, about `max` at the most, and about a millisecond's
    /// work: there may be none yet although there are more. `Refused`: the state is ahead of the
    /// disk, so none can be told.
    pub fn changes(&mut self, cursor: &mut Cursor, max: usize) -> Result<Vec<Change>, LedgerError> {
        self.check()?;
        let version = self.version();
        Ok(changes::next(&mut self.state, version, cursor, max))
    }

    /// How many records there are after one version and up to another.
    pub fn records_between(&self, after: u64, until: u64) -> u64 {
        self.state.gaps.given_between(after, until)
    }

    /// What is left for a cursor.
    pub fn rest(&self, cursor: &Cursor) -> Rest {
        changes::rest(&self.state, self.version(), cursor)
    }

    /// Has somebody sent to when there is something to read for a cursor, at once if there is already.
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
    pub(super) fn state_for_reading(&mut self) -> Result<&mut State, LedgerError> {
        self.check()?;
        Ok(&mut self.state)
    }

    /// Whether a journal is being folded.
    pub fn is_folding(&self) -> bool {
        self.fold.is_some()
    }

    /// Closes it: gives up a fold, notes the time so that it can't go back over the restart, gives
    /// unused room back, and notes how far the records go, so that a file that is cut off later is
    /// found out. Not needed for anything committed, which is durable already.
    pub fn close(mut self) -> Result<(), LedgerError> {
        self.abandon_fold();
        self.check()?;
        self.journal_room(0)?;
        self.begin(self.state.now_ms);
        self.write()?;
        self.folder.change(self.journal.generation(), self.version());
        let trimmed = self.journal.trim().and_then(|()| self.folder.note());
        trimmed.map_err(|error| LedgerError::Lost(error.to_string()))
    }

    /// Commits nothing any more, for this reason. For the owner who has seen it panic.
    pub fn fail(&mut self, reason: String) {
        tracing::error!(reason, "the ledger takes nothing more until it is restarted");
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
        self.write()
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
                // Without a thread to be had, it is freed here.
                let _ = std::thread::Builder::new().name("free".into()).spawn(free);
            }
        }
    }

    /// Room for all that these batches may change, found before any of it is.
    fn make_room(&mut self, batches: &[Batch]) -> Result<(), LedgerError> {
        let commands = || batches.iter().flat_map(|b| &b.groups).flat_map(|group| &group.commands);
        let changing = || commands().filter(|command| may_change(command));
        let changes = changing().count();
        if changes > COMMIT_COMMANDS_MAX {
            let reason = format!("{changes} commands in one commit, at most {COMMIT_COMMANDS_MAX}");
            return Err(LedgerError::Refused(reason));
        }
        // What only asks is answered also when the disk is full.
        if changes == 0 { Ok(()) } else { self.journal_room(changing().map(bytes_max).sum()) }
    }

    pub(super) fn journal_room(&mut self, bytes: usize) -> Result<(), LedgerError> {
        let bytes = RECORD_HEADER_BYTES + size_of_val(&self.state.now_ms) + bytes;
        let noted = if self.folder.is_run_noted() { Ok(()) } else { self.folder.note() };
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
    /// A fold must not outlive the lock on the folder.
    fn drop(&mut self) {
        self.abandon_fold();
    }
}

/// Logs what the next write puts an end to.
fn log_rest(folder: &Path, last: &Found) {
    if last.rest_bytes > 0 {
        tracing::warn!(
            file = %journal_path(folder, last.header.generation).display(),
            at = last.end,
            bytes = last.rest_bytes,
            "an unfinished record is cut off the end of the journal: it was never answered"
        );
    }
}

fn may_change(command: &Command) -> bool {
    match command {
        command if command.only_looks() => false,
        Command::Give { .. } | Command::Take { .. } => false,
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
