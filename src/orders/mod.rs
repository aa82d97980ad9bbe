//! Orders: what is made of reservations behind the user's back, in a database that others read.
//!
//! A [`Source`] tells every change of every reservation, at least once; a [`Database`] keeps one
//! order a reservation with its latest status. A change is written under its version, so one that
//! comes late or twice changes nothing; it is acknowledged only when the database has it.
//!
//! Architecture invariant: knows no HTTP and no core.

mod command;
mod database;
mod database_url;
mod embedded;
mod entry;
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
pub use database::{Database, DatabaseError, Order, Place, Row, Sink};
pub use database_url::{DatabaseUrl, open};
pub use embedded::EmbeddedSource;
pub use groups::{Group, GroupsError, drop_group, groups};
pub use source::{Lag, Source, SourceCounts, SourceError};
pub use stream::{StreamOptions, StreamSource};
pub use worker::{ConnectError, Done, WorkerError, WorkerOptions, run};
