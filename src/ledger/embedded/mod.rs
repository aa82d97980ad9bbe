//! The embedded ledger: the state machine in memory, under a journal of its commands on disk.
//!
//! The state machine is deterministic, so the commands must be durable, not their results. `thread`
//! takes the cores' batches. `store` applies all waiting batches to the machines, writes the
//! commands that changed something as one record, syncs it with one fdatasync, and only then
//! answers. `compaction` turns a long journal into a snapshot in parallel, so that a restart stays
//! short. `recover` reads the newest snapshot, then the journals after it. `marker` says which of
//! them must exist, and `runs` distinguishes this history from one that has parted from it. Only
//! `disk` changes files.
//!
//! The files are our own and plain (`record`), not an embedded database. A journal and a snapshot
//! are all that is needed. A general store (fjall 3.1, by experiment) silently drops every record
//! after one damaged byte, which for a ledger means selling the same tickets twice. Here a damaged
//! record that is followed by a valid one is an error, and only an unfinished last record is
//! dropped.
//!
//! Architecture invariant: apart from `link`, knows no core; knows no connection and no allowance.
//! Nothing here decides what a command does: `sale::Machine` does, live and in a replay alike.

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
mod background;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod compaction;
mod data_dir;
mod journal_switch;
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
pub use data_dir::{LedgerId, renew_id, source_name};
pub use link::run as run_link;
pub use moving::Moving;
pub use open_error::OpenError;
pub use restore::{Opened, RestoreError, Restored};
pub use runs::Diverged;
pub use store::{COMMIT_COMMANDS_MAX, Options, Store};
pub use thread::{Embedded, Handle, Job, Reply};

/// What a simulation needs of the ledger. The unit tests have their own faults of a disk.
#[cfg(all(feature = "simulation", not(test)))]
pub mod simulation {
    pub use rustix::io::Errno;

    pub use crate::engine::reactor::TimedOut;
    pub use crate::ledger::embedded::background::{Background, set_background};
    pub use crate::ledger::embedded::disk::{Call, Fate, Hook, set_hook};
    pub use crate::ledger::embedded::link::{Place, run_at};
    pub use crate::ledger::embedded::thread::Witness;
    pub use crate::ledger::embedded::thread::stepped::{Stepped, by_hand};
}
