//! Bounds of admission: keys, tokens, and the cost of verifying.

use super::sale::{SALE_ID_BYTES_MAX, USER_BYTES_MAX};

/// Longest file of admission keys, in bytes.
pub const ADMISSION_KEYS_BYTES_MAX: usize = 64 * 1024;
/// Keys in such a file: per shop the current one, and those before and after it.
pub const ADMISSION_KEYS_MAX: usize = 32;
/// Longest name of a key (`kid`), in bytes.
pub const ADMISSION_KID_BYTES_MAX: usize = 64;
/// Shortest secret of an HS256 key, in bytes: as long as its hash (RFC 7518, section 3.2).
pub const ADMISSION_SECRET_BYTES_MIN: usize = 32;
/// Longest secret of an HS256 key, in bytes.
pub const ADMISSION_SECRET_BYTES_MAX: usize = 512;
/// Longest name of the audience that tokens are for, in bytes.
pub const ADMISSION_AUDIENCE_BYTES_MAX: usize = 256;
/// Longest token, in bytes.
pub const ADMISSION_TOKEN_BYTES_MAX: usize = 3 * 1024;
/// Sales that one token may name.
pub const ADMISSION_SALES_MAX: usize = 16;
/// Maximum difference between the clocks of shop and server: `exp` and `nbf` are extended by it.
pub const ADMISSION_LEEWAY_MS: u64 = 30_000;
/// Longest life of a token that `stampede token` mints.
pub const ADMISSION_TTL_MS_MAX: u64 = 24 * 3600 * 1000;

/// Verified tokens that a core caches.
pub const ADMISSION_CACHED_MAX: usize = 4096;
/// Slots per token in a core's cache: each lookup compares this many.
pub const ADMISSION_CACHE_WAYS: usize = 4;

/// Approximate cost of verifying an HS256 token, in microseconds of a core.
pub const ADMISSION_HS256_COST_US: u32 = 2;
/// Approximate cost of verifying an EdDSA token, in microseconds of a core.
pub const ADMISSION_EDDSA_COST_US: u32 = 50;
/// Time for verifying per tick of a core, in microseconds. Beyond it: 503 `busy`, for tokens that
/// the core has not verified before.
pub const ADMISSION_CHECKS_PER_TICK_US: u32 = 12_500;
/// The part of it for wrong signatures of one address, in microseconds per tick.
pub const ADMISSION_FORGED_PER_ADDRESS_US: u32 = 400;
/// The part of it for all addresses with recent wrong signatures together.
pub const ADMISSION_SUSPECTS_PER_TICK_US: u32 = ADMISSION_CHECKS_PER_TICK_US / 4;
/// Ticks for which an address counts as such: one second.
pub const ADMISSION_SUSPECT_TICKS: u32 = 20;
/// Counters of wrong signatures per core; addresses are hashed to them.
pub const ADMISSION_FORGED_COUNTERS: usize = 8192;

// The longest token of 16 sales with the longest names fits: base64 adds a third, twice.
const _: () = assert!(
    (ADMISSION_SALES_MAX * (SALE_ID_BYTES_MAX + 3)
        + USER_BYTES_MAX
        + ADMISSION_AUDIENCE_BYTES_MAX
        + ADMISSION_KID_BYTES_MAX
        + 256)
        / 3
        * 4
        < ADMISSION_TOKEN_BYTES_MAX
);
const _: () =
    assert!(ADMISSION_CACHED_MAX.is_power_of_two() && ADMISSION_CACHE_WAYS.is_power_of_two());
const _: () = assert!(ADMISSION_CACHE_WAYS < ADMISSION_CACHED_MAX);
// The memory of a core's cache with the longest tokens is bounded.
const _: () = assert!(ADMISSION_CACHED_MAX * 2 * ADMISSION_TOKEN_BYTES_MAX <= 24 << 20);
// An address with wrong signatures takes only a small part, and may still fail a few times.
const _: () = assert!(ADMISSION_FORGED_PER_ADDRESS_US * 16 <= ADMISSION_CHECKS_PER_TICK_US);
const _: () = assert!(ADMISSION_FORGED_PER_ADDRESS_US >= 4 * ADMISSION_EDDSA_COST_US);
const _: () = assert!(ADMISSION_FORGED_PER_ADDRESS_US < ADMISSION_SUSPECTS_PER_TICK_US);
const _: () = assert!(ADMISSION_FORGED_COUNTERS.is_power_of_two());
const _: () =
    assert!(ADMISSION_KEYS_MAX * (2 * ADMISSION_SECRET_BYTES_MAX + 256) < ADMISSION_KEYS_BYTES_MAX);
