//! Listening sockets that this process inherits from systemd (sd_listen_fds(3)) or from the server
//! that it takes over from. They listen without interruption while one process ends and the next
//! one begins, so no connection is refused or reset.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketType, getsockname};

use crate::engine::listener::SocketFile;

/// See the module's header.
#[derive(Default)]
pub(super) struct InheritedSockets {
    sockets: Vec<InheritedSocket>,
    /// Whether the files of Unix sockets must be removed at the end.
    owns_files: bool,
}

struct InheritedSocket {
    /// The setting that it was created for, if that is known.
    asked: Option<String>,
    at: SocketAddrAny,
    socket: OwnedFd,
}

impl InheritedSockets {
    /// The sockets that systemd has passed, if any.
    ///
    /// # Errors
    /// They can't be taken.
    pub(super) fn by_systemd() -> io::Result<Self> {
        let mut passed = Self::default();
        for descriptor in sd_notify::listen_fds()? {
            // SAFETY: systemd has said, in an environment that is for this process, that the
            // descriptor is open and ours. It stays open, and nobody else closes it: only its copy
            // is used.
            let theirs = unsafe { BorrowedFd::borrow_raw(descriptor) };
            passed.add(None, fcntl_dupfd_cloexec(theirs, 3)?)?;
        }
        Ok(passed)
    }

    /// The sockets of the previous server, each with the setting that it was created for.
    ///
    /// # Errors
    /// InheritedSocket of them is not a socket.
    pub(super) fn by_predecessor(sockets: Vec<(String, OwnedFd)>) -> io::Result<Self> {
        let mut passed = Self { owns_files: true, ..Self::default() };
        for (asked, socket) in sockets {
            passed.add(Some(asked), socket)?;
        }
        Ok(passed)
    }

    fn add(&mut self, asked: Option<String>, socket: OwnedFd) -> io::Result<()> {
        if socket_type(&socket)? != SocketType::STREAM || !socket_acceptconn(&socket)? {
            let told =
                "a descriptor that was passed to the server is no socket that listens for streams";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        }
        let at = getsockname(&socket)?;
        self.sockets.push(InheritedSocket { asked, at, socket });
        Ok(())
    }

    /// The sockets for an address, and their actual addresses.
    pub(super) fn take_tcp(
        &mut self,
        name: &str,
        address: SocketAddr,
    ) -> io::Result<Option<(SocketAddr, Vec<OwnedFd>)>> {
        // systemd's `ListenStream=3005` is one socket for both families.
        let is_for_all = |at: SocketAddr| {
            at.port() == address.port() && at.ip().is_unspecified() && address.ip().is_unspecified()
        };
        let tcp = |one: &InheritedSocket| SocketAddr::try_from(one.at.clone()).ok();
        let exact = |one: &InheritedSocket| match &one.asked {
            Some(asked) => asked == name && tcp(one).is_some(),
            None => tcp(one) == Some(address),
        };
        let mut found = self.take(exact);
        if found.is_empty() {
            found = self.take(|one| one.asked.is_none() && tcp(one).is_some_and(is_for_all));
        }
        let Some(first) = found.first() else { return Ok(None) };
        let at = SocketAddr::try_from(first.at.clone()).map_err(io::Error::from)?;
        Ok(Some((at, found.into_iter().map(|one| one.socket).collect())))
    }

    /// The sockets at a path, and their file if it must be removed at the end.
    pub(super) fn take_unix(
        &mut self,
        path: &Path,
    ) -> io::Result<Option<(Vec<OwnedFd>, Option<SocketFile>)>> {
        let is_there = |at: &SocketAddrUnix| at.path_bytes() == Some(path.as_os_str().as_bytes());
        let found = self.take(|one| {
            one.at.address_family() == AddressFamily::UNIX
                && SocketAddrUnix::try_from(one.at.clone()).is_ok_and(|at| is_there(&at))
        });
        if found.is_empty() {
            return Ok(None);
        }
        let file = if self.owns_files { Some(SocketFile::of(path)?) } else { None };
        Ok(Some((found.into_iter().map(|one| one.socket).collect(), file)))
    }

    fn take(&mut self, is_it: impl Fn(&InheritedSocket) -> bool) -> Vec<InheritedSocket> {
        self.sockets.extract_if(.., |one| is_it(one)).collect()
    }

    /// Logs the sockets that no setting names. They are closed.
    pub(super) fn warn_of_unused(self) {
        for one in self.sockets {
            let socket = format!("{:?}", one.at);
            tracing::warn!(socket, "passed listening socket closed: no setting names it");
        }
    }
}
