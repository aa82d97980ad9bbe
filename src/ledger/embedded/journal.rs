//! The journal that is being written: one record a commit, one fdatasync a record.
//!
//! Room is set aside ahead of use. That makes fdatasync about twice as fast, because the file's size
//! doesn't change with every record, and it means that a full disk is found out before a batch is
//! applied, when it can still be refused.
//!
//! A journal that another one follows ends with a closing record, which says so: then the next one
//! has records, or may have. It is numbered like the record that comes next, and can't be taken for
//! one, since that begins with a time and this with letters.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::disk::{self, Unfinished};
use super::folder::{journal_path, unfinished_path};
use super::record::{FILE_HEADER_BYTES, FileHeader, Kind, RECORD_HEADER_BYTES, seal};

/// Room set aside at a time. The unit tests copy many folders.
pub(super) const EXTENT_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 8 << 20 };
/// What a closing record says, before the generation that follows.
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
    /// The end of the room that is set aside.
    room: u64,
}

/// A journal as it was read.
pub(super) struct Found {
    pub header: FileHeader,
    /// The end of its last record.
    pub end: u64,
    /// Bytes after that which are none of unused room.
    pub rest_bytes: u64,
    /// The last record: its number, where it begins, and it, after room for its header.
    pub last_record: Option<(u64, u64, Vec<u8>)>,
    /// It is closed: the generation that follows.
    pub next: Option<u64>,
}

impl Journal {
    /// Makes the file of a new generation, in place of one that was made and never begun. It is
    /// there under its name only once it is whole.
    ///
    /// After an error it may be there, also after a crash, and must then stay: what else is durable
    /// may say so. It does no harm until the journal before it is closed.
    pub(super) fn create(folder: &Path, generation: u64, first_number: u64) -> io::Result<Self> {
        let path = journal_path(folder, generation);
        let header = FileHeader::new(Kind::Journal, generation, first_number)?;
        let unfinished = Unfinished::create(unfinished_path(&path), path.clone())?;
        disk::write_at(unfinished.file(), &header.encode(), 0)?;
        // As every record: a disk that can't do this is found out before anything is sold.
        disk::sync_data(unfinished.file())?;
        let file = unfinished.name()?;
        disk::sync_folder(folder)?;
        let end = FILE_HEADER_BYTES as u64;
        Ok(Self { path, file, header, end, room: end })
    }

    /// Goes on with a journal after its last record. What is behind that is cut off, and what is
    /// before it made durable: it may be there only because the system did not crash.
    ///
    /// The last record is written again before it is believed. If its fdatasync failed, it was read
    /// from the page cache, where the system leaves it as if it had been written, and no other sync
    /// would write it. Those before it are durable, or it would not have been begun.
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

    /// Makes sure of room for a record of this many bytes, header included.
    pub(super) fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let wanted = self.end + bytes;
        if wanted <= self.room {
            return Ok(());
        }
        match self.allocate(wanted + EXTENT_BYTES) {
            // Nearly full: take just what is needed.
            Err(error) if is_full(&error) => self.allocate(wanted),
            result => result,
        }
    }

    fn allocate(&mut self, end: u64) -> io::Result<()> {
        disk::allocate(&self.file, self.room, end - self.room)?;
        self.room = end;
        Ok(())
    }

    /// Writes a record and makes it durable, and gives how long the fdatasync took. `bytes` as for
    /// [`seal`]. After an error the file may or may not have the record, now or after a crash.
    pub(super) fn append(&mut self, bytes: &mut [u8], number: u64) -> io::Result<Duration> {
        seal(bytes, self.header.salt, number);
        disk::write_at(&self.file, bytes, self.end)?;
        let began = Instant::now();
        disk::sync_data(&self.file)?;
        self.end += bytes.len() as u64;
        Ok(began.elapsed())
    }

    /// Ends it with a closing record: from here on the journal of the next generation must exist.
    /// `next_number` is that of the first record there. Errors as for [`append`](Self::append).
    pub(super) fn close(&mut self, next_number: u64) -> io::Result<()> {
        let mut record = vec![0; RECORD_HEADER_BYTES];
        record.extend_from_slice(CLOSED);
        record.extend_from_slice(&(self.generation() + 1).to_le_bytes());
        self.append(&mut record, next_number).map(drop)
    }

    /// Gives back the room that was not used. The records are durable already.
    pub(super) fn trim(&self) -> io::Result<()> {
        disk::set_length(&self.file, self.end)
    }

    /// Makes every later write fail.
    #[cfg(test)]
    pub(super) fn break_writes(&mut self) {
        self.file = File::open(&self.path).unwrap();
    }
}

/// The generation that follows, if this is a closing record.
pub(super) fn next_generation(record: &[u8]) -> Option<u64> {
    let next = record.strip_prefix(CLOSED)?;
    Some(u64::from_le_bytes(next.try_into().ok()?))
}

/// Whether the error says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
