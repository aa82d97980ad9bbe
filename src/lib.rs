//! stampede, a flash-sale reservation server: sells exactly the total, gives everyone else a true
//! answer at once, and loses nothing.
//!
//! A request passes the layers from top to bottom, one verb per layer. The [`engine`] accepts a
//! connection on the core where it will stay, reads, and parses the bytes ([`engine::http`]). Its
//! service for buyers is [`handler`]. [`route`] determines what is requested. A [`purchase`] takes
//! the local step ([`stock`]) and, if that succeeds, joins the batch of its core's [`ledger`],
//! which decides by the rules of [`sale`]. The answer goes the same way back. A hot sale may be
//! split into parts; [`splits`] moves units between them.
//!
//! [`sweep`] returns expired reservations in Redis to stock. [`members`] knows the other servers
//! that share the ledger. [`status`] is the state of this server that other parts read. [`server`]
//! starts, drains and stops the cores. [`control`] is the port for operators, and [`operator`] has
//! their commands. [`metrics`] reports what the cores count ([`count`]) and what background threads
//! report ([`background`]).

pub mod engine;
pub mod tls;
pub mod handler;
pub mod code;
pub mod trust;
pub mod route;
pub mod api_json;
pub mod openapi;
pub mod admission;
pub mod limiter;
pub mod gatekeeper;
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
pub mod queue_limits;
pub mod sync;
pub mod status;
pub mod metrics;
pub mod server;
pub mod control;

pub mod demo;
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
pub mod background;
pub mod slab;
pub mod random;
pub mod planted;
pub mod stat_log;
pub mod trace;
mod reloadable;
pub mod log_throttle;
mod file_lock;
#[cfg(test)]
mod test_answers;
#[cfg(test)]
mod test_coroutines;
