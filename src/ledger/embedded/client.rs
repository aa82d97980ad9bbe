//! Access to the embedded ledger from outside of the cores: through the ledger thread of a running
//! server, or directly to a folder that no server has open.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::audit::{self, StoreQuery};
use super::data_dir::has_ledger;
use super::data_dir::source_name;
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

/// A client of a running ledger.
pub struct EmbeddedClient {
    handle: Handle,
    timeout: Duration,
}

impl EmbeddedClient {
    /// A client that waits up to `timeout` for each answer.
    pub fn new(handle: Handle, timeout: Duration) -> Self {
        Self { handle, timeout }
    }

    /// The id of this ledger. Errors as for [`Handle::ledger_id`].
    pub fn ledger_id(&self) -> Result<u128, LedgerError> {
        self.handle.ledger_id(self.timeout)
    }
}

impl StoreQuery for EmbeddedClient {
    fn query<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.handle.ask(self.timeout, look)
    }
}

/// Removing a sale removes its reservations, so its orders must be written before. A sale that may
/// be removed changes no more, except by late confirmations.
fn check_removal(ledger: &mut impl StoreQuery, batch: &Batch) -> Result<(), LedgerError> {
    for group in batch.groups.iter().filter(|g| g.commands.contains(&Command::Remove)) {
        let sale = group.sale.detached();
        if ledger.query(move |store| store.orders_behind(&sale))? {
            return Err(LedgerError::Refused(format!(
                "not all orders of {} are written yet: ask again when they are",
                group.sale
            )));
        }
    }
    Ok(())
}

/// A sale that was moved to another ledger must not be created here again: its units are sold
/// there.
fn check_creation(ledger: &mut impl StoreQuery, batch: &Batch) -> Result<(), LedgerError> {
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
        // The caller may have given up.
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

    /// Repairs nothing: see `audit`.
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

/// A client of a data folder that no server has open.
pub struct OfflineClient {
    /// Present until it is dropped.
    store: Option<Store>,
    clock: SteadyClock,
}

impl OfflineClient {
    /// Opens a data folder; with `create`, creates it if it is missing.
    pub fn open(folder: &Path, create: bool) -> Result<Self, OpenError> {
        if !create && !has_ledger(folder)? {
            return Err(OpenError::Missing(folder.to_owned()));
        }
        // Not worth a compaction: the next server does it.
        let store = Store::open(folder, Options { compaction_changes_min: u64::MAX })?;
        let clock = SteadyClock::new(store.now_ms(), wall_ms);
        Ok(Self { store: Some(store), clock })
    }

    /// The same for a folder whose sales may be moving to another ledger: for the mover. Also
    /// returns the note of the move, if there is one.
    pub fn open_to_move(folder: &Path) -> Result<(Self, Option<Moving>), OpenError> {
        if !has_ledger(folder)? {
            return Err(OpenError::Missing(folder.to_owned()));
        }
        let store = Store::open_to_move(folder, Options { compaction_changes_min: u64::MAX })?;
        // Read under the lock.
        let note = Moving::read(folder)?;
        let clock = SteadyClock::new(store.now_ms(), wall_ms);
        Ok((Self { store: Some(store), clock }, note))
    }

    /// Adds sales that do not exist, with all their reservations, in one step.
    pub fn take_in(&mut self, sales: &[SaleCopy]) -> Result<(), LedgerError> {
        let now_ms = self.clock.now_ms();
        self.store()?.take_in(now_ms, sales)
    }

    /// Notes, durably, that sales are moving: from now on nobody sells from this folder.
    pub fn begin_move(&mut self, note: &Moving) -> Result<(), LedgerError> {
        let store = self.store()?;
        if store.state.departed.room() < note.sales.len() {
            let text = format!("at most {MOVED_SALES_MAX} sales can be moved away from a ledger");
            return Err(LedgerError::Refused(text));
        }
        note.write(store.data_dir.path()).map_err(|error| LedgerError::Refused(error.to_string()))
    }

    /// The sales have arrived: removes those that are still here, in one step with the note.
    pub fn finish_move(&mut self, note: &Moving) -> Result<(), LedgerError> {
        let store = self.store()?;
        let is_here = |sale: &&SaleId| store.state.sales.number(sale).is_some();
        if note.sales.iter().any(|sale| is_here(&sale)) {
            store.send_away(&note.sales, &note.to)?;
        }
        self.end_move()
    }

    /// The sales no longer move: they stay, or are gone.
    pub fn end_move(&mut self) -> Result<(), LedgerError> {
        let removed = Moving::remove(self.store()?.data_dir.path());
        removed.map_err(|error| LedgerError::Refused(error.to_string()))
    }

    /// The id of this ledger.
    pub fn ledger_id(&self) -> u128 {
        self.store.as_ref().map_or(0, Store::id)
    }

    fn store(&mut self) -> Result<&mut Store, LedgerError> {
        self.store.as_mut().ok_or_else(|| LedgerError::Refused("the ledger is closed".into()))
    }
}

impl StoreQuery for OfflineClient {
    fn query<T: Send + 'static>(
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

    /// Repairs nothing: see `audit`.
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
