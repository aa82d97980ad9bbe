//! The embedded ledger: the state machine in memory under a journal of its commands on disk.
//!
//! The state machine is deterministic, so what has to be durable is what it was asked, not what it
//! became. `thread` takes the cores' batches; `store` applies all that wait to the machines,
//! writes those commands that changed something as one record, makes it durable with one fdatasync,
//! and only then answers. `fold` turns a long journal into a snapshot beside it, so that a restart
//! stays short. `recover` is the way back: newest snapshot, then the journals after it. `marker` says
//! which of them must be there, and `runs` tells this history from one that parted from it. `disk` is
//! the only one that changes a file.
//!
//! The files are our own and plain (`record`), not an embedded database. A journal and a snapshot
//! are all this needs, and a general store (fjall 3.1, by experiment) silently drops every record
//! after one damaged byte, which for a ledger means selling the same tickets twice; here a damaged
//! record that anything valid follows is an error, and only an unfinished last one is dropped.
//!
//! Architecture invariant: apart from `link`, knows no core; knows no connection and no allowance.
//! Nothing here decides what a
//! command does: that is `sale::Machine`'s, live and in a replay alike.

mod audit;
mod backup;
mod changes;
mod checked_text;
mod client;
mod codec;
mod definition;
mod reader;
mod departed;
mod disk;
mod fold;
mod folder;
mod folding;
mod journal;
mod link;
mod manifest;
mod marker;
mod moving;
mod open_error;
mod record;
mod recover;
mod restore;
mod rewrite;
mod runs;
mod sales;
mod snapshot;
mod state;
mod store;
mod tail;
mod tally;
mod thread;
mod traces;

pub use backup::{Backup, BackupError, Progress, back_up};
pub use changes::{Cursor, Rest};
pub use client::{EmbeddedClient, OfflineClient};
pub use folder::{LedgerId, renew_id, source_name};
pub use link::run as run_link;
pub use moving::Moving;
pub use open_error::OpenError;
pub use restore::{Opened, RestoreError, Restored};
pub use runs::Diverged;
pub use store::{COMMIT_COMMANDS_MAX, Options, Store};
pub use thread::{Embedded, Handle, Job, Reply};
