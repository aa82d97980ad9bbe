//! Asking the Sentinels where the primary is: one thread for each, so that one that is away holds up
//! no other, and none for a core.
//!
//! A thread asks by one connection, at intervals and whenever something is told by another, on which
//! it has subscribed to what a failover makes a Sentinel say. So a promotion is known within
//! milliseconds, and within an interval where the subscription is dead and nobody has noticed.

use std::io::{self, Read, Write};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Parser, ServerError, Value};
use rustls::ClientConfig;

use super::decode_error::error_text;
use super::handshake_error::HandshakeError;
use super::primary::{Primary, Report, Seat};
use super::resp::text_command;
use super::settings::{Endpoint, Password};
use super::stream::Stream;
use super::timed::Timed;
use super::tls::explained;
use super::value::text;
use crate::limits::{EPOCH_MAX, SENTINEL_ANSWER_DEADLINE_MS, SENTINEL_POLL_INTERVAL_MS};

/// What a Sentinel tells of when it learns of another primary. The one that leads a failover says
/// the second as soon as the new primary takes writes, and the first only when all is done.
const CHANNELS: [&str; 3] = ["+switch-master", "+promoted-slave", "+config-update-from"];

/// Who we are at the Sentinels, if they want to know.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Password,
}

/// Follows what these Sentinels say of a primary for as long as somebody has it.
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

    /// Asks again and again until something fails. Returns when nobody wants to know any more.
    fn listen(&self) -> Result<(), HandshakeError> {
        let mut asked = self.connect()?;
        let mut told = self.connect()?;
        let subscribe: Vec<&str> = std::iter::once("SUBSCRIBE").chain(CHANNELS).collect();
        told.send(&[&subscribe], CHANNELS.len())?;
        loop {
            // What came before it was asked it may not have known.
            let now = Instant::now();
            let seat = self.ask(&mut asked)?;
            let Some(primary) = self.primary.upgrade() else { return Ok(()) };
            primary.note(self.number, Report::Seat(seat), now);
            drop(primary);
            told.wait(Duration::from_millis(SENTINEL_POLL_INTERVAL_MS))?;
        }
    }

    fn connect(&self) -> Result<Talk, HandshakeError> {
        let time = Duration::from_millis(SENTINEL_ANSWER_DEADLINE_MS);
        let Endpoint { host, port } = &self.endpoint;
        let socket = Timed::connect(host, *port, Instant::now() + time, None)?;
        let stream = Stream::open(socket, host, self.tls.as_ref())?;
        let mut talk = Talk { stream, parser: Parser::new() };
        if let Some(Login { user, password }) = &self.login {
            let user = user.iter().map(String::as_str);
            let auth: Vec<&str> =
                std::iter::once("AUTH").chain(user).chain([password.reveal()]).collect();
            talk.send(&[&auth], 1)?;
        }
        Ok(talk)
    }

    /// The address comes from the one command, since the other still has the old one while a
    /// failover moves the replicas; the epoch from the other. Both are answered at one time.
    fn ask(&self, talk: &mut Talk) -> Result<Seat, HandshakeError> {
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
            // No sale could be written in a later one.
            let text = format!("it says epoch {epoch}, and {EPOCH_MAX} is the greatest we know");
            return Err(HandshakeError::NotReady(text));
        }
        let endpoint = Endpoint { host: host.to_owned(), port };
        Ok(Seat { endpoint, epoch })
    }
}

/// One of the fields of a reply that lists their names and values in turn.
fn field<'a>(reply: &'a Value, name: &str) -> Option<&'a str> {
    let Value::Array(list) = reply else { return None };
    list.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name)).and_then(|pair| text(&pair[1]))
}

/// A connection to a Sentinel.
struct Talk {
    stream: Stream<Timed>,
    parser: Parser,
}

impl Talk {
    /// Sends commands and reads so many replies. An error among them is an error.
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

    /// Waits until something is told, or so long. What it is does not matter: one asks then.
    fn wait(&mut self, time: Duration) -> io::Result<()> {
        self.stream.socket_mut().set_time(time);
        match self.stream.read(&mut [0; 4096]) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
            Err(error) if error.kind() != io::ErrorKind::TimedOut => Err(error),
            _ => Ok(()),
        }
    }
}

/// Who must act on an error reply.
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
