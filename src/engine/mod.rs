//! The engine: cores that accept connections, read requests, and have them answered by a service.
//!
//! It knows no sale, no ledger and no configuration file. A [`Service`] is plugged into each core: a
//! head and a body go in, and either an answer is written or a [`Pending`](core::Pending) one is
//! returned, for which the connection waits. Whatever else lives on a core, such as a link to a
//! ledger, is a coroutine that waits for its events through the core's [`gate`].
//!
//! A [`Program`] is a process that needs nothing else: it has the same service on all cores, on one
//! address. The server starts its cores by the same steps, each with what it sells with.
//!
//! [`listener`] accepts, [`connection`] reads and writes, [`workers`] share a core's work among its
//! coroutines, [`tick`] does what has its time. [`core`] is what they all have.

pub mod connection;
pub mod core;
pub mod gate;
pub mod listener;
pub mod mailbox;
pub mod tick;
pub mod workers;

mod listeners;
mod program;
mod start;

pub use program::Program;
pub use start::{accept, configure_may, drain, no_memory_for_a_coroutine, on_worker, start_core};
