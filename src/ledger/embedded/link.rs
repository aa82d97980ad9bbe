//! One core's link to the embedded ledger: hands batches to the ledger thread and takes the answers
//! from the core's mailbox.
//!
//! The ledger thread always answers, if late: a slow disk. So a batch that is overdue is given up
//! (`unknown`) but not forgotten: its answer still settles what the core took for it.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::thread::{Handle, Job};
use crate::engine::core::Core;
use crate::engine::gate::Source;
use crate::ledger::batch::BatchBounds;
use crate::ledger::link::{LinkState, Site};
use crate::ledger::{Batch, BatchReply, Failure, LedgerError};
use crate::limits::REFUSAL_LOG_INTERVAL_MS;
use crate::sync::lock;

/// The answer to the batch under way, from the ledger thread, with the batch.
type Answer = Result<(BatchReply, Batch), LedgerError>;

/// The life of a core's link.
pub fn run(site: &'static Site, ledger: &Handle) {
    let core = site.core;
    site.batcher.set_bounds(BatchBounds::EMBEDDED);
    site.batcher.set_available();
    site.report(LinkState::Up);
    let signal = core.gate.signal();
    let (answered, place) = (Arc::new(Mutex::new(None)), signal.place());
    let mut failure_logged_ms: Option<u64> = None;
    loop {
        let now_ms = || core.clock.now_ms();
        let Some(mut flight) = site.batcher.next_batch(now_ms, || false) else { continue };
        let sent_ms = core.clock.now_ms();
        let (engine, index) = (core.engine.clone(), core.index);
        let theirs = answered.clone();
        let reply = move |result| {
            *lock(&theirs) = Some(result);
            engine.mailboxes[index].send(Box::new(move |core| core.gate.notify(place)));
        };
        ledger.send(Job::new(flight.take_batch(), Box::new(reply)));
        let deadline_ms = sent_ms + site.batcher.answer_deadline_ms();
        let answer = match answer(core, &signal, &answered, deadline_ms) {
            Some(answer) => answer,
            None => {
                site.batcher.give_up_waiting(&mut flight);
                tracing::warn!(core = core.index, "the ledger is slow: a batch is overdue");
                answer(core, &signal, &answered, u64::MAX).expect("waits without end")
            }
        };
        match answer {
            Ok((replies, batch)) => {
                flight.put_back(batch);
                site.batcher.complete(flight, replies.into_iter().map(Ok).collect());
            }
            Err(error) => {
                let now_ms = core.clock.now_ms();
                // Now and then: every batch is refused until somebody puts right what is wrong.
                if failure_logged_ms.is_none_or(|last| now_ms >= last + REFUSAL_LOG_INTERVAL_MS) {
                    failure_logged_ms = Some(now_ms);
                    tracing::error!(core = core.index, %error, "the ledger failed");
                }
                site.batcher.fail(flight, Failure::from(&error));
            }
        }
        core.gate.hurry();
    }
}

fn answer(
    core: &'static Core,
    signal: &Rc<Source>,
    answered: &Mutex<Option<Answer>>,
    deadline_ms: u64,
) -> Option<Answer> {
    loop {
        if let Some(answer) = lock(answered).take() {
            return Some(answer);
        }
        signal.wait(|| core.clock.now_ms(), deadline_ms).ok()?;
        core.assert_here();
    }
}
