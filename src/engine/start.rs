//! The life of an engine's cores from outside: each is started on its own worker thread of `may`,
//! accepts, and drains.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use may::coroutine;

use super::core::{Core, Engine, Event, Service};
use super::listener::Listener;
use super::{connection, tick, workers};
use crate::clock::Clock;
use crate::limits::STACK_BYTES;

/// Gives `may` a worker thread for each core. `may` takes its settings once, before its first
/// coroutine.
pub fn configure_may(cores: usize) {
    may::config()
        .set_workers(cores)
        .set_stack_size(STACK_BYTES / size_of::<usize>())
        .set_pool_capacity(cores)
        .set_worker_pin(false); // each core pins itself, to the processor it was given
}

/// Pins worker `index` to a processor and runs `boot` there, which must not suspend: it is where
/// [`start_core`] belongs. Panics if there is no memory for the first coroutine of a core.
pub fn on_worker(index: usize, processor: usize, boot: impl FnOnce() + Send + 'static) {
    let boot = move || {
        if !core_affinity::set_for_current(core_affinity::CoreId { id: processor }) {
            tracing::warn!(core = index, processor, "can't be pinned to its processor");
        }
        boot();
    };
    // SAFETY: runs on worker `index` and suspends nowhere, so no thread-local is held across a
    // wait; its stack is STACK_BYTES deep, of which starting a core takes a few KiB.
    unsafe { coroutine::Builder::new().name("boot".into()).id(index).spawn(boot) }
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

/// Has each core accept connections on its listeners. Those who came before have been waiting in the
/// backlog.
pub fn accept(engine: &Engine, listeners: Vec<Vec<Listener>>) {
    for (mailbox, listeners) in engine.mailboxes.iter().zip(listeners) {
        mailbox.send(Box::new(|core| {
            for listener in listeners {
                let run = move |core| listener.run(core);
                if !core.spawn_here("listener", STACK_BYTES, run) {
                    core.engine.report(Event::Failed(no_memory_for_a_coroutine()));
                }
            }
        }));
    }
}

/// No new connections from now on; idle ones are closed, requests that are under way are answered.
/// Each core reports [`Event::Drained`] when it has no connection left.
pub fn drain(engine: &Engine) {
    engine.draining.store(true, Ordering::SeqCst);
    for mailbox in &engine.mailboxes {
        mailbox.send(Box::new(|core| {
            core.listeners.notify();
            connection::begin_drain(core);
        }));
    }
}
