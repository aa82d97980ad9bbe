//! What a sale may have beyond its terms, and most sales leave at its default.

use crate::limits::EXTEND_MAX_MS_DEFAULT;

/// See the module's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How much longer in all a hold may become than it was at first. 0: not at all.
    pub extend_max_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { extend_max_ms: EXTEND_MAX_MS_DEFAULT }
    }
}
