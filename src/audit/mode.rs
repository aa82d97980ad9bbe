//! What an audit may do about differences, and how often.

/// The maximum number of rounds of comparing and repairing: a repair of the ledger reveals more,
/// and a worker may be writing some of the rows meanwhile.
pub(super) const REPAIR_ROUNDS_MAX: usize = 5;

/// What an audit does about differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Reports them only.
    Look,
    /// Repairs those whose repair takes no units from anybody who may have them.
    Repair,
    /// Also makes units available that somebody has according to claims, stream, rows or places.
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
