//! stampede, a flash-sale reservation server: sells exactly the total, tells everyone else the truth
//! at once, and loses nothing.
//!
//! A request reads top to bottom, one verb a layer. The [`engine`] accepts a connection on the core it
//! will live on, reads, and makes sense of the bytes ([`engine::http`]). Its service for buyers is
//! [`handler`]: [`route`] says what is asked, a [`purchase`] takes the local step ([`stock`]) and, if
//! that allows, joins the batch of its core's [`ledger`], which decides by the rules of [`sale`].
//! The answer goes the same way back. A hot sale may be kept in parts, between which [`splits`] moves
//! units.
//!
//! [`sweep`] returns what expires in Redis to stock, [`members`] knows the other servers there,
//! [`status`] is what others see of this one. [`server`] starts, drains and stops the cores.
//! [`control`] is the port for operators, [`operator`] their commands, [`metrics`] what they are told
//! that the cores have counted ([`count`]), and what the threads beside them say ([`upkeep`]).

pub mod engine;
pub mod tls;
pub mod handler;
pub mod code;
pub mod trust;
pub mod route;
pub mod views;
pub mod openapi;
pub mod admission;
pub mod limiter;
pub mod turnstile;
pub mod purchase;
pub mod stock;
pub mod splits;
pub mod ledger;
pub mod sale;
pub mod orders;
pub mod audit;

pub mod sweep;
pub mod members;
pub mod clock;
pub mod patience;
pub mod sync;
pub mod status;
pub mod metrics;
pub mod server;
pub mod control;

pub mod cli;
pub mod operator;
pub mod config;
pub mod limits;
pub mod host;
pub mod duration;
mod redact;
mod allocator;
pub mod logging;
pub mod signals;
pub mod output;
pub mod count;
pub mod upkeep;
pub mod slab;
pub mod stat_log;
pub mod trace;
mod renewed;
pub mod seldom;
#[cfg(test)]
mod test_answers;
#[cfg(test)]
mod test_coroutines;
