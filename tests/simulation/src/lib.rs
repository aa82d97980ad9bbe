//! A deterministic simulation of stampede: the real purchase layer, queues and latches of simulated
//! cores, with simulated clients, clocks, network and ledger, in an order that a seed determines.
//!
//! [`run`] runs a seed: it draws a [`plan`], lets the [`world`] take one step after the other, each
//! an event of the [`schedule`], and asks the [`oracle`] after each whether a promise was broken.
//! [`server`], [`client`], [`redis`] and [`net`] are the parts of the world; [`faults`] are what
//! goes wrong in it, [`operator`] what operators do to it. [`chance`] and [`time`] are the only
//! sources of random numbers and of time, and [`task`] runs all coroutines on one thread. [`replay`]
//! holds a real Redis to what the ledger of a simulation has done.

pub mod run;
pub mod plan;
pub mod world;
pub mod schedule;
pub mod faults;
pub mod client;
pub mod call;
pub mod net;
pub mod server;
pub mod redis;
pub mod embedded;
pub mod operator;
pub mod oracle;
pub mod replay;
pub mod gates;
pub mod report;
pub mod child;
pub mod trace;
pub mod task;
pub mod panics;
pub mod names;
pub mod chance;
pub mod time;
