//! The Redis ledger: a sale is a few keys in one slot, a command is a Lua script.
//!
//! Most of it is free of I/O of its own: [`Codec`] writes the commands of a [`Group`](super::Group)
//! as one `EVALSHA` for a run of reserve commands (which several groups may share), one for a run of
//! commands about single reservations and one for each other command, [`decode`] reads the replies back
//! into outcomes, and [`handshake()`] makes a fresh connection (any stream) fit to be
//! sent to. Two do I/O: a core's [link](run_link), and the blocking [`RedisClient`] for everything
//! that is no core. The scripts in `lua/` are the twin of `sale/machine.rs`; a script reads and checks
//! everything before its first write, since Redis keeps what a failed one wrote.
//!
//! With a Cluster, `cluster` finds the node of each command; everything else is the same.
//!
//! Time is Redis' `TIME`, kept from going back by the latest time that was written.

mod arrival;
pub mod audit;
mod client;
mod cluster;
mod codec;
mod columns;
mod connection;
mod decode_error;
mod entry_id;
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
mod looks;
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
mod stream;
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
