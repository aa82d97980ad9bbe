//! The engine: cores that accept connections, read requests, and let a service answer them.
//!
//! The engine knows no sale, no ledger and no configuration file. A [`Service`] is plugged into
//! each core. It gets a head and a body, and either writes an answer or returns a record that is
//! kept with the connection until the answer is there. Everything else on a core, such as a link to
//! a ledger, is a coroutine that waits for its events through the core's [`reactor`].
//!
//! A [`program`] is a process that needs nothing else: the same service on all cores, on one
//! address.
//!
//! [`listener`] accepts, [`connection`] reads and writes, [`event_loop`] handles a core's events in
//! order, [`tick`] does the periodic work. [`core`] holds the state that they share.

pub mod addresses;
pub mod connection;
pub mod core;
pub mod counts;
pub mod reactor;
pub mod handover;
pub mod http;
pub mod event_loop;
pub mod listener;
pub mod mailbox;
pub mod response_options;
pub mod peer;
pub mod permits;
pub mod program;
pub mod oneshot;
pub mod settings;
pub mod tick;
pub mod waker;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handshakes;
mod listeners;
mod proxy_protocol;
mod tls;
#[cfg(test)]
pub mod test_core;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use may::coroutine;

use self::core::{Core, Engine, Event, Leader, Service};
use crate::clock::Clock;
use crate::limits::{HANDSHAKE_STACK_BYTES, STACK_BYTES};

/// Configures `may` for this number of workers. Must be called once, before the first coroutine.
pub fn configure(workers: usize) {
    may::config()
        .set_workers(workers)
        .set_stack_size(STACK_BYTES / size_of::<usize>())
        .set_pool_capacity(workers)
        .set_worker_pin(false); // a core pins itself, to the processor it was given
}

/// Runs `boot`, which starts a core, on the worker of that core. An error of `boot` is reported as
/// [`Event::Failed`].
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

/// Creates the core of the calling `may` worker, with all engine state that lives on it, and starts
/// its coroutines.
///
/// # Errors
/// There is no memory for the stacks of its coroutines, or no descriptor for its reactor.
pub fn start_core(
    index: usize,
    engine: Arc<Engine>,
    clock: Rc<Clock>,
    service: impl Service,
) -> io::Result<&'static Core> {
    let service = &*Box::leak(Box::new(service));
    let core: &'static Core = Box::leak(Box::new(Core::new(index, engine, clock)?));
    // The event loop is generic over the service, so that its calls are inlined.
    let lead = move |core| event_loop::run(&Leader { core, service, waiting: RefCell::default() });
    let started = core.spawn_here("leader", HANDSHAKE_STACK_BYTES, lead)
        && core.spawn_here("tick", STACK_BYTES, move |core| tick::run(core, service))
        && core.spawn_here("mailbox", STACK_BYTES, tick::run_mailbox);
    started.then_some(core).ok_or_else(no_memory_for_a_coroutine)
}

/// The error for a coroutine whose stack can't be allocated.
pub fn no_memory_for_a_coroutine() -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, "no memory for a coroutine")
}

#[cfg(test)]
mod engine_tests;
