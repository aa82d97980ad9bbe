//! How other threads reach a core.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::event::{EventfdFlags, eventfd};

use crate::sync::lock;

/// A message to a core from another thread.
pub type Message<Core> = Box<dyn FnOnce(&'static Core) + Send>;

/// How other threads reach a core: a list of messages and a descriptor that wakes the core.
pub struct Mailbox<Core: 'static> {
    messages: Mutex<Vec<Message<Core>>>,
    /// Watched by the core.
    pub wakeup: OwnedFd,
}

impl<Core> Mailbox<Core> {
    /// An empty mailbox.
    pub fn new() -> io::Result<Self> {
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { messages: Mutex::default(), wakeup })
    }

    /// Leaves a message and wakes the core. Who sends bounds them: an answer for each question
    /// under way, connections that have their place already, the end of the server.
    pub fn send(&self, message: Message<Core>) {
        lock(&self.messages).push(message);
        // A full counter means that the core has been woken already.
        let _ = rustix::io::write(&self.wakeup, &1u64.to_ne_bytes());
    }

    /// Takes the messages.
    pub fn take(&self) -> Vec<Message<Core>> {
        let _ = rustix::io::read(&self.wakeup, &mut [0u8; 8]);
        std::mem::take(&mut lock(&self.messages))
    }
}
