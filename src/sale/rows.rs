//! Rows and indexes that grow in small steps.
//!
//! A sale of ten million rows would double a vector of 400 MB and rehash two tables of eight
//! million entries on the way: over three seconds, measured, in which the ledger answers nobody. So
//! rows are in chunks that never move, and a large table is many small ones, each of which grows on
//! its own.

use std::ops::Index;

use hashbrown::hash_table::HashTable;

use super::row::Row;

/// Rows in one chunk: 4 MiB.
const CHUNK_ROWS: usize = 1 << 16;
/// Entries at which a table is split. Few sales are that large, and it takes few milliseconds.
const SPLIT_AT: usize = 1 << 15;
/// Tables after the split: at ten million entries each has about 40,000.
const PARTS: usize = 256;

/// Reservations in the order in which they were granted, numbered from 0.
#[derive(Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "simulation", derive(Clone))]
pub struct Rows {
    chunks: Vec<Chunk>,
}

#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(feature = "simulation", derive(Clone))]
struct Chunk {
    rows: Vec<Row>,
    /// The latest version in it.
    newest: u64,
}

impl Rows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK_ROWS + last.rows.len())
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.chunks.iter().flat_map(|chunk| &chunk.rows)
    }

    /// The first row from `number` on that may have a version after this one. Skips whole chunks
    /// without such a row, so finding recent changes is cheap in a large sale.
    pub fn skip_unchanged(&self, number: usize, version: u64) -> usize {
        let mut later = self.chunks.iter().enumerate().skip(number / CHUNK_ROWS);
        let chunk = later.find(|(_, chunk)| chunk.newest > version).map(|(number, _)| number);
        chunk.map_or(self.len(), |chunk| number.max(chunk * CHUNK_ROWS))
    }

    /// Changes a row. Its version must not go back.
    pub(super) fn change(&mut self, number: usize, change: impl FnOnce(&mut Row)) {
        let chunk = &mut self.chunks[number / CHUNK_ROWS];
        let row = &mut chunk.rows[number % CHUNK_ROWS];
        change(row);
        chunk.newest = chunk.newest.max(row.version);
    }

    pub(super) fn push(&mut self, row: Row) {
        let version = row.version;
        match self.chunks.last_mut() {
            Some(last) if last.rows.len() < CHUNK_ROWS => {
                last.rows.push(row);
                last.newest = last.newest.max(version);
            }
            // A small sale's only chunk grows like any vector; those of a large sale are allocated
            // at full size.
            last => {
                let mut rows = Vec::with_capacity(last.map_or(0, |_| CHUNK_ROWS));
                rows.push(row);
                self.chunks.push(Chunk { rows, newest: version });
            }
        }
    }
}

impl Index<usize> for Rows {
    type Output = Row;

    fn index(&self, number: usize) -> &Row {
        &self.chunks[number / CHUNK_ROWS].rows[number % CHUNK_ROWS]
    }
}

/// A hash table that grows in small steps. Its owner defines the entries and their hashes.
#[cfg_attr(feature = "simulation", derive(Clone))]
pub(super) struct Table<T> {
    /// The only table, as long as there is one: inline, since with many hot sales a pointer would
    /// be one more cache miss.
    whole: HashTable<T>,
    parts: Vec<HashTable<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { whole: HashTable::new(), parts: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Uses bits of the hash that neither the position within a table nor its tags use.
    fn part(&self, hash: u64) -> &HashTable<T> {
        match &self.parts[..] {
            [] => &self.whole,
            parts => &parts[(hash >> 32) as usize % parts.len()],
        }
    }

    fn part_mut(&mut self, hash: u64) -> &mut HashTable<T> {
        match &mut self.parts[..] {
            [] => &mut self.whole,
            parts => &mut parts[(hash >> 32) as usize % parts.len()],
        }
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.whole.iter().chain(self.parts.iter().flatten())
    }

    /// Finds an entry.
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&T> {
        self.part(hash).find(hash, is_it)
    }

    /// Finds an entry, to change it.
    pub(super) fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.part_mut(hash).find_mut(hash, is_it)
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, hash: u64, is_it: impl FnMut(&T) -> bool) {
        if let Ok(entry) = self.part_mut(hash).find_entry(hash, is_it) {
            entry.remove();
        }
    }

    /// Adds an entry that is not in the table.
    pub(super) fn insert(&mut self, hash: u64, entry: T, rehash: impl Fn(&T) -> u64) {
        if self.parts.is_empty() && self.whole.len() >= SPLIT_AT {
            self.split(2 * SPLIT_AT, &rehash);
        }
        self.part_mut(hash).insert_unique(hash, entry, rehash);
    }

    /// Reserves capacity for a known number of entries.
    pub(super) fn reserve(&mut self, count: usize, rehash: impl Fn(&T) -> u64) {
        if self.parts.is_empty() && count >= SPLIT_AT {
            self.split(count, &rehash);
        }
        match &mut self.parts[..] {
            [] => self.whole.reserve(count, &rehash),
            parts => parts.iter_mut().for_each(|part| part.reserve(count / PARTS, &rehash)),
        }
    }

    fn split(&mut self, count: usize, rehash: &impl Fn(&T) -> u64) {
        self.parts = (0..PARTS).map(|_| HashTable::with_capacity(count / PARTS)).collect();
        for entry in std::mem::take(&mut self.whole) {
            let hash = rehash(&entry);
            self.part_mut(hash).insert_unique(hash, entry, rehash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{ReservationId, Status};

    #[test]
    fn rows_keep_their_numbers_across_chunks() {
        let mut rows = Rows::default();
        assert!(rows.is_empty());
        for n in 0..2 * CHUNK_ROWS + 3 {
            assert_eq!(rows.len(), n);
            let (id, owner) = (ReservationId(n as u128), Box::default());
            let (status, version) = (Status::Held, n as u64 + 1);
            rows.push(Row {
                id,
                owner,
                user_bytes: 0,
                key_bytes: 0,
                is_extended: false,
                status,
                quantity: 1,
                expires_at_ms: 0,
                version,
                changed_at_ms: 0,
            });
        }
        let (all, first) = (rows.len(), CHUNK_ROWS as u64);
        assert_eq!(rows.skip_unchanged(0, all as u64), all);
        assert_eq!(rows.skip_unchanged(7, first - 1), 7);
        assert_eq!(rows.skip_unchanged(7, first), CHUNK_ROWS);
        assert_eq!(rows.skip_unchanged(2 * CHUNK_ROWS + 1, 0), 2 * CHUNK_ROWS + 1);
        rows.change(5, |row| row.version = all as u64 + 1);
        assert_eq!(rows.skip_unchanged(0, all as u64), 0);
        for n in [0, CHUNK_ROWS - 1, CHUNK_ROWS, 2 * CHUNK_ROWS + 2] {
            assert_eq!(rows[n].id.0, n as u128);
        }
        assert!(rows.iter().enumerate().all(|(n, row)| row.id.0 == n as u128));
    }

    #[test]
    fn a_table_finds_everything_before_and_after_its_split() {
        let hash = |n: &u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for reserved in [0, 3 * SPLIT_AT] {
            let mut table = Table::default();
            table.reserve(reserved, hash);
            let count = 2 * SPLIT_AT as u64;
            for n in 0..count {
                assert!(table.find(hash(&n), |&found| found == n).is_none());
                table.insert(hash(&n), n, hash);
            }
            table.remove(hash(&7), |&found| found == 7);
            for n in 0..count {
                let found = table.find(hash(&n), |&found| found == n).copied();
                assert_eq!(found, (n != 7).then_some(n));
            }
            *table.find_mut(hash(&8), |&found| found == 8).unwrap() = 8;
        }
    }
}
