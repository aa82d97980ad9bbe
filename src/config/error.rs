//! What is wrong with a configuration.

/// Why there is no configuration: everything that is wrong, one text each. Shows one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<String>,
}
