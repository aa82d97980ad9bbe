//! The journal that is being written: one record per commit, one fdatasync per record.
//!
//! Space is allocated ahead of use. That makes fdatasync about twice as fast, because the file's
//! size doesn't change with every record. It also detects a full disk before a batch is applied,
//! when the batch can still be refused.
//!
//! A journal with a successor ends with a closing record: then the next one has records, or may
//! have. The closing record has the number of the next record, and can't be confused with one,
//! since a record begins with a time and this with letters.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::data_dir::{journal_path, unfinished_path};
use super::disk::{self, Unfinished};
use super::record::{FILE_HEADER_BYTES, FileHeader, Kind, RECORD_HEADER_BYTES, seal};
use crate::planted::{self, Bug};

/// Space allocated at a time. The unit tests and a simulation copy many folders.
pub(super) const EXTENT_BYTES: u64 =
    if cfg!(any(test, feature = "simulation")) { 64 << 10 } else { 8 << 20 };
/// The text of a closing record, before the generation of the successor.
const CLOSED: &[u8; 24] = b"closed, the next one is ";
/// A closing record.
pub(super) const CLOSING_BYTES: u64 = (RECORD_HEADER_BYTES + CLOSED.len() + 8) as u64;

/// A journal open for writing.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    header: FileHeader,
    /// The end of the last record.
    end: u64,
    /// The end of the allocated space.
    room: u64,
}

/// A journal that was read.
pub(super) struct Found {
    pub header: FileHeader,
    /// The end of its last record.
    pub end: u64,
    /// Bytes after that which are not unused space.
    pub rest_bytes: u64,
    /// The last record: its number, its start, and its bytes, after space for its header.
    pub last_record: Option<(u64, u64, Vec<u8>)>,
    /// The generation of the successor, if the journal is closed.
    pub next: Option<u64>,
}

impl Journal {
    /// Creates the file of a new generation, in place of one that was created and never begun. The
    /// file has its name only once it is complete.
    ///
    /// After an error the file may exist, also after a crash, and must then stay: other durable
    /// data may mention it. It does no harm until the journal before it is closed.
    pub(super) fn create(folder: &Path, generation: u64, first_number: u64) -> io::Result<Self> {
        let path = journal_path(folder, generation);
        let header = FileHeader::new(Kind::Journal, generation, first_number)?;
        let unfinished = Unfinished::create(unfinished_path(&path), path.clone())?;
        disk::write_at(unfinished.file(), &header.encode(), 0)?;
        // Like every record: a disk that can't sync is detected before anything is sold.
        disk::sync_data(unfinished.file())?;
        let file = unfinished.name()?;
        disk::sync_folder(folder)?;
        let end = FILE_HEADER_BYTES as u64;
        Ok(Self { path, file, header, end, room: end })
    }

    /// Continues a journal after its last record. Cuts off the bytes after it, and syncs the bytes
    /// before it: they may be readable only because the system did not crash.
    ///
    /// The last record is written again before it counts. If its fdatasync failed, it was read from
    /// the page cache, where the system leaves it as if it had been written, and no later sync
    /// would write it. The records before it are durable, or it would not have been begun.
    pub(super) fn resume(folder: &Path, found: Found) -> io::Result<Self> {
        let Found { header, end, last_record, .. } = found;
        let path = journal_path(folder, header.generation);
        let file = OpenOptions::new().write(true).open(&path)?;
        disk::set_length(&file, end)?;
        if let Some((number, at, mut record)) = last_record {
            seal(&mut record, header.salt, number);
            disk::write_at(&file, &record, at)?;
        }
        disk::sync(&file)?;
        Ok(Self { path, file, header, end, room: end })
    }

    /// The journal's generation.
    pub(super) fn generation(&self) -> u64 {
        self.header.generation
    }

    /// Its file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Ensures space for a record of this size, header included.
    pub(super) fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let wanted = self.end + bytes;
        if wanted <= self.room {
            return Ok(());
        }
        match self.allocate(wanted + EXTENT_BYTES) {
            // Nearly full: allocate only what is needed.
            Err(error) if is_full(&error) => self.allocate(wanted),
            result => result,
        }
    }

    fn allocate(&mut self, end: u64) -> io::Result<()> {
        disk::allocate(&self.file, self.room, end - self.room)?;
        self.room = end;
        Ok(())
    }

    /// Writes a record and syncs it. Returns the time of the fdatasync. `bytes` as for [`seal`].
    /// After an error the file may or may not have the record, now or after a crash.
    pub(super) fn append(&mut self, bytes: &mut [u8], number: u64) -> io::Result<Duration> {
        seal(bytes, self.header.salt, number);
        disk::write_at(&self.file, bytes, self.end)?;
        let began = Instant::now();
        if !planted::is(Bug::SyncLeftOut) {
            disk::sync_data(&self.file)?;
        }
        self.end += bytes.len() as u64;
        Ok(began.elapsed())
    }

    /// Writes the closing record: from here on the journal of the next generation must exist.
    /// `next_number` is the number of its first record. Errors as for [`append`](Self::append).
    pub(super) fn close(&mut self, next_number: u64) -> io::Result<()> {
        let mut record = vec![0; RECORD_HEADER_BYTES];
        record.extend_from_slice(CLOSED);
        record.extend_from_slice(&(self.generation() + 1).to_le_bytes());
        self.append(&mut record, next_number).map(drop)
    }

    /// Releases unused space. The records are durable already.
    pub(super) fn trim(&self) -> io::Result<()> {
        disk::set_length(&self.file, self.end)
    }

    /// Makes every later write fail.
    #[cfg(test)]
    pub(super) fn break_writes(&mut self) {
        self.file = File::open(&self.path).unwrap();
    }
}

/// The generation of the successor, if this is a closing record.
pub(super) fn next_generation(record: &[u8]) -> Option<u64> {
    let next = record.strip_prefix(CLOSED)?;
    Some(u64::from_le_bytes(next.try_into().ok()?))
}

/// Whether the error means a full disk.
pub(super) fn is_full(error: &io::Error) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
