//! A core's connection to Redis, in the core's own loop: open, sent and decided requests.

use std::collections::VecDeque;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use bench::error::{Because, Result, fail};
use bench::floor::Epoll;
use bench::one_sale;
use bench::resp::{self, Reply};
use redis::parse_redis_value;
use stampede::ledger::Group;
use stampede::ledger::ids::IdSource;
use stampede::ledger::redis::{Codec, KeyTemplates, RedisSettings, decode, handshake};
use stampede::limits::BATCH_MAX;
use stampede::sale::{Command, Outcome, ReservationId, Reserve, SaleId};

use crate::counts::Counts;
use crate::ledger::{Asked, Ledger, Seat};
use crate::nonblocking::send;

const READ_BUFFER_BYTES: usize = 64 * 1024;

/// A connection to Redis.
pub struct Link {
    stream: TcpStream,
    how: How,
    ids: IdSource,
    open: Vec<Asked>,
    flight: VecDeque<Asked>,
    input: Vec<u8>,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

/// How sales reach Redis.
enum How {
    /// In batches with stampede's script, one in flight.
    Batches { codec: Codec, group: Group, sent: u64 },
    /// One call per ticket, sent at the end of the round that brought the request.
    PerTicket { sha: String },
}

impl Link {
    /// Connects. The sale must exist. `per_ticket`: the SHA of the script.
    pub fn open(redis: SocketAddr, per_ticket: Option<String>) -> Result<Self> {
        let mut stream =
            TcpStream::connect(redis).because(|| format!("connecting to Redis at {redis}"))?;
        stream.set_nodelay(true)?;
        let how = match per_ticket {
            Some(sha) => How::PerTicket { sha },
            None => {
                let codec = Codec::new(KeyTemplates::default());
                let url = format!("redis://{redis}/0");
                let settings = RedisSettings::from_url(&url).because(|| url.clone())?;
                handshake(&mut stream, &settings, "floor_sales", codec.scripts())
                    .because(|| url)?;
                let sale = SaleId::new("ticket").because(|| "the sale".into())?;
                How::Batches { codec, group: Group { sale, commands: Vec::new() }, sent: 0 }
            }
        };
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            how,
            ids: IdSource::default(),
            open: Vec::new(),
            flight: VecDeque::new(),
            input: Vec::new(),
            buffer: vec![0; READ_BUFFER_BYTES],
            out: Vec::new(),
        })
    }

    /// Sends as much as the socket takes, and waits for room if bytes are left.
    fn send(&mut self, epoll: &Epoll) -> Result<()> {
        let sent = send(&mut self.stream, &self.out).because(|| "sending to Redis".into())?;
        self.out.drain(..sent);
        if !self.out.is_empty() {
            epoll.watch(self.fd(), libc::EPOLLIN | libc::EPOLLOUT)?;
        }
        Ok(())
    }
}

impl Ledger for Link {
    fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    fn join(&mut self, seat: Seat) {
        let batch = match &self.how {
            How::Batches { sent, .. } => *sent,
            // Each call is one of its own.
            How::PerTicket { .. } => 0,
        };
        self.open.push((seat, self.ids.next_id(batch)));
    }

    fn leave(&mut self, epoll: &Epoll, counts: &Counts) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        match &mut self.how {
            How::Batches { .. } if !self.flight.is_empty() => return Ok(()),
            How::Batches { codec, group, sent } => {
                *sent += 1;
                let count = self.open.len().min(BATCH_MAX);
                self.flight.extend(self.open.drain(..count));
                group.commands.clear();
                group.commands.extend(self.flight.iter().map(|(_, id)| ask_for(*id)));
                codec.encode(group, &mut self.out);
                counts.add_batches(1, count as u64);
            }
            How::PerTicket { sha } => {
                for (_, id) in &self.open {
                    let id = id.to_string();
                    // No user is named, and the claim is unique.
                    one_sale::pack_sale(&mut self.out, sha, &id, "", &id);
                }
                let count = self.open.len() as u64;
                self.flight.extend(self.open.drain(..));
                counts.add_batches(count, count);
            }
        }
        self.send(epoll)
    }

    fn turn(
        &mut self,
        events: u32,
        epoll: &Epoll,
        decided: &mut Vec<(Seat, Option<ReservationId>)>,
    ) -> Result<()> {
        if events & libc::EPOLLOUT as u32 != 0 {
            self.send(epoll)?;
            if self.out.is_empty() {
                epoll.watch(self.fd(), libc::EPOLLIN)?;
            }
        }
        match self.stream.read(&mut self.buffer) {
            Ok(0) => return fail("Redis closed the connection"),
            Ok(len) => self.input.extend_from_slice(&self.buffer[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).because(|| "reading from Redis".into()),
        }
        let mut used = 0;
        while let Some(len) = resp::complete(&self.input[used..])? {
            let reply = &self.input[used..used + len];
            used += len;
            match &self.how {
                How::Batches { group, .. } => {
                    let value = parse_redis_value(reply).because(|| "a reply of Redis".into())?;
                    let outcomes = decode(group, &[value]).because(|| "a reply of Redis".into())?;
                    for (outcome, (seat, id)) in outcomes.outcomes.iter().zip(self.flight.drain(..))
                    {
                        match outcome {
                            Outcome::Granted { .. } => decided.push((seat, Some(id))),
                            Outcome::SoldOut { .. } => decided.push((seat, None)),
                            other => {
                                return fail(format!("Redis answered a purchase with {other:?}"));
                            }
                        }
                    }
                }
                How::PerTicket { .. } => {
                    let Some((seat, id)) = self.flight.pop_front() else {
                        return fail("Redis sent an answer without a request");
                    };
                    match resp::parse(reply)? {
                        Some((Reply::Integer(1), _)) => decided.push((seat, Some(id))),
                        Some((Reply::Integer(0), _)) => decided.push((seat, None)),
                        other => {
                            return fail(format!(
                                "Redis answered the creation of the sale with {other:?}"
                            ));
                        }
                    }
                }
            }
        }
        self.input.drain(..used);
        Ok(())
    }
}

/// A command for one unit without a user, like `/buy/ticket`.
fn ask_for(id: ReservationId) -> Command {
    Command::Reserve(Reserve { id, quantity: 1, user: None, key: None, trace: None, details: None })
}
