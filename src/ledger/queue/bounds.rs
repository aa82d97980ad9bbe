//! How much a batch may hold.

use crate::limits::{BATCH_GLANCES_MAX, BATCH_MAX, BATCH_SCRIPTS_MAX, EMBEDDED_BATCH_MAX};

/// The bounds of a batch, by what it costs the ledger.
#[derive(Debug, Clone, Copy)]
pub struct BatchBounds {
    pub(super) commands: usize,
    pub(super) scripts: usize,
    pub(super) glances: usize,
}

impl BatchBounds {
    /// For one that takes so many commands whatever they are.
    const fn of_commands(commands: usize) -> Self {
        Self { commands, scripts: commands, glances: commands }
    }

    /// For Redis.
    pub const REDIS: Self =
        Self { commands: BATCH_MAX, scripts: BATCH_SCRIPTS_MAX, glances: BATCH_GLANCES_MAX };
    /// For the embedded ledger.
    pub const EMBEDDED: Self = Self::of_commands(EMBEDDED_BATCH_MAX);
}
