//! Bounds of a demonstration.

/// Default number of tickets: that of the article.
pub const DEMO_TICKETS: u64 = 10_000;
/// Default number of buyers in the crowd.
pub const DEMO_BUYERS: u64 = 30_000;
/// Most buyers in the crowd.
pub const DEMO_BUYERS_MAX: u64 = 1_000_000;
/// Default number of connections of the crowd. Each connection has a thread.
pub const DEMO_CONNECTIONS: u64 = 32;
/// Most connections of the crowd.
pub const DEMO_CONNECTIONS_MAX: u64 = 256;
/// Default time until the sale opens.
pub const DEMO_OPENS_IN_MS: u64 = 20_000;
/// Longest time until the sale opens.
pub const DEMO_OPENS_IN_MS_MAX: u64 = 3_600_000;
/// Default time from the opening until the last buyer arrives.
pub const DEMO_OVER_MS: u64 = 30_000;
/// Longest time from the opening until the last buyer arrives.
pub const DEMO_OVER_MS_MAX: u64 = 3_600_000;
/// Default time for which a ticket is held.
pub const DEMO_HOLD_MS: u64 = 30_000;
/// Shortest time for which a ticket is held.
pub const DEMO_HOLD_MS_MIN: u64 = 1_000;
/// Longest response that the crowd reads.
pub const DEMO_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Longest time for one response to the crowd. After it the buyer repeats the request with the same key.
pub const DEMO_ANSWER_DEADLINE_MS: u64 = 5_000;

const _: () = assert!(DEMO_BUYERS <= DEMO_BUYERS_MAX && DEMO_CONNECTIONS <= DEMO_CONNECTIONS_MAX);
