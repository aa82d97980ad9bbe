//! stampede, a flash-sale reservation server.

pub mod cli;
pub mod config;
pub mod ledger;
pub mod limits;
pub mod logging;
pub mod sale;
pub mod stat_log;
