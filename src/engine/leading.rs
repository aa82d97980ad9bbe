//! The coroutine that leads a core: takes what happens, and what was answered, and serves the
//! connections that it belongs to.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use may::coroutine;

use super::connection;
use super::core::{Leader, Service};
use super::counts::End;
use super::gate::{Readiness, Token};
use crate::limits::{TOLD_AT_ONCE_MAX, URGENT_LOOK_INTERVAL_US};

/// Events that are served for each answered request that goes on within a round: what has come is
/// read sooner than what is known is told, but the telling never stands still.
const EVENTS_PER_ANSWER: u32 = 2;
/// Events after which the time is read, to see whether what must not wait is to be looked at.
const EVENTS_PER_CLOCK_READ: u32 = 4;
/// Time after which it is.
const LOOK_INTERVAL: Duration = Duration::from_micros(URGENT_LOOK_INTERVAL_US);

/// The life of a core's leader.
pub(super) fn live<S: Service>(leader: &Leader<S>) {
    leader.core.refresh_clock();
    loop {
        next_event(leader);
    }
}

fn next_event<S: Service>(leader: &Leader<S>) {
    let Some((token, readiness)) = leader.core.gate.next_event().or_else(|| end_round(leader))
    else {
        return;
    };
    guard(leader, token, || connection::on_event(leader, token, readiness));
    look_up(leader);
}

/// Ends a round. Then one handshake may begin, whose turn that is: it takes as long as dozens of requests,
/// and those who are in wait for no more than one. Else the next round begins.
fn end_round<S: Service>(leader: &Leader<S>) -> Option<(Token, Readiness)> {
    let core = leader.core;
    // An answer may be for all who wait; if they all went on, what came meanwhile would not be read for
    // as long, and what the core knows would be too old for those who come next.
    (0..TOLD_AT_ONCE_MAX).map_while(|_| core.told.next()).for_each(|asker| {
        go_on(leader, asker);
    });
    let mut at_once = leader.service.end_round() || core.told.count() > 0;
    if core.handshakes.any() {
        if let Some(token) = core.handshakes.turn() {
            return Some((token, Readiness { turn: true, ..Readiness::default() }));
        }
        at_once = true;
    }
    core.gate.refill(at_once);
    core.assert_here();
    core.looked_at.set(Instant::now());
    core.refresh_clock();
    tell_first(leader);
    None
}

/// Between two events of a round. A round of hundreds takes milliseconds: now and then what must not
/// wait for its end is looked at meanwhile, and what waits to be sent is sent.
fn look_up<S: Service>(leader: &Leader<S>) {
    let core = leader.core;
    let served = core.events_served.get().wrapping_add(1);
    core.events_served.set(served);
    if served.is_multiple_of(EVENTS_PER_ANSWER)
        && let Some(asker) = core.told.next()
    {
        go_on(leader, asker);
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
    let woken = core.gate.look_at_urgent();
    let sent = leader.service.send();
    if woken || sent {
        // Once for who was woken (the mailbox, maybe), and once for whom that has woken.
        coroutine::yield_now();
        coroutine::yield_now();
        core.assert_here();
        tell_first(leader);
    }
}

/// Those few who wait for nobody's crowd.
fn tell_first<S: Service>(leader: &Leader<S>) {
    while let Some(asker) = leader.core.told.next_first() {
        go_on(leader, asker);
    }
}

fn go_on<S: Service>(leader: &Leader<S>, asker: Token) {
    guard(leader, asker, || connection::on_answer(leader, asker));
}

/// A panic costs the one connection.
fn guard<S: Service>(leader: &Leader<S>, token: Token, serve: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(serve)).is_err() {
        tracing::error!(core = leader.core.index, "a connection's handler panicked");
        connection::close(leader.core, token, End::Internal);
    }
}
