//! Asks the Sentinels where the primary is: one thread per Sentinel, so that one that is away does
//! not delay the others, and none on a core.
//!
//! A thread asks on one connection, at intervals and at every message on another, on which it has
//! subscribed to the events of a failover. So a promotion is known within milliseconds, or within
//! an interval if the subscription has died unnoticed.

use std::io::{self, Read, Write};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Parser, ServerError, Value};
use rustls::ClientConfig;

use super::decode_error::error_text;
use super::handshake_error::HandshakeError;
use super::primary::{Primary, PrimaryAddr, Report};
use super::resp::text_command;
use super::settings::{Endpoint, Password};
use super::timed::Timed;
use super::tls::explained;
use super::transport::Transport;
use super::value::text;
use crate::limits::{EPOCH_MAX, SENTINEL_ANSWER_DEADLINE_MS, SENTINEL_POLL_INTERVAL_MS};

/// The messages of a Sentinel when it learns of another primary. The leader of a failover sends the
/// second as soon as the new primary takes writes, and the first only when the failover is
/// complete.
const CHANNELS: [&str; 3] = ["+switch-master", "+promoted-slave", "+config-update-from"];

/// The login at the Sentinels, if they require one.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Password,
}

/// Follows the reports of these Sentinels about a primary, for as long as it is in use.
pub(super) fn follow(
    primary: &Arc<Primary>,
    sentinels: &[Endpoint],
    tls: Option<&Arc<ClientConfig>>,
    login: Option<&Login>,
) {
    for (number, endpoint) in sentinels.iter().enumerate() {
        let follower = Follower {
            primary: Arc::downgrade(primary),
            name: primary.name().to_owned(),
            number,
            endpoint: endpoint.clone(),
            tls: tls.cloned(),
            login: login.cloned(),
        };
        let builder = thread::Builder::new().name(format!("sentinel-{number}"));
        if let Err(error) = builder.spawn(move || follower.run()) {
            let reason = format!("no thread to ask {endpoint} by: {error}");
            primary.note(number, Report::Failed { reason, fatal: false }, Instant::now());
        }
    }
}

/// The thread of one Sentinel.
struct Follower {
    primary: Weak<Primary>,
    name: String,
    number: usize,
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
    login: Option<Login>,
}

impl Follower {
    fn run(self) {
        loop {
            let Err(error) = self.listen().map_err(explained) else { return };
            let Some(primary) = self.primary.upgrade() else { return };
            let fatal = error.is_fatal();
            let reason = match error {
                HandshakeError::Io(error) => format!("{}: {error}", self.endpoint),
                HandshakeError::NotReady(text)
                | HandshakeError::NoPrimary(text)
                | HandshakeError::Fatal(text) => format!("{}: {text}", self.endpoint),
            };
            primary.note(self.number, Report::Failed { reason, fatal }, Instant::now());
            drop(primary);
            thread::sleep(Duration::from_millis(SENTINEL_POLL_INTERVAL_MS));
        }
    }

    /// Asks again and again until something fails. Returns when the primary is no longer in use.
    fn listen(&self) -> Result<(), HandshakeError> {
        let mut asked = self.connect()?;
        let mut told = self.connect()?;
        let subscribe: Vec<&str> = std::iter::once("SUBSCRIBE").chain(CHANNELS).collect();
        told.send(&[&subscribe], CHANNELS.len())?;
        loop {
            // Only writes before the question can be in its answer.
            let now = Instant::now();
            let seat = self.ask(&mut asked)?;
            let Some(primary) = self.primary.upgrade() else { return Ok(()) };
            primary.note(self.number, Report::Primary(seat), now);
            drop(primary);
            told.wait(Duration::from_millis(SENTINEL_POLL_INTERVAL_MS))?;
        }
    }

    fn connect(&self) -> Result<SentinelConnection, HandshakeError> {
        let time = Duration::from_millis(SENTINEL_ANSWER_DEADLINE_MS);
        let Endpoint { host, port } = &self.endpoint;
        let socket = Timed::connect(host, *port, Instant::now() + time, None)?;
        let stream = Transport::open(socket, host, self.tls.as_ref())?;
        let mut talk = SentinelConnection { stream, parser: Parser::new() };
        if let Some(Login { user, password }) = &self.login {
            let user = user.iter().map(String::as_str);
            let auth: Vec<&str> =
                std::iter::once("AUTH").chain(user).chain([password.reveal()]).collect();
            talk.send(&[&auth], 1)?;
        }
        Ok(talk)
    }

    /// The address comes from one command, since the other still shows the old address while a
    /// failover moves the replicas; the epoch comes from the other. Both are answered at the same
    /// time.
    fn ask(&self, talk: &mut SentinelConnection) -> Result<PrimaryAddr, HandshakeError> {
        let address = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &self.name];
        let state = ["SENTINEL", "MASTER", &self.name];
        let unknown = || {
            HandshakeError::Fatal(format!("this Sentinel watches no primary named {}", self.name))
        };
        let replies = talk.send(&[&address, &state], 2).map_err(|error| match error {
            HandshakeError::Fatal(text) if text.contains("No such master") => unknown(),
            error => error,
        })?;
        let [Value::Array(address), state] = &replies[..] else { return Err(unknown()) };
        let strange = || HandshakeError::NotReady("this is no answer of a Sentinel".to_owned());
        let texts: Vec<&str> = address.iter().filter_map(text).collect();
        let [host, port] = texts[..] else { return Err(strange()) };
        let port = port.parse().map_err(|_| strange())?;
        let epoch = field(state, "config-epoch").and_then(|epoch| epoch.parse().ok());
        let epoch: u64 = epoch.ok_or_else(strange)?;
        if epoch > EPOCH_MAX {
            // No sale can be written in a later one.
            let text = format!("it says epoch {epoch}, and {EPOCH_MAX} is the greatest we know");
            return Err(HandshakeError::NotReady(text));
        }
        let endpoint = Endpoint { host: host.to_owned(), port };
        Ok(PrimaryAddr { endpoint, epoch })
    }
}

/// One field of a reply that lists names and values in turn.
fn field<'a>(reply: &'a Value, name: &str) -> Option<&'a str> {
    let Value::Array(list) = reply else { return None };
    list.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name)).and_then(|pair| text(&pair[1]))
}

/// A connection to a Sentinel.
struct SentinelConnection {
    stream: Transport<Timed>,
    parser: Parser,
}

impl SentinelConnection {
    /// Sends commands and reads `replies` replies. An error reply is an error.
    fn send(&mut self, commands: &[&[&str]], replies: usize) -> Result<Vec<Value>, HandshakeError> {
        let mut request = Vec::new();
        commands.iter().for_each(|command| text_command(&mut request, command));
        let time = Duration::from_millis(SENTINEL_ANSWER_DEADLINE_MS);
        self.stream.socket_mut().set_time(time);
        self.stream.write_all(&request)?;
        self.stream.flush()?;
        let one = |_| match self.parser.parse_value(&mut self.stream) {
            Ok(Value::ServerError(error)) => Err(judge(&error)),
            Ok(value) => Ok(value),
            Err(error) => Err(HandshakeError::Io(io::Error::other(error))),
        };
        (0..replies).map(one).collect()
    }

    /// Waits until a message arrives, or for this long. Its content does not matter: the caller
    /// asks then.
    fn wait(&mut self, time: Duration) -> io::Result<()> {
        self.stream.socket_mut().set_time(time);
        match self.stream.read(&mut [0; 4096]) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
            Err(error) if error.kind() != io::ErrorKind::TimedOut => Err(error),
            _ => Ok(()),
        }
    }
}

/// Classifies an error reply by whether the operator must act.
fn judge(error: &ServerError) -> HandshakeError {
    let text = error_text(error);
    match error.code() {
        "NOAUTH" => HandshakeError::Fatal(format!(
            "it wants a password, which is set by STAMPEDE_REDIS_SENTINEL_PASSWORD ({text})"
        )),
        "WRONGPASS" => HandshakeError::Fatal(format!("wrong user or password ({text})")),
        "NOPERM" => HandshakeError::Fatal(format!("this user may not do that ({text})")),
        "ERR" if text.contains("unknown command") => {
            HandshakeError::Fatal(format!("this is no Sentinel ({text})"))
        }
        "ERR" if !text.contains("max number of clients") => HandshakeError::Fatal(text),
        _ => HandshakeError::NotReady(text),
    }
}
