//! A preallocated file that is only appended to, with an fdatasync per write, like the journal of the
//! embedded ledger. The content is arbitrary.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Because, Result};

/// The extent of `src/ledger/embedded/journal.rs`.
const EXTENT_BYTES: u64 = 8 << 20;

/// The file.
pub struct Appended {
    path: PathBuf,
    file: File,
    end: u64,
    room: u64,
    growing: bool,
}

/// Bytes to write. They are not zeros, because some file systems do not store zeros.
pub fn filling(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8 | 1).collect()
}

impl Appended {
    /// Creates the file. `growing`: it grows with every write and is not preallocated.
    pub fn create(path: &Path, growing: bool) -> Result<Self> {
        let file = File::create(path).because(|| format!("creating {}", path.display()))?;
        file.sync_all().because(|| format!("syncing {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, end: 0, room: 0, growing })
    }

    /// Writes these bytes and makes them durable.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let wanted = self.end + bytes.len() as u64;
        if wanted > self.room && !self.growing {
            allocate(&self.file, self.room, wanted + EXTENT_BYTES)
                .because(|| format!("preallocating {}", self.path.display()))?;
            self.room = wanted + EXTENT_BYTES;
        }
        let written = self.file.write_all_at(bytes, self.end);
        let written = written.and_then(|()| self.file.sync_data());
        written.because(|| format!("writing {}", self.path.display()))?;
        self.end = wanted;
        Ok(())
    }

    /// Truncates the unused space. Returns the number of written bytes.
    pub fn cut(self) -> Result<u64> {
        self.file.set_len(self.end).because(|| format!("cutting {}", self.path.display()))?;
        Ok(self.end)
    }
}

/// Preallocates a range of the file. Without support of the file system, the file grows with every
/// batch, like the ledger's journal.
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let (offset, len) =
        (from.try_into().map_err(too_large)?, (to - from).try_into().map_err(too_large)?);
    loop {
        // SAFETY: takes no pointer.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, len) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(()),
            _ => return Err(error),
        }
    }
}
