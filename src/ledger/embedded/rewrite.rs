//! Changing a store by more than its commands: sales that come from elsewhere with all their
//! reservations, and sales that leave. Only while nobody sells from it.
//!
//! What is changed is a snapshot of its own, and appears in one step when that gets its name: a crash
//! before leaves everything as it was, and one after finds all of it.

use std::io;

use super::disk;
use super::folder::contents;
use super::record::StopFlag;
use super::recover;
use super::snapshot;
use super::state::State;
use super::store::Store;
use crate::ledger::LedgerError;
use crate::ledger::copy::SaleCopy;
use crate::limits::{FIRST_VERSION_MAX, TIME_MS_MAX};
use crate::sale::{Machine, Row, SaleId};

impl Store {
    /// Takes sales in that are not there, with all their reservations. What is told of them from now
    /// on has versions above those that they had.
    ///
    /// `Refused`: nothing happened. `Lost`: it may have, and nothing more can be committed.
    pub(super) fn take_in(&mut self, now_ms: u64, sales: &[SaleCopy]) -> Result<(), LedgerError> {
        self.check()?;
        if let Some(sale) = sales.iter().find(|sale| self.state.sales.number(&sale.id).is_some()) {
            return Err(LedgerError::Refused(format!("there is a sale {} already", sale.id)));
        }
        let highest = sales.iter().map(SaleCopy::version).max().unwrap_or(0);
        self.pass(now_ms, highest)?;
        // Every reservation is told under the number of a record that there is.
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

    /// Forgets sales, with all their reservations, and notes where they are. Errors as for
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

    /// Has the next record be numbered above a version, if it is not.
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

    /// Changes the state and makes that durable, as a snapshot before a new journal.
    fn rewrite(&mut self, change: impl FnOnce(&mut State)) -> Result<(), LedgerError> {
        let changed = self.change_journal().and_then(|closed| closed.trim());
        changed.and_then(|()| self.folder.note()).map_err(refused)?;
        change(&mut self.state);
        let path = self.folder.path().to_owned();
        let (generation, number) = (self.journal.generation(), self.next_number);
        let stop = StopFlag::default();
        let written = snapshot::write(&path, generation, number, &self.state, &stop, || ());
        if let Err(error) = written {
            // The state is ahead of the disk, or not: only a restart can tell.
            let reason = format!("writing the snapshot failed: {error}");
            self.fail(reason.clone());
            return Err(LedgerError::Lost(reason));
        }
        (self.journal_changes, self.snapshot_rows) = (0, self.state.row_count());
        let removed = contents(&path).and_then(|files| recover::remove_old(&path, &files));
        if let Err(error) = removed.and_then(|()| disk::sync_folder(&path)) {
            // The next start removes them.
            tracing::warn!(%error, "files that a snapshot replaces can't be removed now");
        }
        Ok(())
    }
}

fn refused(error: io::Error) -> LedgerError {
    LedgerError::Refused(error.to_string())
}

/// The machine of a sale that comes from elsewhere. Its rows stand in the order in which they were
/// granted, which is that of their deadlines.
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
