//! One store for two users: the worker that takes changes over, and the loop that delivers them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::store::Store;
use crate::clock::wall_ms;
use crate::orders::database::{DatabaseError, Sink, SinkLocation};
use crate::sale::Change;

/// The shared store.
#[derive(Clone)]
pub(super) struct SharedStore(Arc<Shared>);

struct Shared {
    store: Mutex<Store>,
    /// Events were taken over that may be due.
    more: Mutex<bool>,
    signal: Condvar,
}

impl SharedStore {
    pub(super) fn new(store: Store) -> Self {
        let (store, more, signal) = (Mutex::new(store), Mutex::new(false), Condvar::new());
        Self(Arc::new(Shared { store, more, signal }))
    }

    /// The store, for one statement or transaction. After a panic half way, its transaction was
    /// rolled back.
    pub(super) fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until events are taken over, or for this long.
    pub(super) fn wait_for_more(&self, time: Duration) {
        let more = self.0.more.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.signal.wait_timeout_while(more, time, |more| !*more);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    fn there_is_more(&self) {
        *self.0.more.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.signal.notify_one();
    }
}

impl Sink for SharedStore {
    fn write(
        &mut self,
        changes: &[Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), DatabaseError> {
        self.lock().take(changes, position, wall_ms())?;
        self.there_is_more();
        Ok(())
    }

    fn position(&mut self, source: &str) -> Result<Option<u64>, DatabaseError> {
        self.lock().position(source)
    }

    fn check(&mut self) -> Result<(), DatabaseError> {
        self.lock().check()
    }

    fn room(&mut self) -> Result<usize, DatabaseError> {
        Ok(usize::try_from(self.lock().room()?).unwrap_or(usize::MAX))
    }

    fn has_everything(&mut self) -> Result<(), DatabaseError> {
        self.lock().forget_taken()
    }
}

impl SinkLocation for SharedStore {
    fn name(&self) -> String {
        "state of the webhooks".to_owned()
    }

    fn open_sink(&self) -> Result<Box<dyn Sink>, DatabaseError> {
        Ok(Box::new(self.clone()))
    }
}
