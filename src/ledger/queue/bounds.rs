//! How much a batch may hold.

use crate::limits::{BATCH_GLANCES_MAX, BATCH_MAX, BATCH_SCRIPTS_MAX};

/// The bounds of a batch, by what it costs the ledger.
#[derive(Debug, Clone, Copy)]
pub struct BatchBounds {
    pub(super) commands: usize,
    pub(super) scripts: usize,
    pub(super) glances: usize,
}

impl BatchBounds {
    /// For Redis.
    pub const REDIS: Self =
        Self { commands: BATCH_MAX, scripts: BATCH_SCRIPTS_MAX, glances: BATCH_GLANCES_MAX };
    /// For the embedded ledger, which runs no scripts: one fdatasync does for as many sales as there are
    /// commands.
    pub const EMBEDDED: Self = Self { commands: BATCH_MAX, scripts: BATCH_MAX, glances: BATCH_MAX };
}
