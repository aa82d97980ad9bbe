//! The bounds of a batch, in addition to [`BATCH_MAX`] commands.

use crate::limits::{BATCH_MAX, BATCH_PEEKS_MAX, BATCH_SCRIPTS_MAX};

/// The bounds of a batch, by what it costs the ledger.
#[derive(Debug, Clone, Copy)]
pub struct BatchBounds {
    pub(super) scripts: usize,
    pub(super) views: usize,
}

impl BatchBounds {
    /// For Redis.
    pub const REDIS: Self = Self { scripts: BATCH_SCRIPTS_MAX, views: BATCH_PEEKS_MAX };
    /// For the embedded ledger, which runs no scripts: one fdatasync suffices for as many sales as
    /// there are commands.
    pub const EMBEDDED: Self = Self { scripts: BATCH_MAX, views: BATCH_MAX };
}
