//! What is said of a Redis that can be used, but not without a word to its operator.

/// Something at a Redis that can be used which its operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Warning {
    /// What it is, always in the same words.
    pub message: &'static str,
    /// What is there, and what to do about it.
    pub detail: String,
}

impl Warning {
    pub(super) fn new(message: &'static str, detail: impl Into<String>) -> Self {
        Self { message, detail: detail.into() }
    }
}
