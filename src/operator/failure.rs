//! The failures of a command, and their exit codes.

use std::io;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line is wrong: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Anything else: exit code 1.
    #[error("{0}")]
    Failed(String),
    /// An audit could not be carried out: exit code 3.
    #[error("{0}")]
    AuditIncomplete(String),
    /// The output can't be written.
    #[error("can't print: {0}")]
    Print(#[from] io::Error),
}
