//! Measures stampede beside its floors and its peers, on one machine, in interleaved rounds.
//!
//! Read in this order: [`full`] and [`quick`] run the rounds and list the measurements; [`lab`] starts
//! and pins everything; [`servers`] and [`sellers`] have the command of each server; [`tools`] drives
//! the load generators; [`process`] reads the CPU and memory of processes; [`rows`] keeps every
//! figure; [`report`] turns figures into medians, ratios, verdicts and pictures. The measured servers
//! and drivers (floors, peers, bare clients) are programs under `src/bin`. `peers` has those in other
//! languages.
//!
//! The other commands each measure one thing, in their own modules, in the same lab: [`strategies`],
//! [`orders`], [`drain`], [`reopen`], [`sales`], [`memory`], [`idle`], [`hand_over`], [`admission`].
//! [`against`] and [`instructions`] compare two [`builds`] of stampede. [`session`] is what all
//! commands share. [`techempower`] only checks the rules of two tests. [`httparena`] checks the
//! engine's entry and measures it. [`load`] is the load generator, a separate program; [`strangers`]
//! is another one, with the attacks of strangers on a server.
//!
//! Peers that consist of configuration are in `bench/peers`. Parts that several programs under
//! `src/bin` share are in [`floor`], [`over_tokio`], [`append`], [`one_sale`] and [`hot`]. [`shop`] is
//! a purchase in the form of a shop's pages.

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
