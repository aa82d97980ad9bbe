//! The embedded ledger for everybody who is no core: through the ledger thread of a running server,
//! or straight on a folder that no server has open.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::audit::{self, Ask};
use super::folder::has_ledger;
use super::folder::source_name;
use super::open_error::OpenError;
use super::store::{Options, Store};
use super::thread::{Handle, Job};
use crate::clock::{SteadyClock, wall_ms};
use crate::ledger::client::{Client, Repair, SaleAudit};
use crate::ledger::{Batch, BatchReply, Group, LedgerError};
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

impl Client for EmbeddedClient {
    fn apply(&mut self, batch: &Batch) -> Result<BatchReply, LedgerError> {
        check_removal(self, batch)?;
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
