//! Every change that the ledger makes to its folder, one function per system call.
//!
//! Nothing else in the embedded ledger changes a file. So the tests can make any one of these calls
//! fail, or end the process between any two of them, and check what the next start finds. A
//! simulation sees each call, and decides its fate.

use rustix::fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with, statvfs};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// These files contain users and keys: only their owner may read them.
pub(super) const FILE_MODE: u32 = 0o600;
/// The same for the folder.
pub(super) const FOLDER_MODE: u32 = 0o700;

/// A call that changes the folder.
#[cfg_attr(
    any(test, not(feature = "simulation")),
    allow(dead_code, reason = "only a simulation looks at them")
)]
#[derive(Debug, Clone, Copy)]
pub enum Call<'a> {
    /// Creates a folder.
    Mkdir(&'a Path),
    /// Creates a file, or empties it if it exists.
    Create(&'a Path),
    /// Opens the file of the lock, and creates it if it is missing.
    OpenLock(&'a Path),
    /// Writes bytes into a file.
    Write {
        /// The file.
        file: &'a File,
        /// All of the bytes.
        bytes: &'a [u8],
        /// Where the first one goes.
        offset: u64,
    },
    /// Makes a file's content durable.
    SyncData(&'a File),
    /// Makes a file and its metadata durable.
    Sync(&'a File),
    /// Makes the names in a folder durable.
    SyncFolder(&'a Path),
    /// Renames a file or folder.
    Rename(&'a Path, &'a Path),
    /// Removes an empty folder.
    Rmdir(&'a Path),
    /// Removes a file.
    Unlink(&'a Path),
    /// Sets the length of a file.
    Truncate(&'a File, u64),
    /// Allocates bytes from an offset on: the file, the offset, the count.
    Allocate(&'a File, u64, u64),
    /// Changes the mode of a file or folder.
    Chmod(&'a Path),
}

/// Creates a folder; its parent exists.
pub(super) fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    step(Call::Mkdir(path), || DirBuilder::new().mode(mode).create(path))
}

/// Creates a file, or empties it if it exists.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    step(Call::Create(path), || options.open(path))
}

/// Opens the file of a folder's lock, and creates it if it is missing.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(FILE_MODE);
    step(Call::OpenLock(path), || options.open(path))
}

/// Writes all of these bytes at an offset.
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    step(Call::Write { file, bytes, offset }, || file.write_all_at(bytes, offset))
}

/// Makes a file's content durable, and as much of its metadata as reading it needs.
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    step_of_sync(Call::SyncData(file), || file.sync_data())
}

/// Makes a file and all its metadata durable.
pub(super) fn sync(file: &File) -> io::Result<()> {
    step_of_sync(Call::Sync(file), || file.sync_all())
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    step_of_sync(Call::SyncFolder(path), || File::open(path)?.sync_all())
}

/// Renames a file, replacing the file of that name.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step(Call::Rename(from, to), || fs::rename(from, to))
}

/// Renames a file or folder to a name that must be free.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let call = Call::Rename(from, to);
    step(call, || match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that can't guarantee it.
        Err(Errno::INVAL | Errno::NOSYS) if to.symlink_metadata().is_err() => fs::rename(from, to),
        result => Ok(result?),
    })
}

/// Removes an empty folder.
pub(super) fn remove_folder(path: &Path) -> io::Result<()> {
    step(Call::Rmdir(path), || fs::remove_dir(path))
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    step(Call::Unlink(path), || fs::remove_file(path))
}

/// Truncates a file, or extends it with zeros.
pub(super) fn set_length(file: &File, bytes: u64) -> io::Result<()> {
    step(Call::Truncate(file, bytes), || file.set_len(bytes))
}

/// Allocates space in a file and extends it. On a file system without this call it does nothing:
/// the file grows with every write instead.
pub(super) fn allocate(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    step(Call::Allocate(file, offset, bytes), || {
        loop {
            match fallocate(file, FallocateFlags::empty(), offset, bytes) {
                Err(Errno::INTR) => {}
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    })
}

/// Removes all access of others from a file or folder that they can read or write. Access of the
/// group alone is somebody's decision, and stays.
pub(super) fn close_to_others(path: &Path, mode: u32) -> io::Result<bool> {
    if fs::metadata(path)?.permissions().mode() & 0o007 == 0 {
        return Ok(false);
    }
    step(Call::Chmod(path), || fs::set_permissions(path, Permissions::from_mode(mode)))?;
    Ok(true)
}

/// Free bytes on the file system of a folder. `None`: unknown.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    let found = statvfs(folder).ok()?;
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

/// A file that is being written under another name. It is removed unless it gets its final name.
pub(super) struct Unfinished {
    file: File,
    written: PathBuf,
    path: PathBuf,
    is_named: bool,
}

impl Unfinished {
    /// Creates the file `written`, which is to become `path`.
    pub(super) fn create(written: PathBuf, path: PathBuf) -> io::Result<Self> {
        Ok(Self { file: create(&written)?, written, path, is_named: false })
    }

    /// The file, to be written and synced.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Renames it. The name is durable when the folder is synced.
    pub(super) fn name(mut self) -> io::Result<File> {
        rename(&self.written, &self.path)?;
        self.is_named = true;
        self.file.try_clone()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // The next start removes a file that can't be removed now.
        if !self.is_named {
            let _ = remove(&self.written);
        }
    }
}

#[cfg(not(any(test, feature = "simulation")))]
#[inline(always)]
fn step<T>(_: Call<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    act()
}

#[cfg(not(any(test, feature = "simulation")))]
use step as step_of_sync;

#[cfg(test)]
use faults::{step, step_of_sync};

#[cfg(all(feature = "simulation", not(test)))]
pub use simulated::{Fate, Hook, set_hook};
#[cfg(all(feature = "simulation", not(test)))]
use simulated::{step, step_of_sync};

/// What a simulation makes of the calls of this thread.
#[cfg(all(feature = "simulation", not(test)))]
mod simulated {
    use std::cell::RefCell;
    use std::io;
    use std::os::unix::fs::FileExt;
    use std::rc::Rc;

    use rustix::io::Errno;

    use crate::ledger::embedded::disk::Call;

    /// What becomes of a call.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Fate {
        /// It is done.
        Do,
        /// It fails, and is not done.
        Fail(Errno),
        /// It fails after it was done.
        DoAndFail(Errno),
        /// A write takes only this many bytes, at least one. The rest is another call.
        Short(usize),
    }

    /// Decides the fate of each call. It may suspend the calling coroutine.
    pub trait Hook {
        /// Decides a call before it is done.
        fn call(&self, call: &Call<'_>) -> Fate;

        /// A call was done, also one that then fails.
        fn done(&self, call: &Call<'_>) {
            let _ = call;
        }
    }

    thread_local! {
        static HOOK: RefCell<Option<Rc<dyn Hook>>> = const { RefCell::new(None) };
    }

    /// Sets what decides the calls of this thread. Without a hook all are done, but a sync never
    /// asks the kernel.
    pub fn set_hook(hook: Option<Rc<dyn Hook>>) {
        HOOK.set(hook);
    }

    pub(super) fn step<T>(call: Call<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(hook) = HOOK.with_borrow(Clone::clone) else { return act() };
        let fate = hook.call(&call);
        if let (Fate::Short(count), Call::Write { file, bytes, offset }) = (fate, call)
            && count < bytes.len()
        {
            let (first, rest) = bytes.split_at(count.max(1));
            file.write_all_at(first, offset)?;
            hook.done(&Call::Write { file, bytes: first, offset });
            let offset = offset + first.len() as u64;
            // It writes all of the bytes: those that are there already stay the same.
            return step(Call::Write { file, bytes: rest, offset }, act);
        }
        if let Fate::Fail(errno) = fate {
            return Err(errno.into());
        }
        let result = act().inspect(|_| hook.done(&call));
        match fate {
            Fate::DoAndFail(errno) => result.and(Err(errno.into())),
            Fate::Do | Fate::Short(_) | Fate::Fail(_) => result,
        }
    }

    /// What a simulated disk keeps is for the hook to say.
    pub(super) fn step_of_sync(
        call: Call<'_>,
        _: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        step(call, || Ok(()))
    }
}

/// What becomes of the calls of this thread.
#[cfg(test)]
pub(super) mod faults {
    use std::cell::RefCell;
    use std::io;

    use rustix::io::Errno;

    use crate::ledger::embedded::disk::Call;

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
        static LOG: RefCell<Option<Vec<String>>> = RefCell::default();
    }

    /// What something calls, except for writes.
    pub fn calls_of<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
        LOG.set(Some(Vec::new()));
        let result = run();
        (result, LOG.take().unwrap_or_default())
    }

    /// Sets what goes wrong from here on, counting from 0. Gives the number of calls up to now.
    pub fn plan(plan: Plan) -> u64 {
        PLAN.replace((plan, 0)).1
    }

    pub(super) fn step<T>(what: Call<'_>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if !matches!(what, Call::Write { .. }) {
            LOG.with_borrow_mut(|log| log.as_mut().map(|log| log.push(format!("{what:?}"))));
        }
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
    pub(super) fn step_of_sync(
        call: Call<'_>,
        _: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        step(call, || Ok(()))
    }
}
