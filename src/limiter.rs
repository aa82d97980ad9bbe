//! Rate limits: how many purchases per second, and how many at once, per user and per address.
//!
//! All cores share a [`Limiter`], so its rate is per server and not per core: a client with a
//! connection to each core gets no more than one with a single connection. Cores contend only for
//! single words of its table, without a lock.
//!
//! Architecture invariant: knows no HTTP, no sale and no clock. Its memory is fixed when it is
//! turned on.

mod rate;
mod table;

pub use rate::{Limited, Limiter, Rate};
