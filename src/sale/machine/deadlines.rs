//! The rows that expiry visits, the earliest deadline first, and at equal deadlines the earlier row
//! first.
//!
//! Time never goes back. So while the hold time is unchanged, deadlines come in the order of the
//! rows, and a queue of row numbers suffices. Only rows that were granted after the hold time was
//! shortened end before earlier rows: these are apart, in a set, until the deadlines of the former
//! hold time have passed. So are extended rows: their numbers stay in the queue until they come to
//! the front, where they are skipped.
//!
//! The order depends only on the rows and not on where each is kept here, so that a replayed
//! journal, or a snapshot, expires the same reservations.

use std::collections::{BTreeSet, VecDeque};

use crate::sale::rows::Rows;

/// The deadlines of a sale's held reservations.
#[derive(Default)]
#[cfg_attr(feature = "simulation", derive(Clone))]
pub(super) struct Deadlines {
    queue: VecDeque<u32>,
    /// The deadline of the last row that was queued.
    last_ms: u64,
    /// Deadlines and rows.
    apart: BTreeSet<(u64, u32)>,
}

impl Deadlines {
    /// Adds a row that is later than all others.
    pub(super) fn push(&mut self, row: u32, expires_at_ms: u64) {
        if expires_at_ms >= self.last_ms {
            self.last_ms = expires_at_ms;
            self.queue.push_back(row);
        } else {
            self.apart.insert((expires_at_ms, row));
        }
    }

    /// Adds a row whose hold time was extended.
    pub(super) fn add(&mut self, row: u32, expires_at_ms: u64) {
        self.apart.insert((expires_at_ms, row));
    }

    /// Removes a row from the set, if it is there with this deadline.
    pub(super) fn remove(&mut self, row: u32, expires_at_ms: u64) {
        self.apart.remove(&(expires_at_ms, row));
    }

    /// The row with the earliest deadline.
    pub(super) fn first(&mut self, rows: &Rows) -> Option<u32> {
        while self.queue.front().is_some_and(|row| rows[*row as usize].is_extended) {
            self.queue.pop_front();
        }
        let queued = self.queue.front().copied();
        let Some(&(expires_at_ms, row)) = self.apart.first() else { return queued };
        let is_later =
            |other: &u32| (rows[*other as usize].expires_at_ms, *other) > (expires_at_ms, row);
        match queued {
            Some(other) if !is_later(&other) => Some(other),
            _ => Some(row),
        }
    }

    /// The earliest deadline in the set.
    pub(super) fn first_apart_ms(&self) -> Option<u64> {
        self.apart.first().map(|&(expires_at_ms, _)| expires_at_ms)
    }

    /// Removes the row that [`first`](Self::first) returned.
    pub(super) fn pop(&mut self, first: u32) {
        if self.queue.front() == Some(&first) {
            self.queue.pop_front();
        } else {
            let popped = self.apart.pop_first();
            debug_assert_eq!(popped.map(|(_, row)| row), Some(first), "not the first");
        }
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.apart.len()
    }

    /// All of them, in no order.
    pub(super) fn iter(&self, rows: &Rows) -> impl Iterator<Item = u32> {
        let queued = self.queue.iter().copied().filter(|row| !rows[*row as usize].is_extended);
        queued.chain(self.apart.iter().map(|&(_, row)| row))
    }
}
