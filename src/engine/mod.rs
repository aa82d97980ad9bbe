//! The engine: cores that accept connections, read requests, and have them answered by a service.
//!
//! It knows no sale, no ledger and no configuration file. A [`Service`] is plugged into each core: a
//! head and a body go in, and either an answer is written or a [`Pending`](core::Pending) one is
//! returned, for which the connection waits. Whatever else lives on a core, such as a link to a
//! ledger, is a coroutine that waits for its events through the core's [`gate`].
//!
//! [`listener`] accepts, [`connection`] reads and writes, [`workers`] share a core's work among its
//! coroutines, [`tick`] does what has its time. [`core`] is what they all have.

pub mod connection;
pub mod core;
pub mod gate;
pub mod handover;
pub mod listener;
pub mod mailbox;
pub mod places;
pub mod tick;
pub mod wakeup;
pub mod workers;

mod listeners;

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use self::core::{Core, Engine, Service};
use crate::clock::Clock;
use crate::limits::STACK_BYTES;

/// Makes the core of the calling worker thread of `may`, with everything of the engine that lives on
/// it.
///
/// # Errors
/// There is no memory for the stacks of its coroutines, or no descriptor for its gate.
pub fn start_core(
    index: usize,
    engine: Arc<Engine>,
    clock: Rc<Clock>,
    service: Box<dyn Service>,
) -> io::Result<&'static Core> {
    let core = Core::new(index, engine, clock, service, workers::live)?;
    let core: &'static Core = Box::leak(Box::new(core));
    workers::start(core)?;
    let started = core.spawn_here("tick", STACK_BYTES, tick::run)
        && core.spawn_here("mailbox", STACK_BYTES, tick::run_mailbox);
    started.then_some(core).ok_or_else(no_memory_for_a_coroutine)
}

/// A coroutine's stack can't be had.
pub fn no_memory_for_a_coroutine() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "no memory for a coroutine")
}
