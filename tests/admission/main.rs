//! Admission and limits, over real sockets: who may buy, with which token, and how often. Each rule
//! is tried with a wrong caller.

#[allow(dead_code)] // Each test program takes what it needs.
#[path = "../support/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../support/client.rs"]
mod client;
#[path = "../support/redis.rs"]
#[allow(dead_code)]
mod redis;

mod command;
mod limits;
mod owners;
mod purchases;
mod reload;
mod shop;
