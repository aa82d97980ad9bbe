//! Changes a store otherwise than by commands: adds sales from elsewhere with all their
//! reservations, and removes sales that move away. Only while nobody sells from it.
//!
//! The change is a new snapshot, and takes effect in one step when that is renamed: a crash before
//! leaves everything as it was, and a crash after it leaves the whole change.

use std::io;

use super::data_dir::contents;
use super::disk;
use super::record::StopFlag;
use super::recover;
use super::snapshot;
use super::state::LedgerState;
use super::store::Store;
use crate::ledger::LedgerError;
use crate::ledger::copy::SaleCopy;
use crate::limits::{FIRST_VERSION_MAX, TIME_MS_MAX};
use crate::sale::{Machine, Row, SaleId};

impl Store {
    /// Adds sales that do not exist, with all their reservations. Later changes of them have
    /// versions above those that they had.
    ///
    /// `Refused`: nothing happened. `Lost`: it may have happened, and nothing more can be
    /// committed.
    pub(super) fn take_in(&mut self, now_ms: u64, sales: &[SaleCopy]) -> Result<(), LedgerError> {
        self.check()?;
        if let Some(sale) = sales.iter().find(|sale| self.state.sales.number(&sale.id).is_some()) {
            return Err(LedgerError::Refused(format!("there is a sale {} already", sale.id)));
        }
        let highest = sales.iter().map(SaleCopy::version).max().unwrap_or(0);
        self.pass(now_ms, highest)?;
        // Every reservation has the number of an existing record.
        self.journal_room(0)?;
        self.begin(now_ms);
        let version = self.next_number;
        self.write()?;
        self.rewrite(|state| {
            for sale in sales {
                state.departed.remove(&sale.id);
                state.now_ms = state.now_ms.max(sale.view.now_ms.min(TIME_MS_MAX));
                state.sales.insert(sale.id.detached(), machine(sale, version));
            }
        })
    }

    /// Removes sales, with all their reservations, and notes their new ledger. Errors as for
    /// [`take_in`](Self::take_in).
    pub(super) fn send_away(&mut self, sales: &[SaleId], to: &str) -> Result<(), LedgerError> {
        self.check()?;
        self.rewrite(|state| {
            for sale in sales {
                if let Some(number) = state.sales.number(sale) {
                    state.sales.remove(number);
                }
                state.departed.add(sale.detached(), to);
            }
        })
    }

    /// Makes the next record's number greater than a version, if it is not.
    fn pass(&mut self, now_ms: u64, version: u64) -> Result<(), LedgerError> {
        let refuse = || LedgerError::Refused(format!("no version is left above {version}"));
        if version < self.next_number {
            return Ok(());
        }
        let to = version.checked_add(1).filter(|to| *to <= FIRST_VERSION_MAX).ok_or_else(refuse)?;
        self.journal_room(1 + size_of_val(&to))?;
        self.begin(now_ms);
        let (number, record) = (self.next_number, &mut self.record);
        if !self.state.jump(number, to, record) {
            return Err(refuse());
        }
        self.write()?;
        self.next_number = to;
        Ok(())
    }

    /// Changes the state and makes the change durable, as a snapshot before a new journal.
    fn rewrite(&mut self, change: impl FnOnce(&mut LedgerState)) -> Result<(), LedgerError> {
        let changed = self.switch_journal().and_then(|closed| closed.trim());
        changed.and_then(|()| self.data_dir.note()).map_err(refused)?;
        change(&mut self.state);
        let path = self.data_dir.path().to_owned();
        let (generation, number) = (self.journal.generation(), self.next_number);
        let stop = StopFlag::default();
        let written = snapshot::write(&path, generation, number, &self.state, &stop, || ());
        if let Err(error) = written {
            // The state may be ahead of the disk: only a restart can tell.
            let reason = format!("writing the snapshot failed: {error}");
            self.fail(reason.clone());
            return Err(LedgerError::Lost(reason));
        }
        (self.journal_changes, self.snapshot_rows) = (0, self.state.row_count());
        let removed = contents(&path).and_then(|files| recover::remove_old(&path, &files));
        if let Err(error) = removed.and_then(|()| disk::sync_folder(&path)) {
            // The next start removes them.
            tracing::warn!(%error, "files replaced by a snapshot not removed");
        }
        Ok(())
    }
}

fn refused(error: io::Error) -> LedgerError {
    LedgerError::Refused(error.to_string())
}

/// The machine of a sale from elsewhere. Its rows are in the order in which they were granted,
/// which is that of their deadlines.
fn machine(sale: &SaleCopy, version: u64) -> Machine {
    let mut machine = Machine::restore(sale.view.spec.clone(), sale.view.now_ms.min(TIME_MS_MAX));
    machine.reserve_rows(sale.reservations.len());
    let mut rows: Vec<_> = sale.reservations.iter().collect();
    rows.sort_unstable_by_key(|change| (change.reservation.expires_at_ms, change.reservation.id));
    rows.into_iter().for_each(|change| machine.restore_row(Row::of_change(change, version)));
    machine
}

#[cfg(test)]
#[path = "moving_tests.rs"]
mod tests;
