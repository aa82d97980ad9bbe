//! The workers of a core: coroutines that take turns in leading it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use may::coroutine;

use super::connection;
use super::core::{Core, Service, Worker};
use crate::limits::URGENT_LOOK_INTERVAL_US;

/// Events that are served for each answered request that goes on within a round: what has come is
/// read sooner than what is known is told, but the telling never stands still.
const EVENTS_PER_ANSWER: u32 = 2;
/// Events after which the time is read, to see whether what must not wait is to be looked at.
const EVENTS_PER_CLOCK_READ: u32 = 4;
/// Time after which it is.
const LOOK_INTERVAL: Duration = Duration::from_micros(URGENT_LOOK_INTERVAL_US);

/// Starts the first worker of a core and gives it the lead.
///
/// # Errors
/// There is no memory for its stack.
pub(super) fn start(core: &'static Core) -> io::Result<()> {
    core.refresh_clock();
    if !core.ensure_spare() {
        let text = "no memory for a coroutine's stack";
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, text));
    }
    core.pass_lead();
    Ok(())
}

/// The life of a worker: a spare until it gets the lead, then leading until it has to wait.
pub(super) fn live<S: Service>(worker: &Worker<S>) {
    let turns = &worker.core.turns;
    loop {
        turns.spares.borrow_mut().push((worker.number, coroutine::current()));
        while !worker.leads() {
            coroutine::park();
            worker.core.assert_here();
            let mut dismissed = turns.dismissed.borrow_mut();
            if let Some(at) = dismissed.iter().position(|number| *number == worker.number) {
                dismissed.swap_remove(at);
                turns.count.set(turns.count.get() - 1);
                return;
            }
        }
        while worker.leads() {
            next_event(worker);
        }
    }
}

fn next_event<S: Service>(worker: &Worker<S>) {
    let core = worker.core;
    match core.gate.next_event() {
        Some((token, readiness)) => {
            let served = catch_unwind(AssertUnwindSafe(|| {
                connection::on_event(worker, token, readiness);
            }));
            if served.is_err() {
                tracing::error!(core = core.index, "a connection's handler panicked");
                connection::close(core, token);
            }
            look_up(worker);
        }
        None => {
            let at_once = worker.service.end_round();
            core.gate.refill(at_once);
            core.assert_here();
            core.turns.looked_at.set(Instant::now());
            core.refresh_clock();
        }
    }
}

/// Between two events of a round. A round of hundreds takes milliseconds: now and then what must not
/// wait for its end is looked at meanwhile, and what waits to be sent is sent.
fn look_up<S: Service>(worker: &Worker<S>) {
    let core = worker.core;
    let turns = &core.turns;
    let served = turns.events_served.get().wrapping_add(1);
    turns.events_served.set(served);
    if served.is_multiple_of(EVENTS_PER_ANSWER) {
        worker.service.tell_one();
    }
    if !served.is_multiple_of(EVENTS_PER_CLOCK_READ) {
        return;
    }
    let now = Instant::now();
    if now.duration_since(turns.looked_at.get()) < LOOK_INTERVAL {
        return;
    }
    turns.looked_at.set(now);
    core.refresh_clock();
    let woken = core.gate.look_at_urgent();
    let sent = worker.service.send();
    if woken || sent {
        // Once for who was woken (the mailbox, maybe), and once for whom that has woken.
        coroutine::yield_now();
        coroutine::yield_now();
        core.assert_here();
    }
}
