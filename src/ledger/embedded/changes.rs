//! Changes of reservations, for a reader that needs each at least once, and eventually the exact
//! final state of all, from any version on.
//!
//! Every row has the number of the record that last changed it, so a walk over the rows finds
//! everything that a reader lacks: an outage of the reader, however long, costs neither memory nor
//! disk. A reader that keeps up need not walk: while it reads, the numbers of changed rows are
//! queued. A queue that grows too long is dropped, and the reader walks again.
//!
//! A walk returns the rows with versions after the reader's position and up to `until`, the last
//! record when it began. A row that changes meanwhile gets a later version, and is in the queue or
//! in the next walk. So every completed walk is progress, also under a load that outruns the
//! reader.

use std::sync::mpsc::SyncSender;

use super::state::LedgerState;
use super::tail::Tail;
use crate::sale::{Change, SaleId};
/// Rows and sales that one step of a walk reads: about a millisecond.
const WALK_ROWS_MAX: usize = 100_000;

/// The position of a reader. The reader keeps it, and passes it with each query.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// Distinguishes the queues of readers.
    reader: u64,
    /// Everything up to this version was returned.
    position: u64,
    walk: Option<Walk>,
}

#[derive(Debug, Clone)]
struct Walk {
    until: u64,
    sale: u32,
    row: usize,
}

impl Cursor {
    /// A reader that has everything up to a version, with an id that no other reader of this ledger
    /// has.
    pub fn new(position: u64, reader: u64) -> Self {
        Self { reader, position, walk: None }
    }

    /// Everything up to this version was returned.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether it is walking over all rows.
    pub fn is_walking(&self) -> bool {
        self.walk.is_some()
    }
}

/// The next changes, about `max` at most. `version` is the number of the last record.
pub(super) fn next(
    state: &mut LedgerState,
    version: u64,
    cursor: &mut Cursor,
    max: usize,
) -> Vec<Change> {
    let is_followed = |tail: &Tail| tail.reader == cursor.reader && !tail.is_broken;
    if cursor.walk.is_none() && !state.tail.as_ref().is_some_and(is_followed) {
        let removed = state.tail.take().map_or_else(Vec::new, |tail| tail.removed);
        state.tail = Some(Tail::new(cursor.reader, cursor.position, removed));
        if cursor.position < version {
            cursor.walk = Some(Walk { until: version, sale: 0, row: 0 });
        }
    }
    if let Some(tail) = state.tail.as_mut().filter(|tail| tail.reader == cursor.reader) {
        tail.position = cursor.position;
        if !tail.removed.is_empty() {
            let rest = tail.removed.split_off(max.min(tail.removed.len()));
            return std::mem::replace(&mut tail.removed, rest);
        }
    }
    match cursor.walk.take() {
        Some(walk) => walk_on(state, cursor, walk, max),
        None => from_tail(state, version, cursor, max),
    }
}

fn walk_on(state: &LedgerState, cursor: &mut Cursor, mut walk: Walk, max: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut looked_at = 0;
    while walk.sale < state.sales.end() {
        let Some((id, machine)) = state.sales.get(walk.sale) else {
            (walk.sale, walk.row) = (walk.sale + 1, 0);
            continue;
        };
        // The reader is another thread: it gets its own copy of the id.
        let mut own_id = None;
        let rows = machine.rows();
        loop {
            looked_at += 1;
            if looked_at > WALK_ROWS_MAX || changes.len() >= max {
                cursor.walk = Some(walk);
                return changes;
            }
            walk.row = rows.skip_unchanged(walk.row, cursor.position);
            if walk.row >= rows.len() {
                break;
            }
            let row = &rows[walk.row];
            if row.version > cursor.position && row.version <= walk.until {
                let mut change = row.to_change(own_id.get_or_insert_with(|| id.detached()));
                state.traces.tell(walk.sale, walk.row, &mut change);
                changes.push(change);
            }
            walk.row += 1;
        }
        (walk.sale, walk.row) = (walk.sale + 1, 0);
    }
    cursor.position = walk.until;
    changes
}

fn from_tail(
    state: &mut LedgerState,
    version: u64,
    cursor: &mut Cursor,
    max: usize,
) -> Vec<Change> {
    let Some(tail) = &mut state.tail else { return Vec::new() };
    let mut changes = Vec::new();
    let mut own_id: Option<SaleId> = None;
    while changes.len() < max
        && let Some(entry) = tail.entries.pop_front()
    {
        // A row that changed again comes later in the queue; the changes of a removed sale were
        // kept.
        if let Some((id, machine)) = state.sales.get(entry.sale)
            && machine.rows()[entry.row as usize].version == entry.version
        {
            let own_id = match own_id.take() {
                Some(own) if own == *id => own_id.insert(own),
                _ => own_id.insert(id.detached()),
            };
            let mut change = machine.rows()[entry.row as usize].to_change(own_id);
            state.traces.tell(entry.sale, entry.row as usize, &mut change);
            changes.push(change);
        }
    }
    cursor.position = match tail.entries.front() {
        Some(entry) => cursor.position.max(entry.version - 1),
        None => version,
    };
    tail.position = cursor.position;
    changes
}

/// The unread changes of a reader.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rest {
    /// The number of the last record.
    pub version: u64,
    /// The ledger's time.
    pub now_ms: u64,
    /// When the next change in the queue was made, or the later change of its row.
    pub oldest_at_ms: Option<u64>,
}

/// The unread changes of a cursor.
pub(super) fn rest(state: &LedgerState, version: u64, cursor: &Cursor) -> Rest {
    let tail = state.tail.as_ref().filter(|tail| tail.reader == cursor.reader);
    let oldest = tail.and_then(|tail| tail.entries.front());
    let oldest_at_ms = oldest.and_then(|entry| {
        let (_, machine) = state.sales.get(entry.sale)?;
        Some(machine.rows()[entry.row as usize].changed_at_ms)
    });
    Rest { version, now_ms: state.now_ms, oldest_at_ms }
}

/// Notifies the sender when there are changes to read, at once if there are already.
pub(super) fn wake_when_more(state: &mut LedgerState, cursor: &Cursor, wake: SyncSender<()>) {
    match state.tail.as_mut().filter(|tail| tail.reader == cursor.reader) {
        Some(tail) if cursor.walk.is_none() => {
            tail.waiting = Some(wake);
            tail.wake_reader();
        }
        _ => _ = wake.try_send(()),
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
