//! The floor of a sale: the floor's epoll loop with one connection to Redis, or with a journal instead
//! of Redis.
//!
//! Requests join the open batch. A batch goes out at the end of a round of events once the previous
//! batch is answered. From Redis ([`link`]), it uses stampede's own script and bytes. With
//! `--per-ticket`, each request goes out at the end of its round as its own EVALSHA, pipelined on the
//! same connection. From a journal ([`disk`]), a separate thread makes one write and one fdatasync per
//! batch. Once the sale is sold out, the loop rejects every request at once.
//!
//! Like the floor, it parses only the end of a request and enforces no bound. It ends if Redis or the
//! disk fails: it is a yardstick and no server. At its end it prints `batches=N requests=N` on
//! standard error.

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bench::answer::{self, RESERVATION_CHARACTERS, SOLD_OUT};
use bench::error::{Because, Result};
use bench::fill::Filler;
use bench::floor::{Epoll, Place, Scanner, Second, encode};
use bench::{one_sale, resp};
use clap::Parser;
use rustix::net::{SocketFlags, accept_with};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use stampede::sale::ReservationId;

use counts::Counts;
use disk::{Disk, Mailbox};
use ledger::{Ledger, Seat};
use link::Link;
use nonblocking::send;

mod counts;
mod disk;
mod ledger;
mod link;
mod nonblocking;

const EVENTS_MAX: usize = 512;
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Longer than any run, so no hold expires.
const HOLD_MS: u64 = 24 * 60 * 60 * 1000;

/// Runs a bare epoll loop that sells from Redis or a journal without checks: the floor of a sale.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    place: Place,
    /// Address of Redis.
    #[arg(long, default_value = "127.0.0.1:6379")]
    redis: SocketAddr,
    /// Tickets of the sale, if the program creates it.
    #[arg(long, default_value_t = 10_000)]
    total: u64,
    /// Send one EVALSHA per ticket, with the script of `one_evalsha`, instead of batches.
    #[arg(long)]
    per_ticket: bool,
    /// Sell from a journal in this folder instead of Redis.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["redis", "per_ticket"])]
    journal: Option<PathBuf>,
}

fn main() {
    if let Err(failure) = run(Settings::parse()) {
        eprintln!("floor_sales: {failure}");
        std::process::exit(1);
    }
}

fn run(settings: Settings) -> Result<()> {
    let Settings { place, redis, total, per_ticket, journal } = settings;
    let counts = Arc::new(Counts::default());
    tell_at_the_end(counts.clone())?;
    if let Some(folder) = journal {
        let disk = Disk::start(&folder, total)?;
        return place.run(move |listener| serve(&listener, Mailbox::open(disk.clone())?, &counts));
    }
    let sha = match per_ticket {
        true => Some(one_sale::prepare(&mut resp::Connection::open(redis)?, total)?),
        false => {
            Filler::open(redis, "ticket")?.create(total, HOLD_MS)?;
            None
        }
    };
    place.run(move |listener| serve(&listener, Link::open(redis, sha.clone())?, &counts))
}

fn tell_at_the_end(counts: Arc<Counts>) -> Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).because(|| "waiting for signals".into())?;
    let tell = move || {
        if signals.forever().next().is_some() {
            let Counts { batches, requests } = &*counts;
            eprintln!("batches={} requests={}", batches.load(Relaxed), requests.load(Relaxed));
            std::process::exit(0);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(tell)?;
    Ok(())
}

/// One core's loop.
fn serve<L: Ledger>(listener: &TcpListener, ledger: L, counts: &Counts) -> Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd())?;
    epoll.add(ledger.fd())?;
    let mut floor = Floor {
        epoll,
        ledger,
        connections: Vec::new(),
        serial: 0,
        answers: Answers::new(),
        scanner: Scanner::default(),
        input: vec![0; READ_BUFFER_BYTES],
        decided: Vec::new(),
        sold_out: false,
    };
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
    loop {
        let ready = floor.epoll.wait(&mut events)?;
        floor.answers.refresh();
        for event in &events[..ready] {
            let fd = event.u64 as RawFd;
            if fd == floor.ledger.fd() {
                floor.settle(event.events)?;
            } else if fd == listener.as_raw_fd() {
                floor.accept(listener)?;
            } else if floor.turn(fd, event.events).is_err() {
                floor.drop_connection(fd);
            }
        }
        floor.ledger.leave(&floor.epoll, counts)?;
    }
}

struct Floor<L> {
    epoll: Epoll,
    ledger: L,
    /// Connections by descriptor.
    connections: Vec<Option<Connection>>,
    /// Number of the last connection.
    serial: u64,
    answers: Answers,
    scanner: Scanner,
    input: Vec<u8>,
    decided: Vec<(Seat, Option<ReservationId>)>,
    sold_out: bool,
}

struct Connection {
    socket: File,
    serial: u64,
    /// The remainder of one read, nearly always empty.
    unparsed: Vec<u8>,
    /// Unsent answers.
    output: Vec<u8>,
    /// Undecided requests.
    waiting: u32,
    closing: bool,
}

impl<L: Ledger> Floor<L> {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        // None left, or no descriptor left. Open connections go on in both cases.
        while let Ok(socket) = accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            let fd = socket.as_raw_fd();
            self.epoll.add(fd)?;
            if self.connections.len() <= fd as usize {
                self.connections.resize_with(fd as usize + 1, || None);
            }
            self.serial += 1;
            self.connections[fd as usize] = Some(Connection {
                socket: File::from(socket),
                serial: self.serial,
                unparsed: Vec::new(),
                output: Vec::new(),
                waiting: 0,
                closing: false,
            });
        }
        Ok(())
    }

    /// Closes the connection, which removes it from the epoll.
    fn drop_connection(&mut self, fd: RawFd) {
        self.connections[fd as usize] = None;
    }

    /// Handles one wake-up of a connection. `Err`: the connection has ended.
    fn turn(&mut self, fd: RawFd, events: u32) -> io::Result<()> {
        let connection = self.connections[fd as usize].as_mut().ok_or(io::ErrorKind::NotFound)?;
        if events & libc::EPOLLOUT as u32 != 0 {
            connection.flush()?;
            return match connection.output.is_empty() {
                true => self.epoll.watch(fd, libc::EPOLLIN),
                false => Ok(()),
            };
        }
        let len = match connection.socket.read(&mut self.input) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if connection.closing {
            return Ok(());
        }
        let scan = if connection.unparsed.is_empty() {
            let scan = self.scanner.scan(&self.input[..len]);
            connection.unparsed.extend_from_slice(&self.input[scan.used..len]);
            scan
        } else {
            connection.unparsed.extend_from_slice(&self.input[..len]);
            let scan = self.scanner.scan(&connection.unparsed);
            connection.unparsed.drain(..scan.used);
            scan
        };
        connection.closing = scan.closing;
        for _ in 0..scan.requests {
            // Answers keep their order: a rejection must not overtake a waiting request.
            if self.sold_out && connection.waiting == 0 {
                connection.output.extend_from_slice(&self.answers.sold_out);
            } else {
                connection.waiting += 1;
                self.ledger.join(Seat { fd, serial: connection.serial });
            }
        }
        connection.answer(&self.epoll)
    }

    /// Answers the decided requests. Adjacent answers to one connection go out together.
    fn settle(&mut self, events: u32) -> Result<()> {
        let mut decided = std::mem::take(&mut self.decided);
        self.ledger.turn(events, &self.epoll, &mut decided)?;
        for (at, (seat, granted)) in decided.iter().enumerate() {
            self.sold_out |= granted.is_none();
            let connection = self.connections.get_mut(seat.fd as usize).and_then(Option::as_mut);
            let Some(connection) = connection.filter(|c| c.serial == seat.serial) else {
                continue;
            };
            connection.waiting -= 1;
            match granted {
                Some(id) => self.answers.grant(*id, &mut connection.output),
                None => connection.output.extend_from_slice(&self.answers.sold_out),
            }
            let more = decided.get(at + 1).is_some_and(|(next, _)| next.fd == seat.fd);
            if !more && connection.answer(&self.epoll).is_err() {
                self.drop_connection(seat.fd);
            }
        }
        decided.clear();
        self.decided = decided;
        Ok(())
    }
}

impl Connection {
    /// Sends the answers. The bytes that the socket does not take go out when it has room.
    fn answer(&mut self, epoll: &Epoll) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        self.flush()?;
        if self.output.is_empty() {
            return Ok(());
        }
        epoll.watch(self.socket.as_raw_fd(), libc::EPOLLOUT)
    }

    /// `Err`: the connection has ended, also if all is answered and the client wants it closed.
    fn flush(&mut self) -> io::Result<()> {
        let sent = send(&mut self.socket, &self.output)?;
        self.output.drain(..sent);
        if self.output.is_empty() && self.closing && self.waiting == 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// Both answers, encoded again when the second in their Date changes.
struct Answers {
    second: Second,
    sold_out: Vec<u8>,
    /// The parts before and after the reservation's id.
    granted: (Vec<u8>, Vec<u8>),
}

impl Answers {
    fn new() -> Self {
        let mut answers =
            Self { second: Second::default(), sold_out: Vec::new(), granted: Default::default() };
        answers.refresh();
        answers
    }

    fn refresh(&mut self) {
        let Some(date) = self.second.changed() else { return };
        let answer = |body: &str| encode(&date, "application/json", body);
        self.sold_out = answer(SOLD_OUT).into_bytes();
        let id = "-".repeat(RESERVATION_CHARACTERS);
        let granted = answer(&answer::granted(&id));
        let (head, tail) = granted.split_once(&id).unwrap_or((&granted, ""));
        self.granted = (head.into(), tail.into());
    }

    fn grant(&self, id: ReservationId, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.granted.0);
        out.extend_from_slice(&id.to_text());
        out.extend_from_slice(&self.granted.1);
    }
}
