//! How much a batch may hold beside [`BATCH_MAX`] commands.

use crate::limits::{BATCH_GLANCES_MAX, BATCH_MAX, BATCH_SCRIPTS_MAX};

/// The bounds of a batch, by what it costs the ledger.
#[derive(Debug, Clone, Copy)]
pub struct BatchBounds {
    pub(super) scripts: usize,
    pub(super) glances: usize,
}

impl BatchBounds {
    /// For Redis.
    pub const REDIS: Self = Self { scripts: BATCH_SCRIPTS_MAX, glances: BATCH_GLANCES_MAX };
    /// For the embedded ledger, which runs no scripts: one fdatasync does for as many sales as there are
    /// commands.
    pub const EMBEDDED: Self = Self { scripts: BATCH_MAX, glances: BATCH_MAX };
}
