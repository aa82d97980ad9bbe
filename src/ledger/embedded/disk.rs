//! Every change that the ledger makes to its folder, one function per system call.
//!
//! Nothing else in the embedded ledger changes a file, so the tests can fail any one of these calls,
//! or end the process' work between any two of them, and look at what the next start finds.

use rustix::fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with, statvfs};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Users and keys are in these files: they are their owner's alone.
pub(super) const FILE_MODE: u32 = 0o600;
/// The same for the folder.
pub(super) const FOLDER_MODE: u32 = 0o700;

/// Creates a folder; its parent exists.
pub(super) fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    step(|| DirBuilder::new().mode(mode).create(path))
}

/// Creates a file, or empties it if it exists.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    step(|| options.open(path))
}

/// Writes all of these bytes at an offset.
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    step(|| file.write_all_at(bytes, offset))
}

/// Makes a file's content durable, and as much of its metadata as reading it needs.
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    step_of_sync(|| file.sync_data())
}

/// Makes a file and all its metadata durable.
pub(super) fn sync(file: &File) -> io::Result<()> {
    step_of_sync(|| file.sync_all())
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    step_of_sync(|| File::open(path)?.sync_all())
}

/// Gives a file another name, in place of the file that has it.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step(|| fs::rename(from, to))
}

/// Gives a file or folder another name, which must be nobody's.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    step(|| match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that can't promise it.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_err() => fs::rename(from, to),
        result => Ok(result?),
    })
}

/// Removes an empty folder.
pub(super) fn remove_folder(path: &Path) -> io::Result<()> {
    step(|| fs::remove_dir(path))
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    step(|| fs::remove_file(path))
}

/// Cuts a file off, or extends it with zeros.
pub(super) fn set_length(file: &File, bytes: u64) -> io::Result<()> {
    step(|| file.set_len(bytes))
}

/// Sets room aside in a file and extends it by as much. A file system that can't do that does
/// nothing: the file grows with every write instead.
pub(super) fn allocate(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    step(|| {
        loop {
            match fallocate(file, FallocateFlags::empty(), offset, bytes) {
                Err(Errno::INTR) => {}
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    })
}

/// Closes a file or folder that everybody may read or write to all but its owner. What only its
/// group may use, somebody has decided so.
pub(super) fn close_to_others(path: &Path, mode: u32) -> io::Result<bool> {
    if fs::metadata(path)?.permissions().mode() & 0o007 == 0 {
        return Ok(false);
    }
    step(|| fs::set_permissions(path, Permissions::from_mode(mode)))?;
    Ok(true)
}

/// Bytes that the file system of a folder has left for us. `None`: it doesn't say.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    let found = statvfs(folder).ok()?;
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// A file that is being written under another name. It is removed unless it gets its own.
pub(super) struct Unfinished {
    file: File,
    written: PathBuf,
    path: PathBuf,
    is_named: bool,
}

impl Unfinished {
    /// Begins the file that is to be at `path`, as `written`.
    pub(super) fn create(written: PathBuf, path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: create(&written)?, written, path, is_named: false })
    }

    /// The file, to be written and made durable.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its name. The name is durable when the folder is.
    pub(super) fn name(mut self) -> io::Result<File> {
        rename(&self.written, &self.path)?;
        self.is_named = true;
        self.file.try_clone()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What can't be removed, the next start removes.
        if !self.is_named {
            let _ = remove(&self.written);
        }
    }
}

#[cfg(not(test))]
#[inline]
fn step<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    act()
}

#[cfg(not(test))]
use step as step_of_sync;

#[cfg(test)]
use faults::{step, step_of_sync};

/// What becomes of the calls of this thread.
#[cfg(test)]
pub(super) mod faults {
    use std::cell::RefCell;
    use std::io;

    use rustix::io::Errno;

    /// What goes wrong.
    #[derive(Debug, Clone, Default)]
    pub enum Plan {
        /// Nothing.
        #[default]
        Nothing,
        /// The process ends before the call of this number.
        DieAt(u64),
        /// The calls of these numbers fail with this error, after they have done their work or not.
        Fail { calls: Vec<u64>, errno: Errno, is_done: bool },
    }

    thread_local! {
        static PLAN: RefCell<(Plan, u64)> = RefCell::default();
    }

    /// Sets what goes wrong from here on, counting from 0. Gives the number of calls up to now.
    pub fn plan(plan: Plan) -> u64 {
        PLAN.replace((plan, 0)).1
    }

    pub(super) fn step<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let (plan, call) = PLAN.with_borrow_mut(|(plan, calls)| {
            *calls += 1;
            (plan.clone(), *calls - 1)
        });
        match plan {
            Plan::DieAt(at) if call >= at => Err(io::Error::other("the process has ended")),
            Plan::Fail { calls, errno, is_done } if calls.contains(&call) => {
                if is_done {
                    act()?;
                }
                Err(errno.into())
            }
            _ => act(),
        }
    }

    /// What tests end is the process, not the system: nothing need be durable, and thousands of lives
    /// are quick.
    pub(super) fn step_of_sync(_: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        step(|| Ok(()))
    }
}
