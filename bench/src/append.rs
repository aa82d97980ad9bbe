//! A file that is written at its end, each time with an fdatasync, and whose room is set aside ahead,
//! as the embedded ledger's journal has it. What goes into it means nothing.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Because, Result};

/// As `src/ledger/embedded/journal.rs` has it.
const EXTENT_BYTES: u64 = 8 << 20;

/// The file.
pub struct Appended {
    path: PathBuf,
    file: File,
    end: u64,
    room: u64,
    growing: bool,
}

/// Bytes to write. Not zeros, which some file systems do not keep.
pub fn filling(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8 | 1).collect()
}

impl Appended {
    /// Creates it. `growing`: it grows with every write, in place of setting room aside.
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
                .because(|| format!("setting room aside in {}", self.path.display()))?;
            self.room = wanted + EXTENT_BYTES;
        }
        let written = self.file.write_all_at(bytes, self.end);
        let written = written.and_then(|()| self.file.sync_data());
        written.because(|| format!("writing {}", self.path.display()))?;
        self.end = wanted;
        Ok(())
    }

    /// Gives back the room that was not used. Returns how many bytes were written.
    pub fn cut(self) -> Result<u64> {
        self.file.set_len(self.end).because(|| format!("cutting {}", self.path.display()))?;
        Ok(self.end)
    }
}

/// Sets room aside from one place in the file to another. Where the file system can't, the file
/// grows with every batch, as the ledger's journal does there.
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
