//! How other threads reach a core. `tests/loom.rs` tries every order in which they can do so.

use std::io;

use super::wakeup::Wakeup;
use crate::sync::{Mutex, lock};

/// A message to a core from another thread.
pub type Message<Core> = Box<dyn FnOnce(&'static Core) + Send>;

/// How other threads reach a core: a list of messages and what wakes the core.
pub struct Mailbox<Core: 'static> {
    messages: Mutex<Vec<Message<Core>>>,
    /// Watched by the core.
    pub wakeup: Wakeup,
}

impl<Core> Mailbox<Core> {
    /// An empty mailbox.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { messages: Mutex::new(Vec::new()), wakeup: Wakeup::new()? })
    }

    /// Leaves a message and wakes the core. Who sends bounds them: an answer for each question
    /// under way, connections that have their place already, the end of the server.
    pub fn send(&self, message: Message<Core>) {
        lock(&self.messages).push(message);
        self.wakeup.wake();
    }

    /// Takes the messages. The wake-up is cleared before: one that comes later brings a message that
    /// may have been missed.
    pub fn take(&self) -> Vec<Message<Core>> {
        self.wakeup.clear();
        std::mem::take(&mut lock(&self.messages))
    }
}
