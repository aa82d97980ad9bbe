//! The Redis ledger: a sale is a few keys in one slot, a command is a Lua script.
//!
//! Most of it does no I/O: [`Codec`] encodes the commands of a [`Group`](super::Group) as one
//! `EVALSHA` for a run of reserve commands (which several groups may share), one for a run of
//! commands about single reservations and one for each other command. [`decode`] reads the replies
//! back into outcomes, and [`handshake()`] prepares a fresh connection (any stream). Two parts do
//! I/O: a core's [link](run_link), and the blocking [`RedisClient`] for everything outside of the
//! cores.
//!
//! The scripts in `lua/` are the twin of `sale/machine.rs`. A script reads and checks everything
//! before its first write, since Redis keeps the writes of a script that fails.
//!
//! With a Cluster, `cluster` finds the node of each command; everything else is the same.
//!
//! Time is the `TIME` of Redis. It never goes back: no earlier than the latest time that was
//! written.

mod arrival;
pub mod audit;
mod client;
mod cluster;
mod codec;
mod columns;
mod connection;
mod decode_error;
mod entry_id;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handshake;
mod handshake_error;
mod hash_slot;
mod index;
mod index_client;
mod keeping;
mod keys;
mod keyspace;
mod line;
mod link;
mod read_queries;
mod members;
mod notes;
mod pipeline;
mod primary;
mod reading;
mod removal;
mod replicas;
mod reply;
mod resp;
mod rights;
mod scripts;
mod sell;
mod sentinel;
mod settings;
mod shared;
mod socket;
mod transport;
mod timed;
mod tls;
mod trim;
mod value;
mod warning;

pub use arrival::Arrival;
pub use client::RedisClient;
pub use codec::Codec;
pub use decode_error::DecodeError;
pub use entry_id::EntryId;
pub use handshake::{handshake, load_scripts};
pub use handshake_error::HandshakeError;
pub use keys::{KeyTemplates, KeysError, SaleKeys, WEBHOOKS_GROUP, is_of_webhooks};
pub use line::{parse_line, parse_value};
pub use link::run as run_link;
pub use pipeline::Pipeline;
pub use reply::{decode, decode_all};
pub use rights::{Needs, Purpose};
pub use scripts::{Script, ScriptName, Scripts};
pub use settings::{Endpoint, Password, RedisSettings, Topology, UrlError};
pub use shared::RedisLedger;
pub(crate) use tls::tls_config;
pub use tls::{ClientFiles, TlsFiles};
pub use trim::trim_command;
pub use value::text;
pub use warning::Warning;

/// What the links decide by, for a simulation of their connections.
#[cfg(feature = "simulation")]
pub mod simulation {
    pub use redis::Value;

    pub use crate::ledger::redis::cluster::{Run, Work, WorkKind, WorkQueue};
    pub use crate::ledger::redis::index::{
        Registered, begun_anew, created, creates, holds, is_news, removed,
    };
    pub use crate::ledger::redis::primary::{Primary, PrimaryAddr, Report, Term, ends_connection};
    pub use crate::ledger::redis::replicas::{are_needed, is_promise, judge};
}
