//! Crowds at one core, at default settings: 15,000 and more people who ask in the same moment or
//! wait for a ledger that stands still. Each gets a true answer about himself.
//!
//! They have a process of their own, in which one test runs at a time: the file limit, 20,000 here
//! as on the machines that we know, is just enough for one crowd.

#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;

mod crowd;
mod keys;
mod standstill;
mod cut;
mod ends;
mod memory;
