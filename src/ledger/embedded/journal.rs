//! The journal that is being written: one record a commit, one fdatasync a record.
//!
//! Room is set aside ahead of use. That makes fdatasync about twice as fast, because the file's size
//! doesn't change with every record, and it means that a full disk is found out before a batch is
//! applied, when it can still be refused.

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::folder::{journal_path, sync_folder, unfinished_path};
use super::record::{FILE_HEADER_BYTES, FileHeader, Kind, seal};

/// Room set aside at a time.
const EXTENT_BYTES: u64 = 8 << 20;

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

impl Journal {
    /// Makes the file of a new generation. It is there under its name only once it is whole.
    pub(super) fn create(folder: &Path, generation: u64, first_number: u64) -> io::Result<Self> {
        let path = journal_path(folder, generation);
        let unfinished = unfinished_path(&path);
        let header = FileHeader::new(Kind::Journal, generation, first_number)?;
        let file = File::create(&unfinished)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        if let Err(error) = sync_folder(folder) {
            fs::remove_file(&path)?;
            return Err(error);
        }
        let end = FILE_HEADER_BYTES as u64;
        Ok(Self { path, file, header, end, room: end })
    }

    /// Goes on with a journal after its last record. What is behind that is cut off, and what is
    /// before it made durable: it may be there only because the system did not crash.
    pub(super) fn resume(folder: &Path, header: FileHeader, end: u64) -> io::Result<Self> {
        let path = journal_path(folder, header.generation);
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(end)?;
        file.sync_all()?;
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
        loop {
            let bytes = end - self.room;
            match fallocate(&self.file, FallocateFlags::empty(), self.room, bytes) {
                Err(Errno::INTR) => {}
                // The file system can't set room aside: the file grows with every record instead,
                // and a full disk is found out when it is too late to refuse.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.room = end;
        Ok(())
    }

    /// Writes a record and makes it durable. `bytes` as for [`seal`]. After an error the file may or
    /// may not have the record, now or after a crash.
    pub(super) fn append(&mut self, bytes: &mut [u8], number: u64) -> io::Result<()> {
        seal(bytes, self.header.salt, number);
        self.file.write_all_at(bytes, self.end)?;
        self.file.sync_data()?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Gives back the room that was not used. The records are durable already.
    pub(super) fn trim(&self) -> io::Result<()> {
        self.file.set_len(self.end)
    }

    /// Makes every later write fail.
    #[cfg(test)]
    pub(super) fn break_writes(&mut self) {
        self.file = File::open(&self.path).unwrap();
    }
}

/// Whether the error says that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
