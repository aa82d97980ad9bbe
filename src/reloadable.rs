//! A value that may be replaced while the server runs, and each core's cached copy of it.
//!
//! A core reads its copy without a lock. First it compares a version number, which is written only
//! when the value changes. So the check costs one load from a cache line that all cores share.

use std::cell::{Cell, Ref, RefCell};
use std::sync::Arc;

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// The shared value.
pub struct Reloadable<T> {
    number: AtomicU64,
    value: Mutex<Arc<T>>,
}

impl<T> Reloadable<T> {
    /// With its first value.
    pub fn new(value: T) -> Self {
        Self { number: AtomicU64::new(0), value: Mutex::new(Arc::new(value)) }
    }

    /// Replaces the value. A core that is reading its copy keeps the old one until its next read.
    pub fn set(&self, value: T) {
        self.share(Arc::new(value));
    }

    /// The same for a value that its owner shares.
    pub fn share(&self, value: Arc<T>) {
        let mut current = lock(&self.value);
        *current = value;
        self.number.fetch_add(1, Ordering::Release);
    }

    /// The value, and its version.
    fn current(&self) -> (u64, Arc<T>) {
        let current = lock(&self.value);
        (self.number.load(Ordering::Relaxed), current.clone())
    }
}

/// A core's cached copy.
pub struct Cached<T> {
    source: Arc<Reloadable<T>>,
    number: Cell<u64>,
    value: RefCell<Arc<T>>,
}

impl<T> Cached<T> {
    /// A cached copy of this value.
    pub fn of(source: Arc<Reloadable<T>>) -> Self {
        let (number, value) = source.current();
        Self { source, number: Cell::new(number), value: RefCell::new(value) }
    }

    /// The current value. The reference must be dropped before the next call.
    #[inline]
    pub fn get(&self) -> Ref<'_, T> {
        if self.source.number.load(Ordering::Acquire) != self.number.get() {
            self.refresh();
        }
        Ref::map(self.value.borrow(), |value| &**value)
    }

    #[cold]
    fn refresh(&self) {
        let (number, value) = self.source.current();
        self.number.set(number);
        self.value.replace(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_copy_follows_its_source() {
        let source = Arc::new(Reloadable::new(1));
        let (one, other) = (Cached::of(source.clone()), Cached::of(source.clone()));
        assert_eq!((*one.get(), *other.get()), (1, 1));
        source.set(2);
        source.set(3);
        assert_eq!((*one.get(), *other.get()), (3, 3));
        assert_eq!(*Cached::of(source).get(), 3);
    }
}
