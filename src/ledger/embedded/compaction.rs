//! Compaction: turns snapshot and closed journals into one new snapshot, in parallel to the ledger
//! thread.
//!
//! The ledger thread only switches to a new journal. A thread of its own then reads the files
//! before it as a restart would, into machines of its own, and writes them out. So the ledger never
//! waits for a snapshot, and each compaction proves that the files before it can be read back. The
//! price is memory: meanwhile the state exists twice.
//!
//! It runs at the lowest priority and syncs its output in small steps: it must be faster than the
//! growth of the journal, not compete with the cores.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::background::Work;
use super::data_dir::{PendingMarker, contents, journal_path};
use super::journal::EXTENT_BYTES;
use super::open_error::OpenError;
use super::record::StopFlag;
use super::{disk, recover, snapshot};

/// Space on the disk that a compaction leaves to the journal, which keeps growing.
const SPARE_BYTES: u64 = 2 * EXTENT_BYTES;

/// Why a journal can't be compacted. It keeps growing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompactionError {
    /// The files can't be read, or the snapshot not written.
    #[error(transparent)]
    Files(#[from] OpenError),
    /// The snapshot would take the space that the journal needs. Nothing was written.
    #[error(
        "the snapshot takes {needed_bytes} bytes, of the {free_bytes} that are free, and must leave \
         {SPARE_BYTES} to the journal"
    )]
    NoRoom {
        /// The size of the snapshot.
        needed_bytes: u64,
        /// The free space.
        free_bytes: u64,
    },
}

/// A compaction in progress.
pub(super) struct Compaction {
    /// Returns the number of reservations in the snapshot.
    pub work: Work<Result<u64, CompactionError>>,
    /// Changes in the journals that it compacts.
    pub changes: u64,
    pub started: Instant,
    pub stop: StopFlag,
}

impl Compaction {
    /// Whether it has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.work.is_finished()
    }
}

/// A step of a compaction, after which a crash leaves another set of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The journals are read, nothing is written.
    Read,
    /// The snapshot is written, but not renamed.
    Written,
    /// The snapshot is renamed; the files that it replaces still exist.
    Named,
    /// The replaced files are removed.
    Removed,
}

/// Starts a compaction of everything before a journal generation, after the marker says that this
/// journal exists. The work returns the number of reservations in the snapshot.
pub(super) fn start(
    folder: &Path,
    generation: u64,
    first_number: u64,
    notice: PendingMarker,
    stop: StopFlag,
) -> io::Result<Work<Result<u64, CompactionError>>> {
    let folder = folder.to_owned();
    Work::start("fold", move || {
        if let Err(error) = notice.write() {
            // The journals say it too, and the next start writes it.
            tracing::warn!(%error, "marker of the data folder not written");
        }
        compact(&folder, generation, first_number, &stop, |_| ())
    })
}

/// Writes the snapshot before a journal generation whose first record is `first_number`, and
/// removes the files that it replaces. Calls `observe` after every step.
pub(super) fn compact(
    folder: &Path,
    generation: u64,
    first_number: u64,
    stop: &StopFlag,
    mut observe: impl FnMut(Step),
) -> Result<u64, CompactionError> {
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
        return Err(CompactionError::NoRoom { needed_bytes, free_bytes });
    }
    let written = || observe(Step::Written);
    snapshot::write(folder, generation, first_number, state, stop, written).map_err(fail)?;
    observe(Step::Named);
    let after = contents(folder).map_err(fail)?;
    recover::remove_old(folder, &after).map_err(fail)?;
    observe(Step::Removed);
    Ok(recovered.state.row_count())
}
