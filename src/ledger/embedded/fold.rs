//! Folding: snapshot and closed journals become one new snapshot, beside the ledger thread.
//!
//! The ledger thread only changes to a new journal. A thread of its own then reads what came before
//! as a restart would, into machines of its own, and writes them out. So the ledger never waits for
//! a snapshot, and each one proves that the files before it can be read back. The price is memory:
//! while it runs, the state is there twice.
//!
//! It runs at the lowest priority and makes what it writes durable in small steps: it must win
//! against the growth of the journal, not against the cores.

use std::io;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::folder::{Notice, contents, journal_path};
use super::journal::EXTENT_BYTES;
use super::open_error::OpenError;
use super::record::StopFlag;
use super::{disk, recover, snapshot};

/// Room on the disk that a fold leaves to the journal, which goes on meanwhile.
const SPARE_BYTES: u64 = 2 * EXTENT_BYTES;

/// Why a journal can't be folded. It grows on.
#[derive(Debug, thiserror::Error)]
pub(super) enum FoldError {
    /// The files can't be read, or the snapshot not written.
    #[error(transparent)]
    Files(#[from] OpenError),
    /// The snapshot would take the room that the journal needs. Nothing was written.
    #[error(
        "the snapshot takes {needed_bytes} bytes, of the {free_bytes} that are free, and must leave \
         {SPARE_BYTES} to the journal"
    )]
    NoRoom {
        /// Bytes that the snapshot takes.
        needed_bytes: u64,
        /// Bytes that there are.
        free_bytes: u64,
    },
}

/// A fold that runs.
pub(super) struct Fold {
    /// Ends with the reservations in the snapshot.
    pub thread: JoinHandle<Result<u64, FoldError>>,
    /// Changes in the journals that it folds.
    pub changes: u64,
    pub started: Instant,
    pub stop: StopFlag,
}

impl Fold {
    /// Whether it has come to its end.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// A step of a fold, after which a crash finds another set of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The journals are read, nothing is written.
    Read,
    /// The snapshot is written but has not got its name.
    Written,
    /// The snapshot has its name; what it replaces is still there.
    Named,
    /// What it replaces is gone.
    Removed,
}

/// Starts a fold of everything before a journal generation, once the marker says that this one
/// exists. Gives the reservations in the snapshot.
pub(super) fn start(
    folder: &Path,
    generation: u64,
    first_number: u64,
    notice: Notice,
    stop: StopFlag,
) -> io::Result<JoinHandle<Result<u64, FoldError>>> {
    let folder = folder.to_owned();
    thread::Builder::new().name("fold".into()).spawn(move || {
        lower_priority();
        if let Err(error) = notice.write() {
            // The journals say it too; the next start writes it.
            tracing::warn!(%error, "the marker of the data folder can't be written now");
        }
        fold(&folder, generation, first_number, &stop, |_| ())
    })
}

/// Makes the snapshot before a journal generation, whose first record is `first_number`, and removes
/// what it replaces. `observe` is called after every step.
pub(super) fn fold(
    folder: &Path,
    generation: u64,
    first_number: u64,
    stop: &StopFlag,
    mut observe: impl FnMut(Step),
) -> Result<u64, FoldError> {
    let fail = |error| OpenError::from_io(folder, error);
    let before = contents(folder).map_err(fail)?;
    let recovered = recover::recover(folder, &before, generation - 1, stop)?;
    if recovered.next_number != first_number {
        let what = format!("it ends before record {} of {first_number}", recovered.next_number);
        let last = journal_path(folder, generation - 1);
        return Err(OpenError::corrupt(&last, 0, what).into());
    }
    observe(Step::Read);
    let state = &recovered.state;
    let needed_bytes = snapshot::bytes(state, stop).map_err(fail)?;
    if let Some(free_bytes) = disk::free_bytes(folder)
        && free_bytes < needed_bytes + SPARE_BYTES
    {
        return Err(FoldError::NoRoom { needed_bytes, free_bytes });
    }
    let written = || observe(Step::Written);
    snapshot::write(folder, generation, first_number, state, stop, written).map_err(fail)?;
    observe(Step::Named);
    let after = contents(folder).map_err(fail)?;
    recover::remove_old(folder, &after).map_err(fail)?;
    observe(Step::Removed);
    Ok(recovered.state.row_count())
}

/// From here on this thread is to be the last to run.
pub(super) fn lower_priority() {
    const LOWEST: i32 = 19;
    // On Linux, no process means this thread alone. It can't fail in this direction, and if it did
    // the fold would merely be less polite.
    let _ = rustix::process::setpriority_process(None, LOWEST);
}
