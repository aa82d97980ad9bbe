//! A Unix socket and its file: made, taken over from a server that was killed, removed in the end.
//!
//! A Unix socket has no `SO_REUSEPORT`: there is one queue of connections, whoever watches it. Were
//! it watched by all cores, all would wake for each connection and chance would decide, since
//! `EPOLLEXCLUSIVE` does nothing for an epoll instance inside another, as a gate is (we tried: of 50
//! connections, four got 0, 9, 18 and 23); and where it works, one gets them all. A proxy keeps few
//! connections open, so shares must be even: one core accepts, and gives them out in turn, which is
//! a wake-up a connection.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::socket::{BACKLOG, Listener};

/// The mode of a socket's file, before the umask: its owner and group may connect.
const MODE: u32 = 0o660;
/// No file has this number.
const NOT_OURS: (u64, u64) = (0, 0);
/// How often the folder's lock is tried for.
const LOCK_TRIES: u32 = 200;
/// The pause between two of these.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The file of a Unix socket that is ours. Removed when dropped, which must be before the socket is
/// closed: from then on another server may have taken it over.
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// That of a socket which we, or another process of ours, have bound.
    ///
    /// # Errors
    /// It is not there.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    /// Leaves it to another process.
    pub fn leave(mut self) {
        self.identity = NOT_OURS;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put another there. Ours keeps its number while its socket is open.
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket can't be removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Binds a Unix socket. Its file is for its owner and group, less the umask.
///
/// # Errors
/// `AddrInUse` if another server listens there; `AlreadyExists` if there is something that is no
/// socket; or it can't be bound.
pub fn bind_unix(path: &Path) -> io::Result<(Listener, SocketFile)> {
    let address = SocketAddrUnix::new(path)?;
    // Of two servers that find the same old file, the second must not remove the first one's new one.
    let _lock = lock_folder(path)?;
    clear(path, &address)?;
    let socket = stream_socket()?;
    // What a socket has before it is bound, its file will have: nobody gets in meanwhile.
    fchmod(&socket, Mode::from_raw_mode(MODE))?;
    bind(&socket, &address)?;
    let file = SocketFile::of(path)?;
    listen(&socket, BACKLOG)?;
    Ok((Listener { spread: true, ..Listener::new(socket) }, file))
}

fn stream_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Removes a socket that nobody has any more.
fn clear(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            let told = "there is something that is no socket; it is left alone";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, told));
        }
    }
    match connect(&stream_socket()?, address) {
        Err(Errno::CONNREFUSED) => {
            tracing::info!(path = %path.display(), "took over the socket of a server that is gone");
            fs::remove_file(path)
        }
        Err(Errno::NOENT) => Ok(()),
        // Somebody has it, if with a full queue, or it is of another kind.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(Errno::ADDRINUSE.into()),
        Err(error) => Err(error.into()),
    }
}

/// Keeps other servers from binding in the same folder, until the file is dropped.
fn lock_folder(path: &Path) -> io::Result<File> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let folder = File::open(folder)?;
    for _ in 0..LOCK_TRIES {
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            // There are file systems that know no locks.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(folder),
        }
    }
    let told = "another program keeps a lock on its folder";
    Err(io::Error::new(io::ErrorKind::ResourceBusy, told))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        (folder, path)
    }

    fn refused(path: &Path) -> io::ErrorKind {
        bind_unix(path).err().expect("refused").kind()
    }

    #[test]
    fn it_is_there_while_it_is_ours() {
        let (_folder, path) = place();
        let (listener, file) = bind_unix(&path).unwrap();
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.mode() & 0o777 & !MODE, 0, "{:o}", found.mode());
        assert_eq!(found.mode() & 0o600, 0o600);
        UnixStream::connect(&path).unwrap();
        assert_eq!(refused(&path), io::ErrorKind::AddrInUse);
        drop(file);
        assert!(!path.exists());
        drop(listener);
        bind_unix(&path).unwrap();
    }

    #[test]
    fn one_that_was_left_is_taken_over() {
        let (_folder, path) = place();
        drop(UnixListener::bind(&path).unwrap());
        let (_listener, _file) = bind_unix(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_is_anothers_is_left_alone() {
        let (folder, path) = place();
        let other = UnixListener::bind(&path).unwrap();
        assert_eq!(refused(&path), io::ErrorKind::AddrInUse);
        drop(other);
        fs::remove_file(&path).unwrap();
        let other = UnixDatagram::bind(&path).unwrap();
        assert_eq!(refused(&path), io::ErrorKind::AddrInUse);
        drop(other);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert_eq!(refused(&path), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        assert_eq!(refused(folder.path()), io::ErrorKind::AlreadyExists);
        assert_eq!(refused(&folder.path().join("no/socket")), io::ErrorKind::NotFound);
    }

    #[test]
    fn anothers_in_its_place_is_not_removed() {
        let (_folder, path) = place();
        let (_listener, file) = bind_unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(file);
        UnixStream::connect(&path).unwrap();
    }
}
