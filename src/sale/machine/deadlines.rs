//! The rows that expiry looks at, the earliest deadline first, and of those that end together the
//! earlier row first.
//!
//! Time never goes back, so while the hold time stays as it is, deadlines come in the order of the
//! rows, and a queue of row numbers is all that is needed. Only what is granted after the hold time was
//! shortened ends before something that was granted earlier: that stands apart, in a set, for as long as
//! the hold time was before. So does what was extended: its number stays in the queue until it comes to
//! the front, and counts there for nothing.
//!
//! The order follows from the rows alone and not from where each stands here, so that a journal that is
//! replayed, or a snapshot that is read, expires the same reservations.

use std::collections::{BTreeSet, VecDeque};

use crate::sale::rows::Rows;

/// See the module's header.
#[derive(Default)]
pub(super) struct Deadlines {
    queue: VecDeque<u32>,
    /// The deadline of the last row that came into the queue.
    last_ms: u64,
    /// Deadlines, and rows.
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

    /// Takes out one that stands apart under this deadline, if it does.
    pub(super) fn remove(&mut self, row: u32, expires_at_ms: u64) {
        self.apart.remove(&(expires_at_ms, row));
    }

    /// The row whose deadline is the earliest.
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

    /// The earliest deadline of those that end before one that was there earlier.
    pub(super) fn first_apart_ms(&self) -> Option<u64> {
        self.apart.first().map(|&(expires_at_ms, _)| expires_at_ms)
    }

    /// Takes out what [`first`](Self::first) has given.
    pub(super) fn pop(&mut self, first: u32) {
        if self.queue.front() == Some(&first) {
            self.queue.pop_front();
        } else {
            let popped = self.apart.pop_first();
            debug_assert_eq!(popped.map(|(_, row)| row), Some(first), "not the first");
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.apart.len()
    }

    /// All of them, in no order.
    pub(super) fn iter(&self, rows: &Rows) -> impl Iterator<Item = u32> {
        let queued = self.queue.iter().copied().filter(|row| !rows[*row as usize].is_extended);
        queued.chain(self.apart.iter().map(|&(_, row)| row))
    }
}
