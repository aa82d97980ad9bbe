//! stampede, a flash-sale reservation server.

pub mod cli;
pub mod config;
pub mod http;
pub mod ledger;
pub mod limits;
pub mod logging;
pub mod route;
pub mod sale;
pub mod stat_log;
