//! How often a user, or an address, may buy: so many purchases per second, and so many at once.
//!
//! A [`Limiter`] is shared by all cores, so that what it allows is allowed per server and not per core:
//! a client with a connection to each core gets no more than one with a single connection. Cores meet at
//! single words of its table, without a lock.
//!
//! Architecture invariant: knows no HTTP, no sale and no clock. Its memory is fixed when it is turned on.

mod rate;
mod table;

pub use rate::{Limited, Limiter, Rate};
