//! Log lines for operators: to standard error, as text, as JSON or for systemd's journal, as much as the
//! filter lets through; and the last words of a process.
//!
//! A log never stops a sale. A line is formatted where it arises and put into a bounded queue; one
//! thread writes, and nobody else ever waits for standard error, also not at the end of the process.
//! What standard error does not take is dropped, counted, and reported when it takes lines again.
//! `tracing-appender` has such a queue, but it does not count what could not be written, prints
//! (and so panics) when it ends, and knows nothing of what libraries write themselves.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::limits::{COMMAND_LAST_WORDS_MS, LAST_WORDS_MS};
use crate::output::Aside;

mod journal;
mod queue;
mod standard_error;
mod target;

use journal::{Journal, with_priorities};
use queue::Queue;
pub use standard_error::real as real_standard_error;
pub use target::AUDIT;

/// What all lines go through once logging has started.
static QUEUE: OnceLock<Queue> = OnceLock::new();
/// The filter that lines go through before.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// How lines look from now on.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// For systemd's journal: each line with its priority, without the time.
    Journal,
}

impl LogFormat {
    /// What suits standard error: [`Journal`](Self::Journal) if systemd says that it is the journal, else
    /// text. To be asked once before logging starts: then it says the same also while our own pipe stands
    /// in for it.
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
    /// The filter is not one.
    #[error("log filter {0}: {1}")]
    Filter(String, tracing_subscriber::filter::ParseError),
    /// The process has a logger already.
    #[error("can't start logging: {0}")]
    Taken(Box<dyn std::error::Error + Send + Sync>),
    /// The system refuses a thread or a descriptor.
    #[error("can't start logging: {0}")]
    System(#[from] io::Error),
}

/// Starts logging to standard error, of panics too: with their place and text, but without a
/// backtrace, which takes more stack than a coroutine has. Colours only on a terminal, and not with
/// `NO_COLOR`.
pub fn start(filter: &str, format: LogFormat) -> Result<(), LoggingError> {
    let parsed = parse(filter)?;
    let colours = has_colours();
    let queue = QUEUE.get_or_init(Queue::default);
    let _ = FORMAT.set(format);
    let prepare = if format == LogFormat::Journal { with_priorities } else { <[u8]>::to_vec };
    standard_error::take(queue, prepare, |lines| {
        tracing::warn!(lines, "log lines were dropped, since standard error did not take them");
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

/// Logs what this filter lets through from now on.
///
/// # Errors
/// It is no filter, or logging has not started; the old one stays.
pub fn change_filter(filter: &str) -> Result<(), LoggingError> {
    let parsed = parse(filter)?;
    let Some(current) = FILTER.get() else { return Ok(()) };
    current.reload(parsed).map_err(|error| LoggingError::Taken(error.into()))
}

fn parse(filter: &str) -> Result<EnvFilter, LoggingError> {
    // What is below us says much at `info`; a filter that names it has the last word.
    let audit = if filter.trim() == "off" { "off" } else { "info" };
    EnvFilter::try_new(format!("may=warn,{AUDIT}={audit},{filter}"))
        .map_err(|error| LoggingError::Filter(filter.into(), error))
}

/// Whether what goes to standard error may have colours. To be asked before logging starts.
pub fn has_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Log lines that standard error did not take, since logging has started.
pub fn lines_lost() -> u64 {
    QUEUE.get().map_or(0, Queue::lost)
}

/// Ends the process at once, with what it has to say on standard error if that can be had in time.
/// Runs no destructor: one of them might wait for what is stuck.
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
            let say = Aside::start(move || _ = io::stderr().write_all(&words));
            say.wait(Duration::from_millis(COMMAND_LAST_WORDS_MS));
        }
    }
    signal_hook::low_level::exit(code.into())
}

/// A way into the queue that never fails.
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
