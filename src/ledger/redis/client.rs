//! A blocking connection to the Redis ledger, for threads that are no core: the operator's commands,
//! the sweep, the audit, the orders.
//!
//! It connects when it is first used and anew after a failure, so its owner only decides how long to
//! wait before it asks again. It says of every failure whether anything can have happened. Beside
//! the ledger's own commands it carries any other, alone or many in one round trip.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Parser, Value};
use rustix::net::sockopt::set_socket_keepalive;
use rustix::net::{RecvFlags, recv};

use super::reply::{classify, error_text};
use super::resp::{bulk, command};
use super::stream::Stream;
use super::{Codec, DecodeError, HandshakeError, RedisLedger, decode, handshake, load_scripts};
use super::{audit, index};
use crate::ledger::client::{Client, SaleAudit};
use crate::ledger::{Batch, BatchReply, GroupReply, LedgerError};
use crate::limits::{CLIENT_ANSWER_DEADLINE_MS, CLIENT_CONNECT_DEADLINE_MS};
use crate::sale::{Command, SaleId};

/// Members of the index that one SSCAN is to return, about.
const SCAN_COUNT: &[u8] = b"1000";

/// Commands that go out in one round trip.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    bytes: Vec<u8>,
    count: usize,
}

impl Pipeline {
    /// One with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a command: its name and its arguments.
    pub fn add(&mut self, arguments: &[&[u8]]) -> &mut Self {
        command(&mut self.bytes, arguments.len());
        arguments.iter().for_each(|argument| bulk(&mut self.bytes, argument));
        self.count += 1;
        self
    }

    /// How many commands it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// See the module's header.
///
/// For the ledger's commands it is a [`Client`]. Those who need more of Redis (a consumer group, a
/// scan) use [`command`](Self::command) and [`pipeline`](Self::pipeline); names of keys come from
/// `codec().keys()`.
pub struct RedisClient {
    ledger: Arc<RedisLedger>,
    name: String,
    answer_time: Duration,
    connection: Option<Connection>,
    connections: u64,
}

impl RedisClient {
    /// A client that is not connected yet. `name` is what `CLIENT LIST` shows for it, printable and
    /// without spaces.
    pub fn new(ledger: Arc<RedisLedger>, name: &str) -> Self {
        let answer_time = Duration::from_millis(CLIENT_ANSWER_DEADLINE_MS);
        Self { ledger, name: name.to_owned(), answer_time, connection: None, connections: 0 }
    }

    /// The codec, and with it the names of the keys.
    pub fn codec(&self) -> &Codec {
        &self.ledger.codec
    }

    /// How long an answer may take from now on, [`CLIENT_ANSWER_DEADLINE_MS`] at first. For a
    /// command that blocks (`XREADGROUP … BLOCK`), longer than it may block.
    pub fn set_answer_time(&mut self, time: Duration) {
        self.answer_time = time;
    }

    /// Connects unless it is connected. Everything else does so by itself; this tells a failure that
    /// passes from one that an operator must see to.
    pub fn connect(&mut self) -> Result<(), HandshakeError> {
        if self.connection.as_ref().is_some_and(Connection::is_stale) {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.connection = Some(Connection::open(&self.ledger, &self.name)?);
            self.connections += 1;
        }
        Ok(())
    }

    /// How many connections it has made: with another, what was learned before may not hold.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Carries out any one command and returns its reply.
    ///
    /// # Errors
    /// An error reply of Redis is [`LedgerError::Refused`] whose text begins with Redis' code
    /// (`NOGROUP …`), since a command of Redis is carried out or not; but a script (`EVAL…`,
    /// `FCALL…`) may have been [`LedgerError::Lost`] half way.
    pub fn command(&mut self, arguments: &[&[u8]]) -> Result<Value, LedgerError> {
        let mut one = Pipeline::new();
        match self.pipeline(one.add(arguments))?.remove(0) {
            Value::ServerError(error) => {
                let name = arguments.first().map(|name| name.to_ascii_uppercase());
                let name = name.unwrap_or_default();
                let script = name.starts_with(b"EVAL") || name.starts_with(b"FCALL");
                Err(if script {
                    classify(&error).into()
                } else {
                    LedgerError::Refused(error_text(&error))
                })
            }
            reply => Ok(reply),
        }
    }

    /// Carries out commands in one round trip and returns one reply for each. An error reply of
    /// Redis stands in its place as [`Value::ServerError`]: the others were carried out all the same.
    ///
    /// # Errors
    /// [`LedgerError::Refused`]: nothing was sent. [`LedgerError::Lost`]: some or all may have been
    /// carried out.
    pub fn pipeline(&mut self, commands: &Pipeline) -> Result<Vec<Value>, LedgerError> {
        self.exchange(&commands.bytes, commands.count)
    }

    /// Carries out a batch, with a result for each of its groups.
    ///
    /// # Errors
    /// As [`pipeline`](Self::pipeline).
    pub fn apply_each(
        &mut self,
        batch: &Batch,
    ) -> Result<Vec<Result<GroupReply, LedgerError>>, LedgerError> {
        self.check_removal(batch)?;
        let created = index::created(batch);
        self.register(&created)?;
        let mut replies = self.groups(batch)?;
        if replies.iter().any(|reply| matches!(reply, Err(DecodeError::NoScript))) {
            // Redis has been restarted or flushed. What it did not know it did not do.
            self.load_scripts()?;
            for (group, reply) in batch.groups.iter().zip(&mut replies) {
                if matches!(reply, Err(DecodeError::NoScript)) {
                    let again = Batch { groups: vec![group.clone()] };
                    *reply = self.groups(&again)?.swap_remove(0);
                }
            }
        }
        if replies.iter().any(|reply| reply.as_ref().is_err_and(DecodeError::is_demotion)) {
            self.connection = None;
        }
        // What is done is done: the index can be mended later, by whoever meets the sale.
        let _ = self.register(&created);
        let _ = self.forget(&index::removed(batch, &replies));
        Ok(replies.into_iter().map(|reply| reply.map_err(LedgerError::from)).collect())
    }

    /// Adds sales to the index.
    pub fn register(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError> {
        if sales.is_empty() {
            return Ok(());
        }
        let ledger = self.ledger.clone();
        self.index(|out| index::add(ledger.codec.keys(), sales, out))
    }

    /// Removes sales from the index that are gone, but not one that is there after all.
    pub fn forget(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError> {
        if sales.is_empty() {
            return Ok(());
        }
        let ledger = self.ledger.clone();
        let keys = ledger.codec.keys();
        self.index(|out| index::remove(keys, sales, out))?;
        let mut request = Vec::new();
        sales.iter().for_each(|sale| index::exists(keys, sale, &mut request));
        let there = index::found(sales, &self.exchange(&request, sales.len())?)?;
        self.register(&there)
    }

    /// Notes that a consumer group reads the sales' streams, and gives all that do.
    pub fn join_groups(&mut self, group: &str) -> Result<Vec<String>, LedgerError> {
        let key = self.codec().keys().groups();
        let mut join = Pipeline::new();
        join.add(&[b"SADD", key.as_bytes(), group.as_bytes()]);
        join.add(&[b"SMEMBERS", key.as_bytes()]);
        let mut replies = self.pipeline(&join)?;
        replies.iter().try_for_each(|reply| index::judge(self.codec().keys(), reply))?;
        let members = replies.remove(1);
        redis::from_redis_value(members).map_err(|error| LedgerError::Refused(error.to_string()))
    }

    /// A sale that is removed takes its stream along. The script sees the groups that have begun with
    /// it; one that has not begun yet is seen here.
    fn check_removal(&mut self, batch: &Batch) -> Result<(), LedgerError> {
        for group in batch.groups.iter().filter(|g| g.commands.contains(&Command::Remove)) {
            let keys = self.codec().keys();
            let (groups, stream) = (keys.groups(), keys.of(&group.sale).stream());
            let mut ask = Pipeline::new();
            ask.add(&[b"SMEMBERS", groups.as_bytes()]);
            ask.add(&[b"XINFO", b"GROUPS", stream.as_bytes()]);
            let mut replies = self.pipeline(&ask)?;
            // Without a stream there is nothing to read, and this is an error.
            let Value::Array(begun) = replies.remove(1) else { continue };
            let begun: Vec<String> = begun.into_iter().filter_map(group_name).collect();
            let groups: Vec<String> = redis::from_redis_value(replies.remove(0))
                .map_err(|error| LedgerError::Refused(error.to_string()))?;
            if let Some(name) = groups.iter().find(|name| !begun.contains(name)) {
                return Err(LedgerError::Refused(format!(
                    "the group {name} has yet to read the stream of {}: remove the sale when it \
                     has, or the group from {} if nobody needs it any more",
                    group.sale,
                    self.codec().keys().groups()
                )));
            }
        }
        Ok(())
    }

    /// How many members the index of sales has.
    pub fn sales_count(&mut self) -> Result<u64, LedgerError> {
        let key = self.codec().keys().index();
        let mut count = Pipeline::new();
        let reply = self.pipeline(count.add(&[b"SCARD", key.as_bytes()]))?.remove(0);
        index::judge(self.codec().keys(), &reply)?;
        redis::from_redis_value(reply).map_err(|error| LedgerError::Refused(error.to_string()))
    }

    /// One command about the index.
    fn index(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), LedgerError> {
        let mut request = Vec::new();
        write(&mut request);
        let reply = self.exchange(&request, 1)?.remove(0);
        Ok(index::judge(self.codec().keys(), &reply)?)
    }

    fn groups(
        &mut self,
        batch: &Batch,
    ) -> Result<Vec<Result<GroupReply, DecodeError>>, LedgerError> {
        let mut request = Vec::new();
        let codec = &self.ledger.codec;
        let counts: Vec<usize> =
            batch.groups.iter().map(|group| codec.encode(group, &mut request)).collect();
        let values = self.exchange(&request, counts.iter().sum())?;
        let mut rest = values.as_slice();
        let replies = batch.groups.iter().zip(counts).map(|(group, count)| {
            let (own, others) = rest.split_at(count);
            rest = others;
            decode(group, own)
        });
        Ok(replies.collect())
    }

    fn load_scripts(&mut self) -> Result<(), LedgerError> {
        self.connect().map_err(refused)?;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        connection.stream.socket_mut().set_time(self.answer_time);
        load_scripts(&mut connection.stream, self.ledger.codec.scripts()).map_err(|error| {
            self.connection = None;
            // Others of the batch may have been carried out.
            LedgerError::Lost(error.to_string())
        })
    }

    fn exchange(&mut self, request: &[u8], replies: usize) -> Result<Vec<Value>, LedgerError> {
        if replies == 0 {
            return Ok(Vec::new());
        }
        self.connect().map_err(refused)?;
        let connection = self.connection.as_mut().expect("just connected");
        connection.exchange(request, replies, self.answer_time).map_err(|error| {
            self.connection = None;
            LedgerError::Lost(error.to_string())
        })
    }
}

fn refused(error: HandshakeError) -> LedgerError {
    LedgerError::Refused(error.to_string())
}

impl Client for RedisClient {
    fn apply(&mut self, batch: &Batch) -> Result<BatchReply, LedgerError> {
        let replies = self.apply_each(batch)?;
        let failures = replies.iter().filter_map(|reply| reply.as_ref().err());
        let lost = failures.clone().find(|error| matches!(error, LedgerError::Lost(_)));
        match (lost, failures.clone().count()) {
            (Some(lost), _) => Err(lost.clone()),
            (None, 0) => Ok(replies.into_iter().filter_map(Result::ok).collect()),
            (None, some) if some < replies.len() => {
                let text = failures.map(LedgerError::to_string).next().unwrap_or_default();
                Err(LedgerError::Lost(format!("part of it was carried out: {text}")))
            }
            _ => replies.into_iter().collect(),
        }
    }

    fn can_split(&self) -> bool {
        true
    }

    fn sales(&mut self) -> Result<Vec<SaleId>, LedgerError> {
        let key = self.codec().keys().index();
        let mut sales = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = Pipeline::new();
            scan.add(&[b"SSCAN", key.as_bytes(), cursor.as_bytes(), b"COUNT", SCAN_COUNT]);
            let reply = self.pipeline(&scan)?.remove(0);
            index::judge(self.codec().keys(), &reply)?;
            let (next, members): (String, Vec<Vec<u8>>) = redis::from_redis_value(reply)
                .map_err(|error| LedgerError::Refused(error.to_string()))?;
            // What is no sale id somebody else has put there.
            let ids =
                members.iter().filter_map(|id| SaleId::from_ledger(str::from_utf8(id).ok()?).ok());
            sales.extend(ids);
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        sales.sort_unstable();
        sales.dedup();
        Ok(sales)
    }

    fn audit(&mut self, sale: &SaleId, repair: bool) -> Result<Option<SaleAudit>, LedgerError> {
        let keys = self.codec().keys().of(sale);
        audit::audit(self, &keys, sale, repair)
    }
}

impl audit::Ask for RedisClient {
    fn ask(&mut self, arguments: &[&[u8]]) -> Result<Value, LedgerError> {
        self.command(arguments)
    }
}

/// A connection on which no reply is outstanding.
struct Connection {
    stream: Stream<Timed>,
    parser: Parser,
}

impl Connection {
    fn open(ledger: &RedisLedger, name: &str) -> Result<Self, HandshakeError> {
        let settings = &ledger.settings;
        let deadline = Instant::now() + Duration::from_millis(CLIENT_CONNECT_DEADLINE_MS);
        let socket = Timed::connect(&settings.host, settings.port, deadline)?;
        let mut stream = Stream::open(socket, &settings.host, ledger.tls.as_ref())?;
        handshake(&mut stream, settings, name, ledger.codec.scripts())?;
        Ok(Self { stream, parser: Parser::new() })
    }

    fn exchange(
        &mut self,
        request: &[u8],
        replies: usize,
        time: Duration,
    ) -> io::Result<Vec<Value>> {
        self.stream.socket_mut().set_time(time);
        self.stream.write_all(request)?;
        self.stream.flush()?;
        (0..replies)
            .map(|_| self.parser.parse_value(&mut self.stream).map_err(io::Error::other))
            .collect()
    }

    /// Whether Redis has closed it since it was last used: nothing is lost by making another.
    fn is_stale(&self) -> bool {
        let tls = matches!(self.stream, Stream::Tls(_));
        let socket = self.stream.socket();
        match recv(&socket.stream, &mut [0u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(error) => !matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
            // TLS may have something to say for itself, such as a ticket.
            Ok((_, bytes)) => bytes == 0 || !tls,
        }
    }
}

/// A socket that blocks until a point in time and no longer, however little comes at a time.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    set_socket_keepalive(&stream, true)?;
                    return Ok(Self { stream, deadline });
                }
                Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
            }
        }
        Err(last)
    }

    fn set_time(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }
}

/// The time until then, which is not over.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late()) } else { Ok(left) }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

/// A socket's time-out comes as `WouldBlock`.
fn in_time<T>(done: io::Result<T>) -> io::Result<T> {
    done.map_err(|error| if error.kind() == io::ErrorKind::WouldBlock { late() } else { error })
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        in_time(self.stream.read(buffer))
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        in_time(self.stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The name in one group's answer to XINFO GROUPS, which begins with it.
fn group_name(group: Value) -> Option<String> {
    let Value::Array(parts) = group else { return None };
    redis::from_redis_value(parts.into_iter().nth(1)?).ok()
}
