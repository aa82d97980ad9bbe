//! The error type of the bench: a sentence for its user, with its cause.

use std::io;

/// Why a run can't go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// The result of every fallible step.
pub type Result<T> = std::result::Result<T, Failure>;

/// Adds the failed action to a lower error.
pub trait Because<T> {
    /// Turns any error into a [`Failure`] that starts with `doing`.
    fn because(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: std::fmt::Display> Because<T> for std::result::Result<T, E> {
    fn because(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure(format!("{}: {error}", doing())))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Returns a [`Failure`] as an `Err`.
pub fn fail<T>(what: impl Into<String>) -> Result<T> {
    Err(Failure(what.into()))
}
