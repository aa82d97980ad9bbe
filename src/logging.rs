//! Log lines for operators, to standard error: as text, as JSON or for systemd's journal, according
//! to the filter. Also the last words of a process.
//!
//! Logging never stops a sale. A line is formatted by its thread and put into a bounded queue. One
//! thread writes; no other thread ever waits for standard error, not even at the end of the
//! process. Lines that standard error does not take are dropped, counted, and reported later.
//! `tracing-appender` has such a queue, but it does not count lines that could not be written,
//! prints (and so panics) when it ends, and does not cover output of libraries.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::limits::{COMMAND_LAST_WORDS_MS, LAST_WORDS_MS};
use crate::output::Detached;

mod filter;
mod journal;
mod queue;
mod standard_error;
mod target;

pub use filter::check as check_filter;
use journal::{Journal, with_priorities};
use queue::Queue;
pub use standard_error::real as real_standard_error;
pub use target::AUDIT;

/// The queue of all lines once logging has started.
static QUEUE: OnceLock<Queue> = OnceLock::new();
/// The filter of lines.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// The format of lines.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
    /// For systemd's journal: each line with its priority, without the time.
    Journal,
}

impl LogFormat {
    /// The default for standard error: [`Journal`](Self::Journal) if systemd says that it is the
    /// journal, otherwise text. Call it once before logging starts; it returns the same afterwards,
    /// although descriptor 2 is then our own pipe.
    pub fn of_standard_error() -> Self {
        static FOUND: OnceLock<LogFormat> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let stream = std::env::var("JOURNAL_STREAM").ok();
            match journal::is_standard_error(stream.as_deref()) {
                true => Self::Journal,
                false => Self::Text,
            }
        })
    }
}

/// Why logging can't start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is malformed.
    #[error("log filter {0}: {1}")]
    Filter(String, String),
    /// The process has a logger already.
    #[error("can't start logging: {0}")]
    Taken(Box<dyn std::error::Error + Send + Sync>),
    /// The system refuses a thread or a descriptor.
    #[error("can't start logging: {0}")]
    System(#[from] io::Error),
}

/// Starts logging to standard error, including panics. Panics have their place and text, but no
/// backtrace, which needs more stack than a coroutine has. Colours are used only on a terminal, and
/// not with `NO_COLOR`.
pub fn start(filter: &str, format: LogFormat) -> Result<(), LoggingError> {
    let parsed = parse(filter)?;
    let colours = has_colours();
    let queue = QUEUE.get_or_init(Queue::default);
    let _ = FORMAT.set(format);
    let prepare = if format == LogFormat::Journal { with_priorities } else { <[u8]>::to_vec };
    standard_error::take(queue, prepare, |lines| {
        tracing::warn!(lines, "log lines dropped: standard error did not take them");
    })?;
    let lines = fmt::layer().with_writer(ToQueue(queue)).log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(colours).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Journal => lines.with_ansi(false).event_format(Journal).boxed(),
    };
    let (parsed, filter) = reload::Layer::new(parsed);
    let all = tracing_subscriber::registry().with(parsed).with(lines);
    all.try_init().map_err(|error| LoggingError::Taken(error.into()))?;
    let _ = FILTER.set(filter);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(%place, text, "panic");
    }));
    Ok(())
}

/// Replaces the filter.
///
/// # Errors
/// The filter is malformed, or logging has not started; the old filter stays.
pub fn change_filter(filter: &str) -> Result<(), LoggingError> {
    let parsed = parse(filter)?;
    let Some(current) = FILTER.get() else { return Ok(()) };
    current.reload(parsed).map_err(|error| LoggingError::Taken(error.into()))
}

fn parse(filter: &str) -> Result<Targets, LoggingError> {
    // Libraries log much at `info`; a filter that names them takes precedence.
    let audit = if filter.trim() == "off" { "off" } else { "info" };
    filter::parse(&format!("may=warn,{AUDIT}={audit},{filter}"))
        .map_err(|error| LoggingError::Filter(filter.into(), error))
}

/// Whether output to standard error may have colours. Call it before logging starts.
pub fn has_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Log lines that standard error did not take since logging started.
pub fn lines_lost() -> u64 {
    QUEUE.get().map_or(0, Queue::lost)
}

/// Ends the process at once, after writing the last words to standard error if that is possible in
/// time. Runs no destructor, since one might wait for something that is stuck.
pub fn end(code: u8, last_words: &str) -> ! {
    let format = FORMAT.get().copied().unwrap_or_else(LogFormat::of_standard_error);
    let words = match format {
        LogFormat::Journal => with_priorities(last_words.as_bytes()),
        LogFormat::Text | LogFormat::Json => last_words.as_bytes().to_vec(),
    };
    match QUEUE.get() {
        Some(queue) => {
            queue.push_last(&words);
            queue.flush(Duration::from_millis(LAST_WORDS_MS));
        }
        None => {
            let say = Detached::start(move || _ = io::stderr().write_all(&words));
            say.wait(Duration::from_millis(COMMAND_LAST_WORDS_MS));
        }
    }
    signal_hook::low_level::exit(code.into())
}

/// A writer into the queue that never fails.
#[derive(Clone, Copy)]
struct ToQueue(&'static Queue);

impl Write for ToQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for ToQueue {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}
