//! Bounds of a server's beginning and end, and of its hand-over to another process.

/// Time the start waits for the ledger before the server goes on without it.
pub const STARTUP_WAIT_MS: u64 = 5_000;

/// Time that a second signal leaves for an orderly end.
pub const SECOND_SIGNAL_MS: u64 = 1_000;

/// Time that a drain leaves a new connection to send its first request, from when it came.
pub const DRAIN_NEWCOMER_MS: u64 = 1_000;
/// Time that a process which is to take over has until it could.
pub const SUCCESSOR_READY_MS: u64 = 60_000;
/// Time in which a process that takes over is told to, once it could.
pub const SUCCESSOR_TAKE_MS: u64 = 30_000;
/// Time for which a server with an embedded ledger closes each connection after its next answer, before
/// it hands over: those who are busy have come anew by then.
pub const HAND_OVER_LEAVE_MS: u64 = 1_000;
/// Time for which requests wait for an embedded ledger that the process before has not closed yet.
pub const HAND_OVER_PATIENCE_MS: u64 = 60_000;
/// Time beyond a drain's that the process before may take to close its embedded ledger.
pub const HAND_OVER_CLOSE_MS: u64 = 20_000;
/// Descriptors in one message to a process that takes over; the system allows 253.
pub const HAND_OVER_SOCKETS_MAX: usize = 200;
/// Bytes of such a message.
pub const HAND_OVER_MESSAGE_BYTES_MAX: usize = 64 * 1024;
