//! A Unix socket and its file: created, replaced if a killed server left it, removed at the end.
//!
//! A Unix socket has no `SO_REUSEPORT`: it has one queue of connections, whichever cores watch it.
//! If all cores watched it, all would wake for each connection, and chance would decide:
//! `EPOLLEXCLUSIVE` has no effect for an epoll instance inside another, as a reactor is (in a
//! trial, four cores got 0, 9, 18 and 23 of 50 connections). Where `EPOLLEXCLUSIVE` works, one core
//! gets all connections. A proxy keeps few connections open, so the shares must be even. Therefore
//! one core accepts and hands them out in turn, at the cost of one wake-up per connection.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::socket::{BACKLOG, Listener};
use crate::file_lock;

/// The mode of a socket's file, before the umask: its owner and group may connect.
const MODE: u32 = 0o660;
/// The identity of no file.
const NOT_OURS: (u64, u64) = (0, 0);
/// Time to wait for the lock of the folder, which another server holds while it binds.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The file of our Unix socket. It is removed when dropped, which must be before the socket is
/// closed: from then on another server may have replaced it.
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// The file of a socket that we, or another process of ours, have bound.
    ///
    /// # Errors
    /// The file does not exist.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    /// Leaves the file to another process.
    pub fn leave(mut self) {
        self.identity = NOT_OURS;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put another file there. Ours keeps its inode while its socket is
        // open.
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "can't remove the Unix socket");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Binds a Unix socket. Its file is accessible for its owner and group, less the umask.
///
/// # Errors
/// `AddrInUse` if another server listens there; `AlreadyExists` if there is a file that is not a
/// socket; or it can't be bound.
pub fn bind_unix(path: &Path) -> io::Result<(Listener, SocketFile)> {
    let address = SocketAddrUnix::new(path)?;
    // If two servers find the same stale file, the second one must not remove the new file of the
    // first.
    let _lock = lock_folder(path)?;
    clear(path, &address)?;
    let socket = stream_socket()?;
    // The file takes the mode that the socket has before it is bound: nobody can connect in
    // between.
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

/// Removes a socket file that no process listens on.
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
            tracing::info!(path = %path.display(), "replaced the Unix socket of a server that is gone");
            fs::remove_file(path)
        }
        Err(Errno::NOENT) => Ok(()),
        // A process listens, perhaps with a full queue, or the socket is of another kind.
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
    match file_lock::lock(&folder, LOCK_PATIENCE) {
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(folder),
        Err(TryLockError::WouldBlock) => {
            let reason = "another program keeps a lock on its folder";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, reason))
        }
    }
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
    fn a_socket_file_exists_while_it_is_bound() {
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
    fn a_stale_socket_file_is_taken_over() {
        let (_folder, path) = place();
        drop(UnixListener::bind(&path).unwrap());
        let (_listener, _file) = bind_unix(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn files_and_sockets_of_others_are_left_alone() {
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
    fn a_foreign_socket_in_its_place_is_not_removed() {
        let (_folder, path) = place();
        let (_listener, file) = bind_unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(file);
        UnixStream::connect(&path).unwrap();
    }
}
