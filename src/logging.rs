//! Log lines for operators: to standard error, as text or as JSON, as much as the filter lets
//! through. Called once, by `main`.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Why logging can't start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not one.
    #[error("log filter {0}: {1}")]
    Filter(String, tracing_subscriber::filter::ParseError),
    /// The process has a logger already.
    #[error("can't start logging: {0}")]
    Taken(Box<dyn std::error::Error + Send + Sync>),
}

/// Starts logging to standard error. Colours only on a terminal, and not with `NO_COLOR`.
pub fn init(filter: &str, format: LogFormat) -> Result<(), LoggingError> {
    // What is below us says much at `info`; a filter that names it has the last word.
    // `may_minihttp` takes every end of a connection for an error.
    let parsed = EnvFilter::try_new(format!("may=warn,may_minihttp=off,{filter}"))
        .map_err(|error| LoggingError::Filter(filter.into(), error))?;
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(colours).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(LoggingError::Taken)
}

/// Has panics logged with their place and text. Without a backtrace: that takes more stack than a
/// coroutine has.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(%place, text, "panic");
    }));
}
