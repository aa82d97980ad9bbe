//! stampede, a flash-sale reservation server.

pub mod http;
pub mod ledger;
pub mod limits;
pub mod route;
pub mod sale;
