//! The latest changes, queued for the one who reads them (`changes`).

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;

use crate::sale::{Change, Machine, SaleId};

/// Changes that may wait in the queue: 16 MiB.
const TAIL_ENTRIES_MAX: usize = 1 << 20;

/// Changes of removed sales that are kept for a reader.
const REMOVED_MAX: usize = 100_000;

/// The latest changes, in the order they were made.
pub(super) struct Tail {
    /// Which cursor reads it.
    pub reader: u64,
    pub entries: VecDeque<Entry>,
    /// It grew too long and was thrown away: the reader must walk.
    pub is_broken: bool,
    /// Changes of sales that were removed before the reader had them. Given first.
    pub removed: Vec<Change>,
    /// Up to where the reader has everything.
    pub position: u64,
    /// Whom to wake when there is something.
    pub waiting: Option<SyncSender<()>>,
}

/// A row that changed.
pub(super) struct Entry {
    pub sale: u32,
    pub row: u32,
    pub version: u64,
}

impl Tail {
    pub(super) fn new(reader: u64, position: u64, removed: Vec<Change>) -> Self {
        let entries = VecDeque::new();
        Self { reader, entries, is_broken: false, removed, position, waiting: None }
    }

    /// Takes note of rows that changed.
    pub(super) fn note(&mut self, sale: u32, rows: &[u32], version: u64) {
        if self.is_broken {
            return;
        }
        self.entries.extend(rows.iter().map(|&row| Entry { sale, row, version }));
        if self.entries.len() > TAIL_ENTRIES_MAX {
            tracing::info!("too many changes wait for the orders: they will be looked up instead");
            self.entries = VecDeque::new();
            self.is_broken = true;
        }
    }

    /// Keeps what the reader lacks of a sale that is about to go. `tell` adds to a row's change what
    /// stands beside the rows.
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
                tracing::warn!(sale = %id, "removed before the orders had all of its changes");
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

    /// Wakes a reader that waits, if there is something for it.
    pub(super) fn wake_reader(&mut self) {
        if !(self.entries.is_empty() && self.removed.is_empty())
            && let Some(waiting) = self.waiting.take()
        {
            // Full: it is awake. Gone: nobody to wake.
            let _ = waiting.try_send(());
        }
    }
}
