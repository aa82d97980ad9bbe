//! The embedded ledger for everybody who is no core: through the ledger thread of a running server,
//! or straight on a folder that no server has open.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::audit::{self, Ask};
use super::folder::has_ledger;
use super::folder::source_name;
use super::moving::Moving;
use super::open_error::OpenError;
use super::store::{Options, Store};
use super::thread::{Handle, Job};
use crate::clock::{SteadyClock, wall_ms};
use crate::ledger::client::{Client, Repair, SaleAudit};
use crate::ledger::copy::SaleCopy;
use crate::ledger::gaps::Gaps;
use crate::ledger::{Batch, BatchReply, Group, LedgerError};
use crate::limits::MOVED_SALES_MAX;
use crate::sale::{Command, SaleId};

/// Through a running ledger.
pub struct EmbeddedClient {
    handle: Handle,
    timeout: Duration,
}

impl EmbeddedClient {
    /// A client that waits so long for each answer.
    pub fn new(handle: Handle, timeout: Duration) -> Self {
        Self { handle, timeout }
    }

    /// What tells this ledger from any other. An error as of [`Handle::ledger_id`].
    pub fn ledger_id(&self) -> Result<u128, LedgerError> {
        self.handle.ledger_id(self.timeout)
    }
}

impl Ask for EmbeddedClient {
    fn ask<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.handle.ask(self.timeout, look)
    }
}

/// A sale's reservations go with it, so its orders must be written before. Nothing of a sale that may
/// be removed changes any more but by a late confirmation.
fn check_removal(ledger: &mut impl Ask, batch: &Batch) -> Result<(), LedgerError> {
    for group in batch.groups.iter().filter(|g| g.commands.contains(&Command::Remove)) {
        let sale = group.sale.detached();
        if ledger.ask(move |store| store.orders_behind(&sale))? {
            return Err(LedgerError::Refused(format!(
                "not all orders of {} are written yet: ask again when they are",
                group.sale
            )));
        }
    }
    Ok(())
}

/// A sale that was moved to another ledger must not be made here again: its units are sold there.
fn check_creation(ledger: &mut impl Ask, batch: &Batch) -> Result<(), LedgerError> {
    let creates =
        |group: &&Group| group.commands.iter().any(|command| matches!(command, Command::Create(_)));
    for group in batch.groups.iter().filter(creates) {
        if let Some(to) = audit::moved_to(ledger, &group.sale)? {
            return Err(LedgerError::Refused(format!(
                "the sale {} was moved to {to} and is sold from there",
                group.sale
            )));
        }
    }
    Ok(())
}

impl Client for EmbeddedClient {
    fn apply(&mut self, batch: &Batch) -> Result<BatchReply, LedgerError> {
        check_removal(self, batch)?;
        check_creation(self, batch)?;
        let detach =
            |group: &Group| Group { sale: group.sale.detached(), commands: group.commands.clone() };
        let batch = Batch { groups: batch.groups.iter().map(detach).collect() };
        let (sender, receiver) = sync_channel(1);
        // Nobody may wait for the reply any more.
        self.handle.send(Job::new(batch, Box::new(move |reply| _ = sender.send(reply))));
        let reply = receiver.recv_timeout(self.timeout).map(|reply| reply.map(|(reply, _)| reply));
        reply.unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => {
                    LedgerError::Lost(format!("no answer in {:?}", self.timeout))
                }
                RecvTimeoutError::Disconnected => LedgerError::Lost("the ledger has gone".into()),
            })
        })
    }

    fn sales(&mut self) -> Result<Vec<SaleId>, LedgerError> {
        audit::sales(self)
    }

    /// Nothing is ever repaired: see `audit`.
    fn audit(
        &mut self,
        sale: &SaleId,
        _repair: Option<&Repair>,
    ) -> Result<Option<SaleAudit>, LedgerError> {
        audit::audit(self, sale)
    }

    fn removed_at(&mut self, sale: &SaleId) -> Result<Option<u64>, LedgerError> {
        audit::removed_at(self, sale)
    }

    fn gaps(&mut self) -> Result<Gaps, LedgerError> {
        audit::gaps(self)
    }

    fn moved_to(&mut self, sale: &SaleId) -> Result<Option<String>, LedgerError> {
        audit::moved_to(self, sale)
    }

    fn orders_source(&self) -> Option<String> {
        self.ledger_id().ok().map(source_name)
    }

    fn orders_have(&mut self, version: u64) -> Result<(), LedgerError> {
        audit::orders_have(self, version)
    }
}

/// Straight on a data folder, while no server has it.
pub struct OfflineClient {
    /// There until it is dropped.
    store: Option<Store>,
    clock: SteadyClock,
}

impl OfflineClient {
    /// Opens a data folder; with `create`, makes it if it is missing.
    pub fn open(folder: &Path, create: bool) -> Result<Self, OpenError> {
        if !create && !has_ledger(folder)? {
            return Err(OpenError::Missing(folder.to_owned()));
        }
        // Not worth a fold: the next server does it.
        let store = Store::open(folder, Options { fold_changes_min: u64::MAX })?;
        let clock = SteadyClock::new(store.now_ms(), wall_ms);
        Ok(Self { store: Some(store), clock })
    }

    /// The same of a folder whose sales may be on their way to another ledger: for whoever moves them.
    /// Also the note of that, if it has one.
    pub fn open_to_move(folder: &Path) -> Result<(Self, Option<Moving>), OpenError> {
        if !has_ledger(folder)? {
            return Err(OpenError::Missing(folder.to_owned()));
        }
        let store = Store::open_to_move(folder, Options { fold_changes_min: u64::MAX })?;
        // Under the lock.
        let note = Moving::read(folder)?;
        let clock = SteadyClock::new(store.now_ms(), wall_ms);
        Ok((Self { store: Some(store), clock }, note))
    }

    /// Takes sales in that are not there, with all their reservations, in one step.
    pub fn take_in(&mut self, sales: &[SaleCopy]) -> Result<(), LedgerError> {
        let now_ms = self.clock.now_ms();
        self.store()?.take_in(now_ms, sales)
    }

    /// Notes, durably, that sales are on their way: from now on nobody sells from this folder.
    pub fn begin_move(&mut self, note: &Moving) -> Result<(), LedgerError> {
        let store = self.store()?;
        if store.state.departed.room() < note.sales.len() {
            let text = format!("at most {MOVED_SALES_MAX} sales can be moved away from a ledger");
            return Err(LedgerError::Refused(text));
        }
        note.write(store.folder.path()).map_err(|error| LedgerError::Refused(error.to_string()))
    }

    /// The sales are where they should go: forgets those that it still has, in one step, and with it
    /// that they are on their way.
    pub fn finish_move(&mut self, note: &Moving) -> Result<(), LedgerError> {
        let store = self.store()?;
        let is_here = |sale: &&SaleId| store.state.sales.number(sale).is_some();
        if note.sales.iter().any(|sale| is_here(&sale)) {
            store.send_away(&note.sales, &note.to)?;
        }
        self.end_move()
    }

    /// They are not on their way any more: they stay, or are gone.
    pub fn end_move(&mut self) -> Result<(), LedgerError> {
        let removed = Moving::remove(self.store()?.folder.path());
        removed.map_err(|error| LedgerError::Refused(error.to_string()))
    }

    /// What tells this ledger from any other.
    pub fn ledger_id(&self) -> u128 {
        self.store.as_ref().map_or(0, Store::id)
    }

    fn store(&mut self) -> Result<&mut Store, LedgerError> {
        self.store.as_mut().ok_or_else(|| LedgerError::Refused("the ledger is closed".into()))
    }
}

impl Ask for OfflineClient {
    fn ask<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.store().map(look)
    }
}

impl Client for OfflineClient {
    fn apply(&mut self, batch: &Batch) -> Result<BatchReply, LedgerError> {
        check_removal(self, batch)?;
        check_creation(self, batch)?;
        let now_ms = self.clock.now_ms();
        let mut replies = self.store()?.commit(now_ms, std::slice::from_ref(batch))?;
        replies.pop().ok_or_else(|| LedgerError::Lost("no reply".into()))
    }

    fn sales(&mut self) -> Result<Vec<SaleId>, LedgerError> {
        audit::sales(self)
    }

    /// Nothing is ever repaired: see `audit`.
    fn audit(
        &mut self,
        sale: &SaleId,
        _repair: Option<&Repair>,
    ) -> Result<Option<SaleAudit>, LedgerError> {
        audit::audit(self, sale)
    }

    fn removed_at(&mut self, sale: &SaleId) -> Result<Option<u64>, LedgerError> {
        audit::removed_at(self, sale)
    }

    fn gaps(&mut self) -> Result<Gaps, LedgerError> {
        audit::gaps(self)
    }

    fn moved_to(&mut self, sale: &SaleId) -> Result<Option<String>, LedgerError> {
        audit::moved_to(self, sale)
    }

    fn orders_source(&self) -> Option<String> {
        Some(source_name(self.ledger_id()))
    }

    fn orders_have(&mut self, version: u64) -> Result<(), LedgerError> {
        audit::orders_have(self, version)
    }
}

impl Drop for OfflineClient {
    fn drop(&mut self) {
        if let Some(store) = self.store.take()
            && let Err(error) = store.close()
        {
            tracing::warn!(%error, "the ledger did not close cleanly; nothing answered is lost");
        }
    }
}
