//! Bounds of how often a user or an address may buy.

/// Most purchases per second that a limit may allow.
pub const RATE_PER_S_MAX: u64 = 10_000;
/// Most purchases at once that a limit may allow.
pub const RATE_BURST_MAX: u64 = 10_000;
/// Longest time that a burst may take to be free again, in seconds: so long a place is taken.
pub const RATE_WINDOW_S_MAX: u64 = 10_000;
/// Users, and addresses, that a server tells apart: who is beyond takes the place of the one that has
/// taken least.
pub const RATE_PLACES: usize = 1 << 18;
/// Places among which one is found for a user or an address: what one look at the memory brings in.
pub const RATE_BUCKET_PLACES: usize = 8;
/// By how much the clocks of two cores may differ, in ms: a core reads its clock once a round of events.
pub const RATE_CLOCKS_DIFFER_MS_MAX: u64 = 2_000;

const _: () = assert!(RATE_BURST_MAX <= RATE_WINDOW_S_MAX && RATE_PER_S_MAX <= 100_000 / 10);
const _: () = assert!(RATE_PLACES.is_power_of_two() && RATE_PLACES > RATE_BUCKET_PLACES);
// Both tables of a server: 4 MiB.
const _: () = assert!(2 * RATE_PLACES * size_of::<u64>() <= 4 << 20);
