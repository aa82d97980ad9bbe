//! Non-blocking sockets and their epoll, as thin wrappers of the system calls, because every request
//! passes here.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::error::{Because, Result, fail};

/// The address of a server in the kernel's form.
#[derive(Clone, Copy)]
pub struct Peer {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Peer {
    /// A TCP address.
    pub fn tcp(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::of(&libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::of(&libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }

    /// A Unix socket's file.
    pub fn unix(path: &Path) -> Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        let mut address = libc::sockaddr_un {
            sun_family: libc::AF_UNIX as libc::sa_family_t,
            sun_path: [0; 108],
        };
        if bytes.is_empty() || bytes.len() >= address.sun_path.len() || bytes.contains(&0) {
            return fail(format!(
                "{}: the path of a Unix socket must have 1 to 107 bytes",
                path.display()
            ));
        }
        for (to, byte) in address.sun_path.iter_mut().zip(bytes) {
            *to = *byte as libc::c_char;
        }
        Ok(Self::of(&address))
    }

    fn of<T>(address: &T) -> Self {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        // SAFETY: a `sockaddr_storage` is plain integers, for which all zeros is a valid value.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        // SAFETY: both are plain data that live here, and the assertion above says that it fits.
        unsafe { std::ptr::from_mut(&mut storage).cast::<T>().copy_from(address, 1) };
        Self { storage, len: size_of::<T>() as libc::socklen_t }
    }

    fn family(&self) -> libc::c_int {
        libc::c_int::from(self.storage.ss_family)
    }

    fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
}

/// A non-blocking stream. Dropping it closes it and removes it from its epoll.
pub struct Socket(OwnedFd);

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl TryFrom<TcpStream> for Socket {
    type Error = io::Error;

    /// An accepted stream.
    fn try_from(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(stream.into()))
    }
}

impl Socket {
    /// Starts to connect. [`send`](Self::send) would block until the connection is established.
    /// `source`: the source address. `nodelay`: for a stream with consecutive requests.
    pub fn connect(to: &Peer, source: Option<Ipv4Addr>, nodelay: bool) -> io::Result<Self> {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::socket(to.family(), kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor; nothing else owns it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        if nodelay && to.family() != libc::AF_UNIX {
            socket.set(libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
        }
        if let Some(source) = source {
            // The kernel chooses the port when it knows the whole pair, so each address has all ports.
            socket.set(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
            let from = Peer::tcp((source, 0).into());
            // SAFETY: the address outlives the call, and its length is passed.
            check(unsafe { libc::bind(fd, from.pointer(), from.len) })?;
        }
        // SAFETY: the address outlives the call, and its length is passed.
        match check(unsafe { libc::connect(fd, to.pointer(), to.len) }) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(socket),
        }
    }

    fn set(&self, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
        let on: libc::c_int = 1;
        let len = size_of_val(&on) as libc::socklen_t;
        let fd = self.0.as_raw_fd();
        // SAFETY: the value is a `c_int` that outlives the call, and its size is passed.
        check(unsafe { libc::setsockopt(fd, level, option, (&raw const on).cast(), len) })
    }

    /// Makes the close a reset, so no port stays in TIME-WAIT.
    pub fn reset_when_closed(&self) -> io::Result<()> {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let len = size_of_val(&linger) as libc::socklen_t;
        let (fd, level) = (self.0.as_raw_fd(), libc::SOL_SOCKET);
        let value = (&raw const linger).cast();
        // SAFETY: the value is a `linger` that outlives the call, and its size is passed.
        check(unsafe { libc::setsockopt(fd, level, libc::SO_LINGER, value, len) })
    }

    /// Why connecting failed.
    pub fn error(&self) -> io::Error {
        let mut error: libc::c_int = 0;
        let mut len = size_of_val(&error) as libc::socklen_t;
        let (fd, level) = (self.0.as_raw_fd(), libc::SOL_SOCKET);
        // SAFETY: the value is a `c_int` that outlives the call, and its size is passed.
        let done = check(unsafe {
            libc::getsockopt(fd, level, libc::SO_ERROR, (&raw mut error).cast(), &mut len)
        });
        done.err().unwrap_or_else(|| io::Error::from_raw_os_error(error))
    }

    /// Reads into the buffer. 0: the peer has closed.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let fd = self.0.as_raw_fd();
        // SAFETY: the kernel writes at most the buffer's length into it.
        let read = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        usize::try_from(read).map_err(|_| io::Error::last_os_error())
    }

    /// Sends bytes. Returns the number taken, which is 0 while the socket connects or is full.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let (fd, flags) = (self.0.as_raw_fd(), libc::MSG_NOSIGNAL);
        // SAFETY: the kernel reads no more than the slice's length.
        let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
        match usize::try_from(sent) {
            Ok(sent) => Ok(sent),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error),
            },
        }
    }
}

/// Edge-triggered epoll: a socket is added once and reports every event until it closes.
/// Level-triggered epoll would check every socket again after each of its events.
pub struct Epoll(OwnedFd);

/// An event of a socket.
pub type Event = libc::epoll_event;

impl Epoll {
    /// Creates an instance without sockets.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        check(fd.min(0))?;
        // SAFETY: the kernel has just given us this descriptor; nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches a socket; its events carry this number.
    pub fn add(&self, socket: &impl AsRawFd, number: u32) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = Event { events: interest as u32, u64: u64::from(number) };
        let (epoll, fd) = (self.0.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: the event outlives the call; a descriptor that isn't open is an error, not harm.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event) })
    }

    /// Waits for events with nanosecond precision (`epoll_pwait2`, Linux 5.11). The plain call counts
    /// in milliseconds, in which a server answers a hundred requests. Returns the number of events.
    pub fn wait(&self, events: &mut [Event], timeout: Duration) -> io::Result<usize> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().min(1 << 30) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: the kernel writes at most as many events as the slice has, reads one `timespec`
        // that outlives the call, and takes no signal mask where its pointer is null.
        let ready = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as libc::c_int,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        match usize::try_from(ready) {
            Ok(ready) => Ok(ready),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }
}

/// Makes the kernel wake this thread at the requested time instead of up to 50 us later.
pub fn wake_on_time() -> Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) })
        .because(|| "asking for exact timers".into())
}

/// CPU time of the calling thread, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec` to a place that is one.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    debug_assert_eq!(done, 0, "the clock exists on every Linux");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn check(returned: libc::c_int) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
