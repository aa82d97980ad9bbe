//! Bounds of rate limits per user and per address.

/// Most purchases per second that a limit may allow.
pub const RATE_PER_S_MAX: u64 = 10_000;
/// Most purchases at once that a limit may allow.
pub const RATE_BURST_MAX: u64 = 10_000;
/// Longest time for a burst to become whole again, in seconds: that long a slot is taken.
pub const RATE_WINDOW_S_MAX: u64 = 10_000;
/// Users, and addresses, that a server tracks. Beyond it, a new one evicts the one that has used
/// least.
pub const RATE_SLOTS: usize = 1 << 18;
/// Slots per user or address: one cache line.
pub const RATE_BUCKET_SLOTS: usize = 8;
/// Maximum difference between the clocks of two cores, in ms: a core reads its clock once per round
/// of events.
pub const RATE_CLOCKS_DIFFER_MS_MAX: u64 = 2_000;

const _: () = assert!(RATE_BURST_MAX <= RATE_WINDOW_S_MAX && RATE_PER_S_MAX <= 100_000 / 10);
const _: () = assert!(RATE_SLOTS.is_power_of_two() && RATE_SLOTS > RATE_BUCKET_SLOTS);
// Both tables of a server: 4 MiB.
const _: () = assert!(2 * RATE_SLOTS * size_of::<u64>() <= 4 << 20);
