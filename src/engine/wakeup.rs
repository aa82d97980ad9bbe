//! A descriptor by which other threads wake a core.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// Can be read from a wake-up until it is cleared. Watched by the core.
pub struct Wakeup(OwnedFd);

impl Wakeup {
    /// One that nobody has used yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Wakes the core.
    pub fn wake(&self) {
        // A full counter means that the core has been woken already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// From now on the next wake-up is news.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
