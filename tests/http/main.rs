//! The server as its clients meet it, ordinary and hostile, over real sockets.
//!
//! Time is never asserted as performance; deadlines are, with generous bounds.

#[path = "../support/chance.rs"]
mod chance;
#[allow(dead_code)] // Each test program takes what it needs.
#[path = "../support/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis;
#[allow(dead_code)]
#[path = "../support/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../support/secure.rs"]
mod secure;
#[allow(dead_code)]
#[path = "../support/place.rs"]
mod place;

// The verifier of `bench/run techempower`, so that its rules hold at every change.
#[path = "../../bench/src/techempower/wire.rs"]
mod wire;
#[path = "../../bench/src/techempower/rules.rs"]
mod techempower_rules;

mod rules;
mod requests;
mod purchases;
mod reservations;
mod types;
mod framing;
mod rejects;
mod deadlines;
mod crowding;
mod bounds;
mod callers;
mod pages;
mod drain;
mod unix;
mod load;
mod fuzz;
mod techempower;
