//! One blocking connection to a Redis, ready for the ledger's commands. A client has one, or one
//! per node of a Cluster.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use redis::{Parser, Value};

use super::codec::Codec;
use super::handshake::handshake;
use super::handshake_error::HandshakeError;
use super::pipeline::Pipeline;
use super::primary::Term;
use super::settings::Endpoint;
use super::shared::RedisLedger;
use super::timed::Timed;
use super::transport::Transport;

/// The answers of a round trip.
#[derive(Default)]
pub(super) struct Answers {
    /// One per command. An error: the command may have been carried out.
    pub(super) replies: Vec<Result<Value, String>>,
    /// The answer of `WAIT` after each command; empty if there was no `WAIT`.
    pub(super) waited: Vec<Option<Value>>,
}

/// A connection on which no reply is outstanding.
pub(super) struct Connection {
    stream: Transport<Timed>,
    parser: Parser,
    /// The ledger's codec, with the epoch of this connection.
    pub(super) codec: Codec,
    /// The term of the primary that it leads to, if Sentinels name it.
    pub(super) term: Option<Term>,
}

impl Connection {
    pub(super) fn open(
        ledger: &RedisLedger,
        endpoint: &Endpoint,
        term: Option<Term>,
        name: &str,
        time: Duration,
    ) -> Result<Self, HandshakeError> {
        let Endpoint { host, port } = endpoint;
        let socket = Timed::connect(host, *port, Instant::now() + time, term.clone())?;
        let mut stream = Transport::open(socket, host, ledger.tls.as_ref())?;
        let shaken = handshake(&mut stream, &ledger.settings, name, ledger.codec.scripts());
        term.as_ref().map_or(Ok(()), |term| term.may_begin(shaken.as_ref().err()))?;
        ledger.warn(shaken?);
        let codec = ledger.codec.in_epoch(term.as_ref().map(Term::epoch));
        Ok(Self { stream, parser: Parser::new(), codec, term })
    }

    /// Runs commands, with `wait` after them, which is a command with one answer, or empty.
    pub(super) fn exchange(
        &mut self,
        commands: &Pipeline,
        wait: &[u8],
        time: Duration,
    ) -> io::Result<Answers> {
        self.set_time(time);
        self.stream.write_all(commands.all())?;
        self.stream.write_all(wait)?;
        self.stream.flush()?;
        let mut answers = Answers::default();
        for _ in 0..commands.len() {
            answers.replies.push(Ok(self.value()?));
        }
        if !wait.is_empty() {
            answers.waited = vec![Some(self.value()?); commands.len()];
        }
        Ok(answers)
    }

    /// Reads one reply.
    pub(super) fn value(&mut self) -> io::Result<Value> {
        self.parser.parse_value(&mut self.stream).map_err(io::Error::other)
    }

    /// Sets how long a round trip may take.
    pub(super) fn set_time(&mut self, time: Duration) {
        self.stream.socket_mut().set_time(time);
    }

    /// The stream, while no reply is outstanding.
    pub(super) fn stream(&mut self) -> &mut Transport<Timed> {
        &mut self.stream
    }

    /// Whether Redis has closed it since its last use, or is no longer the primary: another
    /// connection loses nothing.
    pub(super) fn is_stale(&self) -> bool {
        self.stream.socket().is_stale(matches!(self.stream, Transport::Tls(_)))
    }
}
