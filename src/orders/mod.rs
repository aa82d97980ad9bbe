//! Orders: what is made of reservations behind the user's back, in a database that others read, or
//! sent to them.
//!
//! A [`Source`] tells every change of every reservation, at least once; a [`Sink`] keeps it. A
//! [`Database`] keeps one order per reservation with its latest status: a change is written under its
//! version, so one that comes late or twice changes nothing. [`webhooks`] are kept until their receiver
//! has them. A change is acknowledged only when the sink has it.
//!
//! Architecture invariant: knows no HTTP and no core.

mod command;
mod database;
mod database_url;
mod destination;
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
pub use destination::Destination;
pub use embedded::EmbeddedSource;
pub use groups::{Group, GroupsError, drop_group, groups};
pub use source::{Lag, Source, SourceCounts, SourceError};
pub use stream::{StreamOptions, StreamSource};
pub use worker::{ConnectError, Done, WorkerError, WorkerOptions, run};
