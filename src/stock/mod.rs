//! An instance's stock of permissions: how much each core may still put to the ledger (the
//! [`Shards`] of its allowance) and what it already knows of a sale (the [`Latch`]).
//!
//! An allowance is a permission to ask, not stock. Losing some is harmless; the ledger decides.
//!
//! Architecture invariant: no I/O here, and no knowledge of HTTP or of which ledger there is.

mod allowances;
mod fleet;
mod latch;
mod shard;
mod types;

pub use allowances::Allowances;
pub use fleet::Fleet;
pub use latch::{Latch, Refusal, Word};
pub use shard::{Shards, StockSetting};
pub use types::{TypeLatches, TypeWord};

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod shard_tests;
