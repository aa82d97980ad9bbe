//! stampede, a flash-sale reservation server.

pub mod ledger;
pub mod limits;
pub mod sale;
