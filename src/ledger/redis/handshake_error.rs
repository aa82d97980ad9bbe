//! Why a connection to Redis can't be used.
//!
//! Errors that an operator must repair are *fatal* (retrying does not help); the others pass.

use std::io;

/// Why a connection can't be used.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The stream failed. Passes.
    #[error("Redis can't be reached: {0}")]
    Io(#[from] io::Error),
    /// Redis is not ready: loading, full, without its replicas. Passes.
    #[error("Redis is not ready: {0}")]
    NotReady(String),
    /// It is no primary, and only a primary takes writes. Passes.
    #[error("Redis is not ready: it is a {0}, and only a primary takes writes")]
    NoPrimary(String),
    /// The operator must act: password, database, permissions, version.
    #[error("Redis can't be used: {0}")]
    Fatal(String),
}

impl HandshakeError {
    /// Whether retrying does not help until an operator changes something.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Fatal(_))
    }
}
