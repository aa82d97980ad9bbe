//! One sale, many clients whose connections break at any moment, two servers: there is an order of all
//! that was asked in which each answer is true. See `checker.rs` for what exactly that means.
//!
//!     STAMPEDE_TEST_SEED=…    the choices of the clients, as a failure has printed them
//!     STAMPEDE_TEST_ROUNDS=…  how many sales, of each kind of ledger

#[path = "../support/chance.rs"]
mod chance;
mod history;
mod checker;
