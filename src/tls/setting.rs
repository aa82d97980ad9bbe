//! What an operator says of TLS, and what can be wrong with it.

use std::path::PathBuf;

/// The files of TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSetting {
    /// Certificates, each with those that lead from it to an authority, and their keys. The first is
    /// shown to clients that name no host, or another one.
    pub pairs: Vec<PairFiles>,
    /// The keys of tickets that all servers share. Without, each has its own.
    pub ticket_keys: Option<PathBuf>,
}

/// A certificate's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM, without a password.
    pub key: PathBuf,
}

/// Why files can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProblem {
    /// The setting that names the file.
    pub setting: &'static str,
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}
