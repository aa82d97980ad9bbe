//! Types that threads share, and a lock that ignores poisoning.
//!
//! Files whose races are tested import these types from here. `tests/loom.rs` and
//! `tests/shuttle.rs` compile the same files with a `sync` of their own, which has the types of
//! those tools.

pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub use std::sync::{Mutex, MutexGuard};

use std::sync::PoisonError;

/// Locks data that is consistent after every statement, so also after a panic with the lock held.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
