//! What a purchase waits for, how far it is, and what it ends with.

use std::rc::Rc;
use std::time::Instant;

use super::outcome::{PurchaseOutcome, PurchaseRequest};
use super::slot::SaleSlot;

/// The outcome of a purchase.
pub struct Completed {
    /// The outcome.
    pub outcome: PurchaseOutcome,
    /// The sale or the part that produced it.
    pub target: Rc<SaleSlot>,
}

/// When a purchase was received, and its progress.
#[derive(Clone, Copy)]
pub(super) struct Received {
    /// On the core's clock.
    pub(super) ms: u64,
    /// On the system's clock.
    pub(super) at: Instant,
    /// Views of the sale that had been requested by then. They do not decide this purchase.
    pub(super) views: u64,
    /// Answers received since then.
    pub(super) steps: u32,
}

/// What a purchase waits for.
pub(super) enum WaitsFor {
    /// The outcome of its request at this target: the sale, or a part of it.
    Outcome(Rc<SaleSlot>),
    /// Whether its key has a reservation at this target. If it has none, the purchase ends with the
    /// given outcome, if there is one, whatever else the target answers.
    Claim(Rc<SaleSlot>, Option<Box<PurchaseOutcome>>),
    /// The reservation of its key at this target, to be compared with the request; and whether it is
    /// asked for again.
    Reservation(Rc<SaleSlot>, Box<PurchaseRequest>, bool),
    /// The ledger's view of the sale.
    View(Box<PurchaseRequest>),
    /// Units for this part.
    Units(Box<PurchaseRequest>, Rc<SaleSlot>),
}
