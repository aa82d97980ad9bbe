//! The latest changes, queued for their reader (`changes`).

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use crate::sale::{Change, Machine, SaleId};

/// The maximum number of queued changes: 16 MiB.
const TAIL_ENTRIES_MAX: usize = 1 << 20;

/// The maximum number of changes of removed sales that are kept for a reader.
const REMOVED_MAX: usize = 100_000;

/// The latest changes, in order.
pub(super) struct Tail {
    /// The cursor that reads it.
    pub reader: u64,
    pub entries: VecDeque<TailEntry>,
    /// It grew too long and was dropped: the reader must walk.
    pub is_broken: bool,
    /// Changes of sales that were removed before the reader had them. Returned first.
    pub removed: Vec<Change>,
    /// The reader has everything up to this version.
    pub position: u64,
    /// The reader to wake when there are changes.
    pub waiting: Option<SyncSender<()>>,
}

/// A row that changed.
pub(super) struct TailEntry {
    pub sale: u32,
    pub row: u32,
    pub version: u64,
}

impl Tail {
    pub(super) fn new(reader: u64, position: u64, removed: Vec<Change>) -> Self {
        let entries = VecDeque::new();
        Self { reader, entries, is_broken: false, removed, position, waiting: None }
    }

    /// Queues rows that changed.
    pub(super) fn note(&mut self, sale: u32, rows: &[u32], version: u64) {
        if self.is_broken {
            return;
        }
        self.entries.extend(rows.iter().map(|&row| TailEntry { sale, row, version }));
        if self.entries.len() > TAIL_ENTRIES_MAX {
            tracing::info!("orders far behind; their changes will be searched for");
            self.entries = VecDeque::new();
            self.is_broken = true;
        }
    }

    /// Keeps the unread changes of a sale that is about to be removed. `tell` adds to a row's
    /// change the data that is kept beside the rows.
    pub(super) fn keep_removed(
        &mut self,
        id: &SaleId,
        machine: &Machine,
        tell: impl Fn(usize, &mut Change),
    ) {
        let rows = machine.rows();
        let mut row = rows.skip_unchanged(0, self.position);
        while row < rows.len() {
            if self.removed.len() >= REMOVED_MAX {
                tracing::warn!(sale = %id, "sale removed before the orders had all of its changes");
                break;
            }
            if rows[row].version > self.position {
                let mut change = rows[row].to_change(id);
                tell(row, &mut change);
                self.removed.push(change);
            }
            row = rows.skip_unchanged(row + 1, self.position);
        }
    }

    /// Wakes a waiting reader, if there are changes for it.
    pub(super) fn wake_reader(&mut self) {
        if !(self.entries.is_empty() && self.removed.is_empty())
            && let Some(waiting) = self.waiting.take()
        {
            // Full: the reader is awake. Disconnected: there is no reader.
            let _ = waiting.try_send(());
        }
    }
}
