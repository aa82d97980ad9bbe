//! What a core gives its [`Batcher`](super::batch::Batcher): who hears of each outcome, and who
//! resumes the requests that wait.

use super::queue::SentCommand;
use super::{Failure, GroupReply};
use crate::sale::{Outcome, SaleId};

/// A waiting request, as a number that [`Waker`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaiterId(pub u64);

/// Observes the outcome of every command, with or without a waiter, before the tickets are
/// answered.
pub trait OutcomeObserver {
    /// One group was answered or has failed. `asked_ms`: when it was taken to be sent, on the
    /// core's clock. What the answer says was true no earlier than that.
    fn on_group(
        &self,
        sale: &SaleId,
        entries: &[SentCommand],
        result: Result<&GroupReply, Failure>,
        asked_ms: u64,
    );

    /// The rejection that every unsent purchase of this sale gets by now, if there is one.
    fn known_rejection(&self, sale: &SaleId) -> Option<Outcome>;

    /// Commands with this many units of allowance were dropped unsent.
    fn give_back(&self, sale: &SaleId, units: u64);

    /// A purchase of this sale has this outcome, and its client is gone.
    fn on_abandoned(&self, sale: &SaleId, outcome: &Outcome);

    /// The answer to one group is overdue, and its waiters are released. `on_group` still follows
    /// when the answer arrives.
    fn on_overdue(&self, sale: &SaleId);
}

/// Resumes requests whose answers are there, in turn with all other work of a core.
pub trait Waker {
    /// An answer is there. `first`: this request resumes before all others.
    fn wake(&self, waiter: WaiterId, first: bool);

    /// How many woken requests have not resumed yet.
    fn pending(&self) -> usize;
}
