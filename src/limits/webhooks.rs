//! Bounds of webhooks: how many at a time, for how long, how often, and how many may wait.

use super::logs::REQUEST_ID_BYTES_MAX;
use super::sale::{KEY_BYTES_MAX, LINES_BYTES_MAX, NOTE_BYTES_MAX, USER_BYTES_MAX};

/// Default of the webhooks that are sent at the same time. Each takes a thread and a connection.
pub const WEBHOOK_PARALLEL: usize = 16;
/// Largest setting of it.
pub const WEBHOOK_PARALLEL_MAX: usize = 256;
/// Default of the time for one attempt, from the name's look-up to the answer.
pub const WEBHOOK_DEADLINE_MS: u64 = 15_000;
/// Shortest and longest setting of it.
pub const WEBHOOK_DEADLINE_MS_MIN: u64 = 100;
/// See [`WEBHOOK_DEADLINE_MS_MIN`].
pub const WEBHOOK_DEADLINE_MS_MAX: u64 = 60_000;
/// Default of the attempts after which an event is a dead letter.
pub const WEBHOOK_ATTEMPTS: u32 = 15;
/// Largest setting of it.
pub const WEBHOOK_ATTEMPTS_MAX: u32 = 100;
/// Default of the pause after the first failed attempt.
pub const WEBHOOK_RETRY_MS: u64 = 5_000;
/// Shortest and longest setting of it.
pub const WEBHOOK_RETRY_MS_MIN: u64 = 10;
/// See [`WEBHOOK_RETRY_MS_MIN`].
pub const WEBHOOK_RETRY_MS_MAX: u64 = 3_600_000;
/// By how much each further pause is longer than the one before.
pub const WEBHOOK_RETRY_FACTOR: u64 = 3;
/// Longest pause between two attempts, before chance lengthens it.
pub const WEBHOOK_PAUSE_MS_MAX: u64 = 12 * 3_600_000;
/// By how much chance shortens or lengthens a pause at the most.
pub const WEBHOOK_JITTER_PERCENT: u64 = 10;
/// Longest `Retry-After` of a receiver that is kept to; a longer one counts as this.
pub const WEBHOOK_RETRY_AFTER_MS_MAX: u64 = 3_600_000;
/// Default number of events, dead letters included, at which reading the stream stops.
pub const WEBHOOK_BACKLOG: u64 = 1_000_000;
/// Smallest and largest setting of it: an event takes about half a KiB of the file.
pub const WEBHOOK_BACKLOG_MIN: u64 = 10;
/// See [`WEBHOOK_BACKLOG_MIN`].
pub const WEBHOOK_BACKLOG_MAX: u64 = 100_000_000;
/// Largest body of a webhook.
pub const WEBHOOK_BODY_BYTES_MAX: usize = 8 * 1024;
/// Largest head of an answer to a webhook. Beyond it the attempt has failed.
pub const WEBHOOK_ANSWER_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of an answer's body that are read and discarded, so that its connection can be reused.
pub const WEBHOOK_ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// Buffers of a connection to the receiver, each of two.
pub const WEBHOOK_BUFFER_BYTES: usize = 16 * 1024;
/// Time for which an idle connection to the receiver is kept: receivers close theirs after 5 s and more.
pub const WEBHOOK_IDLE_MS: u64 = 2_000;
/// Bytes kept of the reason of a failed attempt.
pub const WEBHOOK_FAILURE_BYTES_MAX: usize = 300;
/// Most secrets that sign at the same time.
pub const WEBHOOK_SECRETS_MAX: usize = 8;
/// Shortest and longest secret, decoded, as Standard Webhooks has it.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 24;
/// See [`WEBHOOK_SECRET_BYTES_MIN`].
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 64;
/// Largest file of secrets.
pub const WEBHOOK_SECRETS_FILE_BYTES_MAX: u64 = 4 * 1024;
/// Longest URL of a receiver.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2 * 1024;
/// Changes taken over whose acknowledgement is not known to have reached the ledger.
pub const WEBHOOK_UNACKNOWLEDGED_MAX: u64 = 1_000_000;

/// Time over which an event is tried by default, without chance.
const fn retried_for_ms() -> u64 {
    let (mut sum_ms, mut pause_ms, mut attempt) = (0, WEBHOOK_RETRY_MS, 1);
    while attempt < WEBHOOK_ATTEMPTS {
        sum_ms += pause_ms;
        pause_ms *= WEBHOOK_RETRY_FACTOR;
        if pause_ms > WEBHOOK_PAUSE_MS_MAX {
            pause_ms = WEBHOOK_PAUSE_MS_MAX;
        }
        attempt += 1;
    }
    sum_ms
}

// A receiver that is down over a long weekend misses nothing.
const _: () = assert!(retried_for_ms() >= 3 * 86_400_000);
const _: () = assert!(WEBHOOK_RETRY_MS_MAX <= WEBHOOK_PAUSE_MS_MAX);
const _: () = assert!(WEBHOOK_RETRY_AFTER_MS_MAX <= WEBHOOK_PAUSE_MS_MAX);
const _: () = assert!(WEBHOOK_JITTER_PERCENT < 100);
const _: () = assert!(WEBHOOK_PARALLEL <= WEBHOOK_PARALLEL_MAX);
const _: () = assert!(WEBHOOK_BACKLOG_MIN <= WEBHOOK_BACKLOG);
const _: () = assert!(WEBHOOK_BACKLOG <= WEBHOOK_BACKLOG_MAX);
// In JSON, a byte of a name takes two at the most, since none is a control character; all else in a
// body has a fixed length.
const _: () = assert!(
    2 * (USER_BYTES_MAX + KEY_BYTES_MAX + REQUEST_ID_BYTES_MAX + NOTE_BYTES_MAX + LINES_BYTES_MAX)
        + 1_024
        <= WEBHOOK_BODY_BYTES_MAX
);
const _: () = assert!(
    WEBHOOK_SECRETS_MAX * (WEBHOOK_SECRET_BYTES_MAX * 2 + 8)
        <= WEBHOOK_SECRETS_FILE_BYTES_MAX as usize
);
