//! The second floor: the same least work as `floor`, through io_uring instead of epoll.
//!
//! The loop keeps one multishot accept, and one multishot receive per connection. Input arrives in
//! buffers that the kernel chooses. Sockets are entries of the ring's own table instead of
//! descriptors. One system call submits all sends of a round and waits for the next. A busy server
//! therefore makes fewer system calls than it answers requests.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use bench::answer::Content;
use bench::error::{Because, Result};
use bench::floor::{Answers, BLOCK_ANSWERS, BufferRing, Scanner, Settings};
use bench::pin;
use clap::Parser;
use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};

const SUBMISSIONS: u32 = 4096;
const COMPLETIONS: u32 = 32_768;
const BUFFERS: u16 = 1024;
const BUFFER_BYTES: u32 = 4096;
const BUFFER_GROUP: u16 = 0;
/// The kernel's limit of a ring's file table.
const CONNECTIONS_MAX: u64 = 32_768;

/// Runs a bare io_uring loop that gives every request the same answer: the second floor of stampede.
///
/// Needs Linux 6.0 and permission to use io_uring, which containers often deny.
#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    settings: Settings,
}

fn main() {
    let Settings { place, answer } = CommandLine::parse().settings;
    if let Err(failure) = place.run(move |listener| serve(&listener, answer)) {
        eprintln!("floor_uring: {failure}");
        std::process::exit(1);
    }
}

/// One core's loop.
fn serve(listener: &TcpListener, content: Content) -> Result<()> {
    // On a non-blocking socket, an accept without a waiting connection would fail instead of wait.
    listener.set_nonblocking(false)?;
    let mut floor = Floor::new(listener, content)?;
    floor.accept()?;
    let mut completed = Vec::with_capacity(COMPLETIONS as usize);
    loop {
        match floor.ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.because(|| "waiting for completions".into())?,
        };
        floor.answers.refresh();
        completed.extend(floor.ring.completion());
        for completion in completed.drain(..) {
            floor.complete(&completion)?;
        }
    }
}

/// The kind of a completion. The other bits of its user data are the connection's place in the table.
#[derive(Clone, Copy)]
enum Kind {
    Accept,
    Receive,
    Send,
    /// Ignored: the end of a cancelled receive, or a close.
    End,
}

impl Kind {
    fn of(self, index: u32) -> u64 {
        u64::from(index) << 2 | self as u64
    }

    fn read(user_data: u64) -> (Self, u32) {
        let kinds = [Self::Accept, Self::Receive, Self::Send, Self::End];
        (kinds[(user_data & 3) as usize], (user_data >> 2) as u32)
    }
}

struct Floor {
    ring: IoUring,
    listener: Fd,
    accepting: bool,
    /// Connections by their place in the ring's file table.
    connections: Vec<Option<Connection>>,
    buffers: BufferRing,
    answers: Answers,
    scanner: Scanner,
}

/// A connection leaves the table when its receive has ended and no send is in flight. Then no
/// completion can be mistaken for one of the next connection in the same place.
#[derive(Default)]
struct Connection {
    unparsed: Vec<u8>,
    /// Answers that wait for the previous send.
    owed: usize,
    sending: Option<Sending>,
    /// The client asked to close the connection, or can't receive.
    closing: bool,
    /// The receive is being cancelled.
    stopping: bool,
    /// The receive has ended.
    ended: bool,
}

/// Holds the memory that the kernel reads from.
struct Sending {
    block: Rc<[u8]>,
    from: usize,
    to: usize,
}

impl Floor {
    fn new(listener: &TcpListener, content: Content) -> Result<Self> {
        let ring = ring().because(|| {
            "setting up io_uring (kernel.io_uring_disabled or a \
             container's seccomp profile may forbid it)"
                .into()
        })?;
        let places = pin::raise_descriptor_limit()?.min(CONNECTIONS_MAX) as u32;
        ring.submitter()
            .register_files_sparse(places)
            .because(|| format!("registering a table of {places} files"))?;
        let buffers = BufferRing::register(&ring.submitter(), BUFFER_GROUP, BUFFERS, BUFFER_BYTES)
            .because(|| "registering a ring of buffers".into())?;
        Ok(Self {
            ring,
            listener: Fd(listener.as_raw_fd()),
            accepting: false,
            connections: (0..places).map(|_| None).collect(),
            buffers,
            answers: Answers::new(content),
            scanner: Scanner::of(content),
        })
    }

    fn complete(&mut self, completion: &cqueue::Entry) -> Result<()> {
        let (result, flags) = (completion.result(), completion.flags());
        match Kind::read(completion.user_data()) {
            (Kind::Accept, _) => self.accepted(result, cqueue::more(flags)),
            (Kind::Receive, index) => self.received(index, result, flags),
            (Kind::Send, index) => self.sent(index, result),
            (Kind::End, _) => Ok(()),
        }
    }

    fn accept(&mut self) -> Result<()> {
        self.accepting = true;
        let accept = opcode::AcceptMulti::new(self.listener).allocate_file_index(true).build();
        self.push(accept.user_data(Kind::Accept.of(0)))
    }

    fn accepted(&mut self, result: i32, more: bool) -> Result<()> {
        self.accepting = more;
        match u32::try_from(result) {
            Ok(index) => {
                self.connections[index as usize] = Some(Connection::default());
                self.receive(index)?;
            }
            // The table is full. The next connection that ends makes room.
            Err(_) if result == -libc::ENFILE || result == -libc::EMFILE => return Ok(()),
            // The client disconnected before the accept.
            Err(_) => {}
        }
        if self.accepting { Ok(()) } else { self.accept() }
    }

    fn receive(&mut self, index: u32) -> Result<()> {
        let receive = opcode::RecvMulti::new(Fixed(index), BUFFER_GROUP).build();
        self.push(receive.user_data(Kind::Receive.of(index)))
    }

    fn received(&mut self, index: u32, result: i32, flags: u32) -> Result<()> {
        let Some(connection) = &mut self.connections[index as usize] else { return Ok(()) };
        if let Some(id) = cqueue::buffer_select(flags) {
            let input = self.buffers.filled(id, usize::try_from(result).unwrap_or(0));
            connection.read(input, &self.scanner);
            self.buffers.give_back(id);
        }
        if !cqueue::more(flags) {
            // All buffers were in use, or the kernel wants a new receive.
            if result > 0 || result == -libc::ENOBUFS {
                self.receive(index)?;
            } else {
                connection.ended = true;
            }
        }
        self.advance(index)
    }

    fn sent(&mut self, index: u32, result: i32) -> Result<()> {
        let Some(connection) = &mut self.connections[index as usize] else { return Ok(()) };
        let Some(mut sending) = connection.sending.take() else { return Ok(()) };
        match usize::try_from(result) {
            Ok(sent) => sending.from += sent,
            Err(_) => (connection.owed, connection.closing) = (0, true),
        }
        if result < 0 || sending.from < sending.to {
            // The linked operation did not happen.
            connection.stopping = false;
        }
        if result >= 0 && sending.from < sending.to {
            return self.send(index, sending);
        }
        self.advance(index)
    }

    /// Starts what a connection can do next.
    fn advance(&mut self, index: u32) -> Result<()> {
        let Some(connection) = &mut self.connections[index as usize] else { return Ok(()) };
        if connection.sending.is_some() {
            return Ok(());
        }
        if connection.owed > 0 {
            let (block, to) = self.answers.first(connection.owed);
            connection.owed -= connection.owed.min(BLOCK_ANSWERS);
            let sending = Sending { block: block.clone(), from: 0, to };
            return self.send(index, sending);
        }
        if connection.ended {
            self.connections[index as usize] = None;
            let close = opcode::Close::new(Fixed(index)).build();
            self.push(close.user_data(Kind::End.of(index)))?;
            return if self.accepting { Ok(()) } else { self.accept() };
        }
        if connection.closing && !connection.stopping {
            connection.stopping = true;
            return self.push(stop_receiving(index));
        }
        Ok(())
    }

    fn send(&mut self, index: u32, sending: Sending) -> Result<()> {
        let Some(connection) = &mut self.connections[index as usize] else { return Ok(()) };
        let bytes = &sending.block[sending.from..sending.to];
        let send = opcode::Send::new(Fixed(index), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_WAITALL)
            .build()
            .user_data(Kind::Send.of(index));
        connection.sending = Some(sending);
        if connection.closing && connection.owed == 0 {
            // The receive ends after the send, and the connection with it.
            connection.stopping = true;
            self.push(send.flags(squeue::Flags::IO_LINK))?;
            return self.push(stop_receiving(index));
        }
        self.push(send)
    }

    fn push(&mut self, entry: squeue::Entry) -> Result<()> {
        // SAFETY: all that an entry points to is an answer's block, which its connection holds until
        // the completion of the send.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit().because(|| "submitting".into())?;
        }
        Ok(())
    }
}

impl Connection {
    /// Counts the requests that are whole now.
    fn read(&mut self, input: &[u8], scanner: &Scanner) {
        if self.closing {
            return;
        }
        let scan = if self.unparsed.is_empty() {
            let scan = scanner.scan(input);
            self.unparsed.extend_from_slice(&input[scan.used..]);
            scan
        } else {
            self.unparsed.extend_from_slice(input);
            let scan = scanner.scan(&self.unparsed);
            self.unparsed.drain(..scan.used);
            scan
        };
        self.owed += scan.requests;
        self.closing = scan.closing;
    }
}

/// Cancels a connection's receive. A shutdown would end it too, but the kernel runs that on another
/// thread.
fn stop_receiving(index: u32) -> squeue::Entry {
    let receive = Kind::Receive.of(index);
    opcode::AsyncCancel::new(receive).build().user_data(Kind::End.of(index))
}

/// A ring that only this thread uses and that works only when asked. Older kernels lack both flags;
/// the ring then works without them.
fn ring() -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(COMPLETIONS);
    let mut best = builder.clone();
    best.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun();
    match best.build(SUBMISSIONS) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(SUBMISSIONS),
        other => other,
    }
}
