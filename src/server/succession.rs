//! Hands a server over to a new process of the same program, without refusing a connection:
//! SIGUSR2.
//!
//! The new process is started like the old one, from the same path, which may have a newer build by
//! now. It gets the listening sockets themselves (`SCM_RIGHTS`). Nothing is bound a second time,
//! and a connection in a socket's queue is accepted by the process that accepts next. Its standard
//! input is one end of a socket pair, on which the two processes talk:
//!
//! 1. the old one sends the sockets, with the setting that each was created for;
//! 2. the new one reports that it can sell ([`Message::Ready`]). Until then it accepts nothing. If
//!    it ends or takes too long, the old one continues unchanged;
//! 3. the old one reports that it has stopped accepting ([`Message::Take`]). Its connections end
//!    with their next answer. Now the new one accepts.
//!
//! Messages are JSON with a `format`, since the two are of different versions.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use rustix::stdio::{dup2_stdin, stdin};
use serde::{Deserialize, Serialize};

use super::inherited_sockets::InheritedSockets;
use super::listening::Socket;
use crate::limits::{
    HAND_OVER_MESSAGE_BYTES_MAX, HAND_OVER_SOCKETS_MAX, SUCCESSOR_READY_MS, SUCCESSOR_TAKE_MS,
};
use crate::logging::real_standard_error;

/// The variable that tells a process that standard input is the previous server.
const VARIABLE: &str = "STAMPEDE_PREDECESSOR";
/// The format of the messages.
const FORMAT: u32 = 1;
/// Interval of the check whether the new process lives.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
enum Message {
    Sockets {
        format: u32,
        version: String,
        /// The setting that each descriptor was created for.
        asked: Vec<String>,
        /// Whether more of these messages follow.
        more: bool,
    },
    Ready {
        format: u32,
        version: String,
    },
    Take {
        format: u32,
    },
}

/// One end of the socket pair.
struct Channel(OwnedFd);

impl Channel {
    fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut room =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HAND_OVER_SOCKETS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors in one message"));
        }
        sendmsg(&self.0, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message. An error: none has come in time, or the other process has ended.
    fn receive(&self, time: Duration) -> io::Result<(Message, Vec<OwnedFd>)> {
        self.await_message(time)?;
        let mut text = vec![0; HAND_OVER_MESSAGE_BYTES_MAX];
        let mut room =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HAND_OVER_SOCKETS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let mut pieces = [IoSliceMut::new(&mut text)];
        let got = recvmsg(&self.0, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::other("a message was cut off"));
        }
        Ok((serde_json::from_slice(&text[..got.bytes])?, descriptors))
    }

    fn await_message(&self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut watched = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut watched, Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn check_format(format: u32, version: &str) -> io::Result<()> {
    if format == FORMAT {
        return Ok(());
    }
    let told = format!(
        "a server of version {version} hands over in format {format}, and this one, {}, knows \
         {FORMAT}: restart it instead",
        env!("CARGO_PKG_VERSION")
    );
    Err(io::Error::new(io::ErrorKind::Unsupported, told))
}

/// The previous process, which hands over to this one.
pub struct Predecessor(Channel);

impl Predecessor {
    /// Whether a running server has started this process to hand over to it.
    pub fn is_there() -> bool {
        std::env::var_os(VARIABLE).is_some()
    }

    /// The process that has started this one to hand over, if any. Call it once.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn find() -> io::Result<Option<Self>> {
        if !Self::is_there() {
            return Ok(None);
        }
        let channel = rustix::io::fcntl_dupfd_cloexec(stdin(), 3)?;
        dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(Some(Self(Channel(channel))))
    }

    /// Its listening sockets.
    pub(super) fn sockets(&self) -> io::Result<InheritedSockets> {
        let mut sockets = Vec::new();
        loop {
            let (message, descriptors) =
                self.0.receive(Duration::from_millis(SUCCESSOR_TAKE_MS))?;
            let Message::Sockets { format, version, asked, more } = message else {
                return Err(unexpected());
            };
            check_format(format, &version)?;
            if asked.len() != descriptors.len() {
                return Err(unexpected());
            }
            sockets.extend(asked.into_iter().zip(descriptors));
            if !more {
                return InheritedSockets::by_predecessor(sockets);
            }
        }
    }

    /// Reports that this process can sell, and waits until it is to take over.
    pub(super) fn take_over(&self) -> io::Result<()> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.0.send(&Message::Ready { format: FORMAT, version }, &[])?;
        match self.0.receive(Duration::from_millis(SUCCESSOR_TAKE_MS))? {
            (Message::Take { format: FORMAT }, _) => Ok(()),
            _ => Err(unexpected()),
        }
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the server before said something unexpected")
}

/// The new process, which is ready to take over.
pub struct Successor {
    channel: Channel,
    child: Child,
    /// Its version.
    pub version: String,
}

impl Successor {
    /// Starts it on a thread. `done` receives whether it is ready to take over.
    pub(super) fn start(
        sockets: Vec<Socket>,
        done: impl FnOnce(io::Result<Self>) + Send + 'static,
    ) -> io::Result<()> {
        let run = move || done(Self::bring_up(&sockets));
        thread::Builder::new().name("successor".into()).spawn(run).map(drop)
    }

    fn bring_up(sockets: &[Socket]) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let channel = Channel(ours);
        let mut child = spawn(theirs)?;
        match talk(&channel, &mut child, sockets) {
            Ok(version) => Ok(Self { channel, child, version }),
            Err(error) => {
                // It would end by itself without us, but it must not do anything else.
                let _ = child.kill();
                let status = child.wait()?;
                let told = if error.kind() == io::ErrorKind::UnexpectedEof {
                    format!("it has ended ({status}); it has logged why")
                } else {
                    error.to_string()
                };
                Err(io::Error::new(error.kind(), told))
            }
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it accept from now on.
    pub(super) fn allow_take_over(&self) -> io::Result<()> {
        self.channel.send(&Message::Take { format: FORMAT }, &[])
    }
}

/// Starts this program again with the same arguments, from the same path.
fn spawn(channel: OwnedFd) -> io::Result<Child> {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| OsString::from("stampede"));
    let mut command = Command::new(program);
    command.args(arguments).env(VARIABLE, "stdin").stdin(channel);
    // These are meant for this process only.
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    if let Some(standard_error) = real_standard_error() {
        command.stderr(Stdio::from(standard_error.try_clone_to_owned()?));
    }
    command.spawn()
}

/// Sends it the sockets and waits until it can sell. Returns its version.
fn talk(channel: &Channel, child: &mut Child, sockets: &[Socket]) -> io::Result<String> {
    let pieces: Vec<_> = sockets.chunks(HAND_OVER_SOCKETS_MAX).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let message = Message::Sockets {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            asked: piece.iter().map(|one| one.asked.clone()).collect(),
            more: index + 1 < pieces.len(),
        };
        let descriptors: Vec<_> = piece.iter().map(|one| one.socket.as_fd()).collect();
        channel.send(&message, &descriptors)?;
    }
    let until = Instant::now() + Duration::from_millis(SUCCESSOR_READY_MS);
    loop {
        match channel.receive(LOOK_INTERVAL) {
            Ok((Message::Ready { format, version }, _)) => {
                check_format(format, &version)?;
                return Ok(version);
            }
            Ok(_) => return Err(unexpected()),
            Err(error) if error.kind() != io::ErrorKind::TimedOut => return Err(error),
            Err(_) if child.try_wait()?.is_some() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Err(_) if Instant::now() >= until => {
                let told = format!("it could not sell after {} s", SUCCESSOR_READY_MS / 1000);
                return Err(io::Error::new(io::ErrorKind::TimedOut, told));
            }
            Err(_) => {}
        }
    }
}
