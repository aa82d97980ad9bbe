//! Bounds of what is logged, and of what clients may add to it.

/// Bytes of log lines that wait for standard error. Beyond it they are dropped and counted.
pub const LOG_QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes written to standard error at a time: Linux writes this much to a pipe atomically
/// (`PIPE_BUF`).
pub const LOG_WRITE_BYTES: usize = 4096;
/// Time between two log lines about something that clients can cause at will. Events in between are
/// counted in the next line.
pub const LOG_REPEAT_MS: u64 = 10_000;
/// Time at the end of a server or a worker for standard error to take the last lines.
pub const LAST_WORDS_MS: u64 = 500;
/// The same for a command, whose reader may be a pager.
pub const COMMAND_LAST_WORDS_MS: u64 = 10_000;

/// One buffer of the stat log.
pub const STAT_LOG_BUFFER_BYTES: usize = 64 * 1024;
/// Buffers of one core, the one it fills and those on their way to the file. With all of them
/// full, lines are dropped and counted.
pub const STAT_LOG_BUFFERS_PER_CORE: usize = 16;
/// Buffers of all cores on their way to the file.
pub const STAT_LOG_QUEUE_MAX: usize = 1024;
/// Longest line of the stat log: `result:1,localSales:`, a `u64`, and a request's id and `traceparent`
/// with their names.
pub const STAT_LOG_LINE_BYTES_MAX: usize = 48 + 24 + REQUEST_ID_BYTES_MAX + 55;

/// Longest `X-Request-Id` that is accepted. A longer one counts as not sent.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Reservations for which an embedded ledger keeps id and trace until the orders have them. Beyond
/// it the oldest lose them: at most 10 MB.
pub const TRACES_WAITING_MAX: usize = 64 * 1024;
/// Longest `X-Operator` that is accepted. A longer one counts as not sent.
pub const OPERATOR_BYTES_MAX: usize = 64;
/// Longest body of a change at the control port that is logged with it.
pub const REQUEST_ASKED_BYTES_MAX: usize = 512;

const _: () = assert!(LOG_WRITE_BYTES < LOG_QUEUE_BYTES_MAX);
const _: () = assert!(STAT_LOG_LINE_BYTES_MAX < STAT_LOG_BUFFER_BYTES);
const _: () = assert!(STAT_LOG_BUFFERS_PER_CORE < STAT_LOG_QUEUE_MAX);
// A line of the ledger stores its length in one byte.
const _: () = assert!(REQUEST_ID_BYTES_MAX <= u8::MAX as usize);
