//! Bounds of start, shutdown and hand-over of a server.

/// Time the start waits for the ledger before the server goes on without it.
pub const STARTUP_WAIT_MS: u64 = 5_000;

/// Time between a second signal and the forced end.
pub const SECOND_SIGNAL_MS: u64 = 1_000;

/// Time in a drain for the first request of a new connection, from its arrival.
pub const DRAIN_NEWCOMER_MS: u64 = 1_000;
/// Time for a new process in a hand-over to become ready.
pub const SUCCESSOR_READY_MS: u64 = 60_000;
/// Time for a ready process to be given the sockets.
pub const SUCCESSOR_TAKE_MS: u64 = 30_000;
/// Time before a hand-over in which a server with an embedded ledger closes each connection after
/// its next answer, so that busy clients reconnect.
pub const HAND_OVER_LEAVE_MS: u64 = 1_000;
/// Time for which requests wait for an embedded ledger that the previous process has not closed
/// yet.
pub const HAND_OVER_PATIENCE_MS: u64 = 60_000;
/// Time beyond that of a drain for the previous process to close its embedded ledger.
pub const HAND_OVER_CLOSE_MS: u64 = 20_000;
/// Descriptors in one message to a process that takes over; the system allows 253.
pub const HAND_OVER_SOCKETS_MAX: usize = 200;
/// Bytes of such a message.
pub const HAND_OVER_MESSAGE_BYTES_MAX: usize = 64 * 1024;
