//! What an audit may do about what differs, and how often.

/// Rounds of comparing and repairing: a repair of the ledger shows more, and a worker may be writing
/// some of the rows meanwhile.
pub(super) const REPAIR_ROUNDS_MAX: usize = 5;

/// What an audit does about what differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Look,
    /// Repairs what takes no units from anybody who may have them.
    Repair,
    /// Repairs, and puts units up for sale although claims, stream, rows or places tell of somebody
    /// who has them.
    ReleaseUnits,
}

impl Mode {
    pub(super) fn repairs(self) -> bool {
        self != Self::Look
    }

    pub(super) fn releases(self) -> bool {
        self == Self::ReleaseUnits
    }
}
