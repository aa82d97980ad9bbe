//! How other threads reach a core. `tests/loom.rs` explores all interleavings.

use std::io;

use super::waker::Waker;
use crate::sync::{Mutex, lock};

/// A message to a core from another thread.
pub type Message<Core> = Box<dyn FnOnce(&'static Core) + Send>;

/// A list of messages to a core, and the waker of the core.
pub struct Mailbox<Core: 'static> {
    messages: Mutex<Vec<Message<Core>>>,
    /// Watched by the core.
    pub waker: Waker,
}

impl<Core> Mailbox<Core> {
    /// An empty mailbox.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { messages: Mutex::new(Vec::new()), waker: Waker::new()? })
    }

    /// Leaves a message and wakes the core. The list is bounded by its senders: one answer per
    /// query under way, admitted connections, the end of the server.
    pub fn send(&self, message: Message<Core>) {
        lock(&self.messages).push(message);
        self.waker.wake();
    }

    /// Takes the messages. The wake-up is cleared first, so that a message that this call misses
    /// brings a new wake-up.
    pub fn take(&self) -> Vec<Message<Core>> {
        self.waker.clear();
        std::mem::take(&mut lock(&self.messages))
    }
}
