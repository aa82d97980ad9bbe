//! The engine: cores that accept connections, read requests, and have them answered by a service.
//!
//! It knows no sale, no ledger and no configuration file. A [`Service`] is plugged into each core: a
//! head and a body go in, and either an answer is written or a record is kept with the connection until
//! the answer is there. Whatever else lives on a core, such as a link to a
//! ledger, is a coroutine that waits for its events through the core's [`gate`].
//!
//! A [`program`] is a process that needs nothing else: the same service on all cores, on one address.
//!
//! [`listener`] accepts, [`connection`] reads and writes, [`leading`] takes a core's events in turn, [`tick`] does what has its time. [`core`] is what they all have.

pub mod addresses;
pub mod connection;
pub mod core;
pub mod counts;
pub mod gate;
pub mod handover;
pub mod http;
pub mod leading;
pub mod listener;
pub mod mailbox;
pub mod manner;
pub mod origin;
pub mod places;
pub mod program;
pub mod promise;
pub mod settings;
pub mod tick;
pub mod wakeup;

mod handshakes;
mod listeners;
mod proxy;
mod tls;
#[cfg(test)]
pub mod still;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use may::coroutine;

use self::core::{Core, Engine, Event, Leader, Service};
use crate::clock::Clock;
use crate::limits::{HANDSHAKE_STACK_BYTES, STACK_BYTES};

/// Takes so many workers of `may`, which has to be told once, before its first coroutine.
pub fn configure(workers: usize) {
    may::config()
        .set_workers(workers)
        .set_stack_size(STACK_BYTES / size_of::<usize>())
        .set_pool_capacity(workers)
        .set_worker_pin(false); // a core pins itself, to the processor it was given
}

/// Has the worker of an engine's core run `boot`, which starts that core. What goes wrong is reported.
pub fn boot_core(
    engine: &Arc<Engine>,
    index: usize,
    boot: impl FnOnce() -> io::Result<()> + Send + 'static,
) {
    let worker = engine.first_worker + index;
    let engine = engine.clone();
    let boot = move || {
        if let Err(error) = boot() {
            engine.report(Event::Failed(error));
        }
    };
    // SAFETY: runs on that worker and suspends nowhere, so no thread-local is held across a wait; its
    // stack is STACK_BYTES deep, of which starting a core takes a few KiB.
    unsafe { coroutine::Builder::new().name("boot".into()).id(worker).spawn(boot) }
        .map(drop)
        .expect("the first coroutine of a core can be started");
}

/// Makes the core of the calling worker thread of `may`, with everything of the engine that lives on
/// it.
///
/// # Errors
/// There is no memory for the stacks of its coroutines, or no descriptor for its gate.
pub fn start_core(
    index: usize,
    engine: Arc<Engine>,
    clock: Rc<Clock>,
    service: impl Service,
) -> io::Result<&'static Core> {
    let service = &*Box::leak(Box::new(service));
    let core: &'static Core = Box::leak(Box::new(Core::new(index, engine, clock)?));
    // What is called for each request knows which service that is: calls of it are inlined.
    let lead = move |core| leading::live(&Leader { core, service, waiting: RefCell::default() });
    let started = core.spawn_here("leader", HANDSHAKE_STACK_BYTES, lead)
        && core.spawn_here("tick", STACK_BYTES, move |core| tick::run(core, service))
        && core.spawn_here("mailbox", STACK_BYTES, tick::run_mailbox);
    started.then_some(core).ok_or_else(no_memory_for_a_coroutine)
}

/// A coroutine's stack can't be had.
pub fn no_memory_for_a_coroutine() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "no memory for a coroutine")
}

#[cfg(test)]
mod engine_tests;
