//! The Lua scripts are held to the model: what ran in a simulation runs again on a real Redis, and
//! every answer must be the same.
//!
//! A simulation [records](history::Recording) what its ledger carried out. [`faults`] adds what
//! happens to a Redis and its connections. Then [`check`] carries out each step twice: on the
//! [`reference`], which is the model, and on a [real Redis](real), with stampede's own encoding and
//! decoding. If they differ, [`shrink`] drops what is not needed for it, and what is left is
//! written to a file.

pub mod check;
pub mod command;
pub mod faults;
pub mod history;
mod json;
pub mod real;
pub mod reference;
pub mod shrink;

#[path = "../../../support/redis.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod server;
