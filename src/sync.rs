//! What threads share, and a lock that outlives a panic.
//!
//! A file whose races are tested takes these types from here: `tests/loom.rs` and `tests/shuttle.rs`
//! compile the same file against a `sync` of their own, with the types of those tools in it.

pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub use std::sync::{Mutex, MutexGuard};

use std::sync::PoisonError;

/// Locks what is always left in order, also by a thread that panicked while holding it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
