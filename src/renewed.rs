//! A value that a running server may be given anew, and each core's own copy of it.
//!
//! A core reads its copy without a lock. It looks at a number first, which changes with the value and is
//! written only then, so that the look costs one load from a cache line that all cores share.

use std::cell::{Cell, Ref, RefCell};
use std::sync::Arc;

use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// The value as all cores share it.
pub struct Renewed<T> {
    number: AtomicU64,
    value: Mutex<Arc<T>>,
}

impl<T> Renewed<T> {
    /// With its first value.
    pub fn new(value: T) -> Self {
        Self { number: AtomicU64::new(0), value: Mutex::new(Arc::new(value)) }
    }

    /// From now on the value is this one. A core that is reading its copy has the old one until it asks
    /// again.
    pub fn set(&self, value: T) {
        self.share(Arc::new(value));
    }

    /// The same of a value that its maker keeps, too.
    pub fn share(&self, value: Arc<T>) {
        let mut current = lock(&self.value);
        *current = value;
        self.number.fetch_add(1, Ordering::Release);
    }

    /// The value, and its number.
    fn current(&self) -> (u64, Arc<T>) {
        let current = lock(&self.value);
        (self.number.load(Ordering::Relaxed), current.clone())
    }
}

/// A core's copy.
pub struct Copy<T> {
    source: Arc<Renewed<T>>,
    number: Cell<u64>,
    value: RefCell<Arc<T>>,
}

impl<T> Copy<T> {
    /// A copy of this value.
    pub fn of(source: Arc<Renewed<T>>) -> Self {
        let (number, value) = source.current();
        Self { source, number: Cell::new(number), value: RefCell::new(value) }
    }

    /// The value as it is now. The reference must be gone before the next call.
    #[inline]
    pub fn get(&self) -> Ref<'_, T> {
        if self.source.number.load(Ordering::Acquire) != self.number.get() {
            self.renew();
        }
        Ref::map(self.value.borrow(), |value| &**value)
    }

    #[cold]
    fn renew(&self) {
        let (number, value) = self.source.current();
        self.number.set(number);
        self.value.replace(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows() {
        let source = Arc::new(Renewed::new(1));
        let (one, other) = (Copy::of(source.clone()), Copy::of(source.clone()));
        assert_eq!((*one.get(), *other.get()), (1, 1));
        source.set(2);
        source.set(3);
        assert_eq!((*one.get(), *other.get()), (3, 3));
        assert_eq!(*Copy::of(source).get(), 3);
    }
}
