//! Measures stampede beside its floor and its peers, on one machine, in interleaved rounds.
//!
//! Read in this order: [`full`] and [`quick`] run the rounds and say what is measured; [`lab`] starts
//! and pins everything; [`servers`] and [`sellers`] say how each server is started; [`tools`] drives
//! the load generators; [`process`] reads what a process cost; [`rows`] keeps every figure; [`report`]
//! turns them into medians, ratios, verdicts and pictures. The servers and drivers that are measured
//! (floors, peers, bare clients) are programs under `src/bin`; `peers` has those in other languages.
//!
//! The other commands each measure one thing, in a module of their own, on the same bench:
//! [`strategies`], [`orders`], [`drain`], [`reopen`], [`sales`], [`memory`], [`idle`], [`hand_over`], [`admission`];
//! [`against`] and [`instructions`] compare two [`builds`] of stampede. [`session`] is what all share.
//! [`techempower`] measures nothing: it checks the rules of two tests;
//! [`httparena`] checks the engine's own entry and measures it. [`load`] is our own load
//! generator, a program by itself; so is [`strangers`], which does to a server what strangers do.
//!
//! Peers that are configured and not written are in `bench/peers`; what several of the programs under
//! `src/bin` share is in [`floor`], [`over_tokio`], [`append`], [`one_sale`] and [`hot`]. [`shop`] is a
//! purchase as a shop's pages send it.

pub mod full;
pub mod quick;
pub mod scenarios;

pub mod admission;
pub mod against;
pub mod drain;
pub mod hand_over;
pub mod httparena;
pub mod idle;
pub mod instructions;
pub mod memory;
pub mod orders;
pub mod reopen;
pub mod sales;
pub mod strategies;
pub mod techempower;
pub mod tls;

pub mod load;
pub mod strangers;

pub mod builds;
pub mod lab;
pub mod postgres;
pub mod queues;
pub mod sellers;
pub mod servers;
pub mod session;
pub mod tools;

pub mod process;
pub mod rows;
pub mod report;

pub mod answer;
pub mod append;
pub mod client;
pub mod error;
pub mod fill;
pub mod floor;
pub mod hot;
pub mod journal;
pub mod machine;
pub mod one_sale;
pub mod over_tokio;
pub mod pin;
pub mod resp;
pub mod secure;
pub mod shop;
