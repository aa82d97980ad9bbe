//! An instance's permissions to sell: how many purchases each core may still send to the ledger
//! (the [`Shards`] of its allowance), and what the core knows of a sale (the [`Latch`]).
//!
//! An allowance is a permission to ask, not stock. Losing some is harmless; the ledger decides.
//!
//! Architecture invariant: no I/O here, and no knowledge of HTTP or of the kind of ledger.

mod allowances;
mod fleet;
mod latch;
mod shard;
mod types;

pub use allowances::Allowances;
pub use fleet::Fleet;
pub use latch::{Latch, LatchDecision, LatchReason};
pub use shard::{Shards, StockSetting};
pub use types::{TypeDecision, TypeLatches};

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod shard_tests;
