//! Measures stampede beside its floor and its peers, on one machine, in interleaved rounds.
//!
//! Read in this order: [`quick`] runs the rounds; [`scenarios`] says what is measured; [`lab`] starts
//! and pins everything; [`servers`] says how each server is started; [`tools`] drives `wrk` and `ab`;
//! [`process`] reads what a process cost; [`rows`] keeps every figure; [`summary`] turns them into
//! medians, ratios and verdicts. The servers and drivers that are measured (the floor, the peer, the
//! one-EVALSHA baseline) are programs under `src/bin`.
//!
//! The other commands each measure one thing, in a module of their own, on the same bench:
//! [`strategies`], [`orders`], [`drain`], [`reopen`], [`sales`], [`memory`]. [`session`] is what all
//! share. [`techempower`] measures nothing: it checks the rules of two tests. [`load`] is our own load
//! generator, a program by itself.

pub mod quick;
pub mod scenarios;

pub mod drain;
pub mod memory;
pub mod orders;
pub mod reopen;
pub mod sales;
pub mod strategies;
pub mod techempower;

pub mod load;

pub mod lab;
pub mod postgres;
pub mod servers;
pub mod session;
pub mod tools;

pub mod process;
pub mod rows;
pub mod summary;

pub mod answer;
pub mod client;
pub mod error;
pub mod fill;
pub mod machine;
pub mod pin;
pub mod resp;
