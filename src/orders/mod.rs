//! Orders: asynchronously turns reservations into rows of a database that other programs read, or
//! into webhooks.
//!
//! A [`ChangeSource`] delivers every change of every reservation, at least once; a [`Sink`] keeps
//! it. A [`Database`] keeps one order per reservation with its latest status: a change is written
//! under its version, so a late or repeated one changes nothing. [`webhooks`] are kept until their
//! receiver has them. A change is acknowledged only when the sink has it.
//!
//! Architecture invariant: knows no HTTP and no core.

mod command;
mod database;
mod database_url;
mod destination;
mod embedded;
mod entry;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod groups;
mod postgres;
mod postgres_url;
mod rows;
mod source;
mod sqlite;
mod sqlite_file;
mod stream;
pub mod webhooks;
mod worker;

pub use command::{OrdersError, end_group, print_groups, work};
pub use database::{Database, DatabaseError, Order, Row, Sink, SinkLocation};
pub use database_url::{DatabaseUrl, open};
pub use destination::Destination;
pub use embedded::EmbeddedSource;
pub use groups::{ConsumerGroup, GroupsError, drop_group, groups};
pub use source::{ChangeSource, Lag, SourceCounts, SourceError};
pub use stream::{StreamOptions, StreamSource};
pub use worker::{ConnectError, WorkDone, WorkerError, WorkerOptions, run};
