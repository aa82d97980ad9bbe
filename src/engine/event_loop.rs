//! The coroutine that leads a core: takes events and woken requests in turn, and serves their
//! connections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use may::coroutine;

use super::connection;
use super::core::{Leader, Service};
use super::counts::CloseReason;
use super::reactor::{Readiness, Token};
use crate::limits::{RESUMED_AT_ONCE_MAX, URGENT_LOOK_INTERVAL_US};

/// Events that are served per woken request that is resumed within a round. New events go first,
/// but resuming never stops.
const EVENTS_PER_ANSWER: u32 = 2;
/// Events after which the time is read, to decide whether to poll the urgent events.
const EVENTS_PER_CLOCK_READ: u32 = 4;
/// Interval between two such polls.
const LOOK_INTERVAL: Duration = Duration::from_micros(URGENT_LOOK_INTERVAL_US);

/// Runs a core's leader for ever.
pub(super) fn run<S: Service>(leader: &Leader<S>) {
    leader.core.refresh_clock();
    loop {
        next_event(leader);
    }
}

fn next_event<S: Service>(leader: &Leader<S>) {
    let Some((token, readiness)) = leader.core.reactor.next_event().or_else(|| end_round(leader))
    else {
        return;
    };
    guard(leader, token, || connection::on_event(leader, token, readiness));
    look_up(leader);
}

/// Ends a round. Then one handshake may begin, if one is due: it takes as long as dozens of
/// requests, so established connections wait for at most one. Otherwise the next round begins.
fn end_round<S: Service>(leader: &Leader<S>) -> Option<(Token, Readiness)> {
    let core = leader.core;
    // One answer may wake all waiting requests. If all of them were resumed now, no event would be
    // read meanwhile, and what the core knows would be too old for the next requests.
    (0..RESUMED_AT_ONCE_MAX).map_while(|_| core.woken.next()).for_each(|asker| {
        resume(leader, asker);
    });
    let mut at_once = leader.service.end_round() || core.woken.count() > 0;
    if core.handshakes.any() {
        if let Some(token) = core.handshakes.turn() {
            return Some((token, Readiness { turn: true, ..Readiness::default() }));
        }
        at_once = true;
    }
    core.reactor.refill(at_once);
    core.assert_here();
    core.looked_at.set(Instant::now());
    core.refresh_clock();
    resume_first(leader);
    None
}

/// Runs between two events of a round. A round of hundreds of events takes milliseconds, so the
/// urgent events are polled meanwhile, and pending queries are sent.
fn look_up<S: Service>(leader: &Leader<S>) {
    let core = leader.core;
    let served = core.events_served.get().wrapping_add(1);
    core.events_served.set(served);
    if served.is_multiple_of(EVENTS_PER_ANSWER)
        && let Some(asker) = core.woken.next()
    {
        resume(leader, asker);
    }
    if !served.is_multiple_of(EVENTS_PER_CLOCK_READ) {
        return;
    }
    let now = Instant::now();
    if now.duration_since(core.looked_at.get()) < LOOK_INTERVAL {
        return;
    }
    core.looked_at.set(now);
    core.refresh_clock();
    let woken = core.reactor.poll_urgent();
    let sent = leader.service.send();
    if woken || sent {
        // Once for the coroutine that was woken (perhaps the mailbox), and once for the coroutine
        // that it has woken.
        coroutine::yield_now();
        coroutine::yield_now();
        core.assert_here();
        resume_first(leader);
    }
}

/// Resumes the few requests that wait for no other request.
fn resume_first<S: Service>(leader: &Leader<S>) {
    while let Some(asker) = leader.core.woken.next_first() {
        resume(leader, asker);
    }
}

fn resume<S: Service>(leader: &Leader<S>, asker: Token) {
    guard(leader, asker, || connection::on_answer(leader, asker));
}

/// Serves one connection. A panic closes that connection alone.
fn guard<S: Service>(leader: &Leader<S>, token: Token, serve: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(serve)).is_err() {
        tracing::error!(core = leader.core.index, "connection handler panicked");
        connection::close(leader.core, token, CloseReason::Internal);
    }
}
