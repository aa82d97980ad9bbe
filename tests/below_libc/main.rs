//! The embedded ledger and the orders on a disk whose calls fail, are shortened and are slow, below
//! the standard library: `library.c` replaces the calls of the C library in a real server.
//!
//! rustix makes system calls without the C library, unless it is built with its feature `use-libc`.
//! `library.rs` builds a server with it, for which cargo compiles rustix, what uses it, and the server
//! again. `counts.rs` shows that the library sees every call that the kernel sees, and `lives.rs` that
//! nothing acknowledged is lost.
//!
//!     STAMPEDE_TEST_SEED=…    the faults and the choices of the buyers, as a failure has printed it
//!     STAMPEDE_TEST_ROUNDS=…  the number of ledgers, each with several lives of a server

#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;
#[path = "../support/chance.rs"]
mod chance;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;

mod library;
mod counts;
mod lives;
