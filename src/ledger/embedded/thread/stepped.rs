//! A ledger without a thread: a simulation takes its turns.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::{Handle, Ledger, Message, WAITING_BATCHES_MAX, Witness};
use crate::clock::SteadyClock;
use crate::ledger::counts::StoreCounts;
use crate::ledger::embedded::store::Store;
use crate::sale::{Machine, SaleId};

/// A ledger whose owner takes its turns.
pub struct Stepped {
    ledger: Ledger,
    receiver: Receiver<Message>,
}

/// Runs a store by hand. Returns also the way in for its cores.
pub fn by_hand(
    mut store: Store,
    clock: SteadyClock,
    witness: Box<dyn Witness>,
) -> (Handle, Stepped) {
    let (sender, receiver) = sync_channel(WAITING_BATCHES_MAX);
    let counts = Arc::new(StoreCounts::default());
    let handle = Handle { sender, ledger_id: Arc::default(), counts: counts.clone() };
    let _ = handle.ledger_id.set(store.id());
    store.count_in(counts);
    let mut ledger = Ledger::new(store, clock, Arc::new(AtomicBool::new(false)));
    ledger.witness = Some(witness);
    (handle, Stepped { ledger, receiver })
}

impl Stepped {
    /// How long the next turn may wait if no message comes.
    pub fn wait(&self) -> Duration {
        self.ledger.wait()
    }

    /// Takes a turn: commits and answers what waits, and does what is due. Returns whether to go
    /// on.
    pub fn turn(&mut self) -> bool {
        let first = self.receiver.try_recv().ok();
        self.ledger.turn(first, &self.receiver)
    }

    /// Whether it commits nothing any more, until a restart.
    pub fn has_failed(&self) -> bool {
        self.ledger.store.has_failed()
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.ledger.store
    }

    /// Closes the folder, as a server does at its end.
    pub fn close(self) {
        self.ledger.close();
    }

    /// Ends like a process that is killed: what waits is never answered, and the folder is not
    /// closed.
    pub fn abandon(self) {
        while let Ok(message) = self.receiver.try_recv() {
            if let Message::Job(mut job) = message {
                drop(job.reply.0.take());
            }
        }
    }
}

impl Store {
    /// Every sale as it is now.
    pub fn machines(&self) -> impl Iterator<Item = (&SaleId, &Machine)> {
        self.state.sales.iter()
    }

    /// A sale as it is now.
    pub fn machine(&self, id: &SaleId) -> Option<&Machine> {
        let number = self.state.sales.number(id)?;
        self.state.sales.get(number).map(|(_, machine)| machine)
    }
}
