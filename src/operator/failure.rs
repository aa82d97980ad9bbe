//! Why a command fails, and with it the exit code.

use std::io;

/// Why a command did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Anything else: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// An audit could not look: exit code 3.
    #[error("{0}")]
    NotLooked(String),
    /// What it says can't be written.
    #[error("can't print: {0}")]
    Print(#[from] io::Error),
}
