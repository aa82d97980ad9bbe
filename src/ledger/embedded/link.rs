//! One core's link to the embedded ledger: hands batches to the ledger thread and takes the answers
//! from the core's mailbox.
//!
//! The ledger thread always answers, if late: a slow disk. So a batch that is overdue is given up
//! (`unknown`) but not forgotten: its answer still settles what the core took for it.

use std::rc::Rc;

use super::{Handle, Job};
use crate::core::Core;
use crate::gate::Source;
use crate::ledger::batch::Failure;
use crate::ledger::{BatchReply, LedgerError};
use crate::limits::REFUSAL_LOG_INTERVAL_MS;
use crate::server::LinkState;

/// The life of a core's link.
pub fn run(core: &'static Core, ledger: &Handle) {
    core.batcher.set_available();
    core.report(LinkState::Up);
    let signal = core.ledger_signal.clone();
    let mut failure_logged_ms: Option<u64> = None;
    loop {
        let now_ms = || core.clock.now_ms();
        let Some((batch, mut flight)) = core.batcher.next_batch(now_ms, || false) else { continue };
        let sent_ms = core.clock.now_ms();
        let (shared, index) = (core.shared.clone(), core.index);
        let reply = move |result| {
            shared.mailboxes[index].send(Box::new(|core| {
                *core.ledger_answer.borrow_mut() = Some(result);
                core.ledger_signal.notify();
            }));
        };
        ledger.send(Job::new(batch, Box::new(reply)));
        let deadline_ms = sent_ms + core.batcher.answer_deadline_ms();
        let answer = match answer(core, &signal, deadline_ms) {
            Some(answer) => answer,
            None => {
                core.batcher.give_up_waiting(&mut flight);
                tracing::warn!(core = core.index, "the ledger is slow: a batch is overdue");
                answer(core, &signal, u64::MAX).expect("waits without end")
            }
        };
        match answer {
            Ok(replies) => {
                core.batcher.complete(flight, replies.into_iter().map(Ok).collect());
            }
            Err(error) => {
                let now_ms = core.clock.now_ms();
                // Now and then: every batch is refused until somebody puts right what is wrong.
                if failure_logged_ms.is_none_or(|last| now_ms >= last + REFUSAL_LOG_INTERVAL_MS) {
                    failure_logged_ms = Some(now_ms);
                    tracing::error!(core = core.index, %error, "the ledger failed");
                }
                core.batcher.fail(flight, Failure::from(&error));
            }
        }
        core.gate.hurry();
    }
}

fn answer(
    core: &'static Core,
    signal: &Rc<Source>,
    deadline_ms: u64,
) -> Option<Result<BatchReply, LedgerError>> {
    loop {
        if let Some(answer) = core.ledger_answer.borrow_mut().take() {
            return Some(answer);
        }
        signal.wait(|| core.clock.now_ms(), deadline_ms).ok()?;
        core.assert_here();
    }
}
