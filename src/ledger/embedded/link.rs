//! One core's link to the embedded ledger: sends batches to the ledger thread and takes the answers
//! from the core's mailbox.
//!
//! The ledger thread always answers, but late if the disk is slow. So the requests of an overdue
//! batch are answered `unknown`, and the batch is kept: its answer still updates the core's
//! allowance and cache.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::thread::{Handle, Job};
use crate::engine::core::Engine;
use crate::engine::reactor::{Notify, TimedOut};
use crate::ledger::batch::{BatchBounds, Batcher};
use crate::ledger::link::{LinkState, Site};
use crate::ledger::{Batch, BatchReply, Failure, LedgerError};
use crate::limits::REFUSAL_LOG_INTERVAL_MS;
use crate::sync::lock;

/// The answer to the batch in flight, from the ledger thread, with the batch.
type Answer = Result<(BatchReply, Batch), LedgerError>;

/// Where a link runs: on a core, or in a simulation of one.
pub trait Place {
    /// Wakes the link, on another thread.
    type Wake: Send + 'static;

    /// The number of its core.
    fn core(&self) -> usize;

    /// The time of its core.
    fn now_ms(&self) -> u64;

    /// Reports the state of the link.
    fn report(&self, state: LinkState);

    /// Suspends the link until it may have been woken, or until this time of its core.
    fn wait(&self, deadline_ms: u64) -> Result<(), TimedOut>;

    /// Wakes the link once.
    fn waker(&self) -> Self::Wake;

    /// Wakes the link of this waker.
    fn wake(waker: Self::Wake);

    /// Makes the core's next round begin at once.
    fn wake_leader(&self);

    /// Whether the server drains.
    fn is_draining(&self) -> bool;

    /// Whether the link ends. No wait suspends it any more then.
    fn ends(&self) -> bool {
        false
    }
}

/// A link on its core.
struct OnCore {
    site: &'static Site,
    signal: Rc<Notify>,
}

/// Reaches a link on its core.
struct Wake {
    engine: Arc<Engine>,
    core: usize,
    signal: usize,
}

impl Place for OnCore {
    type Wake = Wake;

    fn core(&self) -> usize {
        self.site.core.index
    }

    fn now_ms(&self) -> u64 {
        self.site.core.clock.now_ms()
    }

    fn report(&self, state: LinkState) {
        self.site.report(state);
    }

    fn wait(&self, deadline_ms: u64) -> Result<(), TimedOut> {
        self.signal.wait(|| self.now_ms(), deadline_ms)?;
        self.site.core.assert_here();
        Ok(())
    }

    fn waker(&self) -> Wake {
        let core = self.site.core;
        Wake { engine: core.engine.clone(), core: core.index, signal: self.signal.id() }
    }

    fn wake(waker: Wake) {
        let Wake { engine, core, signal } = waker;
        engine.mailboxes[core].send(Box::new(move |core| core.reactor.notify(signal)));
    }

    fn wake_leader(&self) {
        self.site.core.reactor.wake_leader();
    }

    fn is_draining(&self) -> bool {
        self.site.core.draining()
    }
}

/// Runs a core's link.
pub fn run(site: &'static Site, ledger: &Handle) {
    run_at(&OnCore { site, signal: site.core.reactor.new_notify() }, site.batcher, ledger);
}

/// Runs a link at this place, until it ends there.
pub fn run_at<P: Place>(place: &P, batcher: &Batcher, ledger: &Handle) {
    batcher.set_bounds(BatchBounds::EMBEDDED);
    batcher.set_available();
    place.report(LinkState::Up);
    let answered = Arc::new(Mutex::new(None));
    let mut failure_logged_ms: Option<u64> = None;
    while !place.ends() {
        let now_ms = || place.now_ms();
        let Some(mut flight) = batcher.next_batch(now_ms, || place.ends()) else { continue };
        let sent_ms = place.now_ms();
        let (theirs, waker) = (answered.clone(), place.waker());
        let reply = move |result| {
            *lock(&theirs) = Some(result);
            P::wake(waker);
        };
        ledger.send(Job::new(flight.take_batch(), Box::new(reply)));
        let deadline_ms = sent_ms + batcher.answer_deadline_ms();
        let answer = match answer(place, &answered, deadline_ms) {
            Some(answer) => answer,
            None => {
                batcher.give_up_waiting(&mut flight);
                tracing::warn!(core = place.core(), "the ledger is slow: a batch is overdue");
                let Some(answer) = answer(place, &answered, u64::MAX) else {
                    assert!(place.ends(), "waits without end");
                    return batcher.fail(flight, Failure::Unknown);
                };
                answer
            }
        };
        match answer {
            Ok((replies, batch)) => {
                flight.put_back(batch);
                batcher.complete(flight, replies.into_iter().map(Ok).collect());
            }
            Err(error) => {
                let now_ms = place.now_ms();
                // Logged once in a while: every batch is refused until an operator repairs the
                // cause. When the server ends, the ledger is closed before its cores.
                let is_due =
                    failure_logged_ms.is_none_or(|last| now_ms >= last + REFUSAL_LOG_INTERVAL_MS);
                if is_due && !place.is_draining() {
                    failure_logged_ms = Some(now_ms);
                    tracing::error!(core = place.core(), %error, "the ledger failed");
                }
                batcher.fail(flight, Failure::from(&error));
            }
        }
        place.wake_leader();
    }
}

fn answer(
    place: &impl Place,
    answered: &Mutex<Option<Answer>>,
    deadline_ms: u64,
) -> Option<Answer> {
    loop {
        if let Some(answer) = lock(answered).take() {
            return Some(answer);
        }
        place.wait(deadline_ms).ok()?;
    }
}
