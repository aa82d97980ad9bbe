//! The handshake of a fresh connection before it carries a batch: login, database, whether the
//! server is a primary that we can use, and the scripts.

use std::io::{self, Read, Write};

use redis::{Parser, RedisError, ServerError, Value};

use super::decode_error::error_text;
use super::handshake_error::HandshakeError;
use super::keeping;
use super::resp::{bulk, command, text_command};
use super::rights::{Needs, Purpose, UNASKED};
use super::scripts::{ScriptName, Scripts};
use super::settings::{Password, RedisSettings, Topology};
use super::tls::explained;
use super::value::text;
use super::warning::Warning;
use crate::limits::REPLICAS_FIND_MS;

/// The oldest Redis whose scripts report what they did not do: see `reply.rs`.
const REDIS_MAJOR_MIN: u32 = 7;

/// Prepares a fresh connection for [`Codec`](super::Codec)'s commands. `name` is its name in
/// `CLIENT LIST`, printable and without spaces.
///
/// Blocks as the stream does; give it a time-out of its own.
pub fn handshake(
    stream: &mut (impl Read + Write),
    settings: &RedisSettings,
    name: &str,
    scripts: &Scripts,
) -> Result<Vec<Warning>, HandshakeError> {
    introduce(stream, settings, name, scripts).map_err(explained)
}

fn introduce(
    stream: &mut (impl Read + Write),
    settings: &RedisSettings,
    name: &str,
    scripts: &Scripts,
) -> Result<Vec<Warning>, HandshakeError> {
    let mut talk = Dialog { stream, parser: Parser::new(), out: Vec::new() };
    let role = talk.greet(settings)?;
    if role != "master" {
        return Err(HandshakeError::NoPrimary(role));
    }
    if settings.db != 0 {
        let db = settings.db.to_string();
        talk.ask(&["SELECT", &db], &format!("SELECT {db}"))?;
    }
    let mut warnings = Vec::new();
    // The name only helps a reader of that list.
    if let Value::ServerError(error) = talk.ask_anyway(&["CLIENT", "SETNAME", name])? {
        // The rest of the message repeats the name.
        let text = error_text(&error);
        let why = text.split(", with args").next().unwrap_or_default();
        let detail = format!("CLIENT SETNAME: {why}");
        warnings.push(Warning::new("connections to Redis have no names in CLIENT LIST", detail));
    }
    talk.load(scripts)?;
    if let Some(needs) = &settings.needs {
        warnings.extend(talk.check_rights(settings, needs, scripts)?);
        if needs.purpose == Purpose::Serve {
            warnings.extend(talk.check_keeping(settings.replicas > 0)?);
        }
    }
    if settings.replicas > 0 {
        talk.find_replicas(settings.replicas)?;
    }
    Ok(warnings)
}

/// Loads the scripts on a connection that has been through [`handshake`] and on which no reply is
/// outstanding. Call it after [`DecodeError::NoScript`](super::DecodeError::NoScript).
pub fn load_scripts(
    stream: &mut (impl Read + Write),
    scripts: &Scripts,
) -> Result<(), HandshakeError> {
    Dialog { stream, parser: Parser::new(), out: Vec::new() }.load(scripts)
}

/// Logs in at any server of this kind, also at one that is no primary.
pub(super) fn greet(
    stream: &mut (impl Read + Write),
    settings: &RedisSettings,
) -> Result<(), HandshakeError> {
    Dialog { stream, parser: Parser::new(), out: Vec::new() }
        .greet(settings)
        .map(drop)
        .map_err(explained)
}

fn authenticate_default<S: Read + Write>(
    talk: &mut Dialog<'_, S>,
    password: &Password,
) -> Result<(), HandshakeError> {
    talk.ask(&["AUTH", password.reveal()], "AUTH").map(drop)
}

/// Sends one command after the other; no reply is outstanding in between.
struct Dialog<'a, S> {
    stream: &'a mut S,
    parser: Parser,
    out: Vec<u8>,
}

impl<S: Read + Write> Dialog<'_, S> {
    /// Logs in and returns the server's role, if it is one that we can use.
    fn greet(&mut self, settings: &RedisSettings) -> Result<String, HandshakeError> {
        match (&settings.user, &settings.password) {
            (Some(user), Some(password)) => {
                self.ask(&["AUTH", user, password.reveal()], "AUTH")?;
            }
            (_, Some(password)) => authenticate_default(self, password)?,
            (_, None) => {}
        }
        let cluster = matches!(settings.topology, Topology::Cluster { .. });
        check_server(&self.ask(&["HELLO", "2"], "HELLO")?, cluster)
    }

    /// Sends a command and returns its reply. `shown` names the command in an error: arguments may
    /// be secret.
    fn ask(&mut self, arguments: &[&str], shown: &str) -> Result<Value, HandshakeError> {
        text_command(&mut self.out, arguments);
        self.send()?;
        self.reply(shown)
    }

    /// The same, but returns an error reply as a value.
    fn ask_anyway(&mut self, arguments: &[&str]) -> Result<Value, HandshakeError> {
        text_command(&mut self.out, arguments);
        self.send()?;
        self.read()
    }

    fn send(&mut self) -> Result<(), HandshakeError> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(self.stream.flush()?)
    }

    fn reply(&mut self, shown: &str) -> Result<Value, HandshakeError> {
        match self.read()? {
            Value::ServerError(error) => Err(judge(shown, &error)),
            value => Ok(value),
        }
    }

    fn read(&mut self) -> Result<Value, HandshakeError> {
        match self.parser.parse_value(&mut *self.stream) {
            Ok(value) => Ok(value),
            Err(error) => Err(unread(error)),
        }
    }

    /// Checks that the user may run every command that we need. Uses the script as loaded, or as a
    /// text: a server needs the right to the first anyway, and a worker to the second.
    fn check_rights(
        &mut self,
        settings: &RedisSettings,
        needs: &Needs,
        scripts: &Scripts,
    ) -> Result<Option<Warning>, HandshakeError> {
        let script = scripts.get(ScriptName::Rights);
        let call = match needs.purpose {
            Purpose::Serve => ["EVALSHA", &script.sha, "0"],
            Purpose::Orders => ["EVAL", &script.code, "0"],
        };
        let wanted = needs.arguments();
        let wanted = wanted.iter().map(String::as_str);
        let arguments: Vec<&str> = call.into_iter().chain(wanted).collect();
        let reply = match needs.purpose {
            Purpose::Serve => self.ask(&arguments, "EVALSHA")?,
            Purpose::Orders => self.ask_anyway(&arguments)?,
        };
        match reply {
            Value::ServerError(error) => Ok(Some(Warning::new(UNASKED, error_text(&error)))),
            reply => needs.judge(settings.user.as_deref(), &reply),
        }
    }

    /// Warns of acknowledged data that Redis may lose, as far as its settings may be read.
    fn check_keeping(&mut self, replicated: bool) -> Result<Vec<Warning>, HandshakeError> {
        let info = self.ask_anyway(&["INFO", "memory", "persistence"])?;
        let save = self.ask_anyway(&["CONFIG", "GET", "save"])?;
        Ok(keeping::judge(&info, &save, replicated))
    }

    /// Checks that the `WAIT` of a batch can be met: without enough replicas, units would be held
    /// by reservations that nobody knows of.
    fn find_replicas(&mut self, wanted: u32) -> Result<(), HandshakeError> {
        let (count, time_ms) = (wanted.to_string(), REPLICAS_FIND_MS.to_string());
        match self.ask(&["WAIT", &count, &time_ms], "WAIT")? {
            Value::Int(have) if have >= i64::from(wanted) => Ok(()),
            Value::Int(have) => {
                let text = format!("only {have} of {wanted} replicas follow (--redis-wait)");
                Err(HandshakeError::NotReady(text))
            }
            other => Err(HandshakeError::Fatal(format!("WAIT answered {other:?}"))),
        }
    }

    /// Loads all scripts in one round trip.
    fn load(&mut self, scripts: &Scripts) -> Result<(), HandshakeError> {
        for script in scripts.iter() {
            command(&mut self.out, 3);
            bulk(&mut self.out, b"SCRIPT");
            bulk(&mut self.out, b"LOAD");
            bulk(&mut self.out, script.code.as_bytes());
        }
        self.send()?;
        for script in scripts.iter() {
            match self.reply("SCRIPT LOAD")? {
                Value::BulkString(sha) if sha == script.sha.as_bytes() => {}
                other => {
                    let text = format!("SCRIPT LOAD answered {other:?}, not {}", script.sha);
                    return Err(HandshakeError::Fatal(text));
                }
            }
        }
        Ok(())
    }
}

/// Classifies the failure to read a reply.
fn unread(error: RedisError) -> HandshakeError {
    HandshakeError::Io(match error.is_io_error() {
        true => io::Error::other(error),
        false => {
            let text = "this does not speak RESP (with TLS, the URL begins with rediss)";
            io::Error::new(io::ErrorKind::InvalidData, text)
        }
    })
}

/// Classifies an error reply by whether the operator must act.
fn judge(shown: &str, error: &ServerError) -> HandshakeError {
    let details = error.details().unwrap_or_default();
    let text = format!("{shown}: {} {details}", error.code());
    match error.code() {
        "WRONGPASS" => HandshakeError::Fatal(format!("wrong user or password ({text})")),
        "NOAUTH" => HandshakeError::Fatal(format!(
            "it wants a password, as in redis://user:password@host:port/db ({text})"
        )),
        "NOPERM" => HandshakeError::Fatal(format!("this user may not do that ({text})")),
        "NOPROTO" => HandshakeError::Fatal(text),
        // Too many clients is an ERR too, and passes.
        "ERR" if !details.contains("max number of clients") => HandshakeError::Fatal(match shown {
            "AUTH" => format!("the password was not taken ({text})"),
            select if select.starts_with("SELECT") => format!("no such database ({text})"),
            _ => text,
        }),
        _ => HandshakeError::NotReady(text),
    }
}

/// Reads the answer to `HELLO`, pairs of name and value, and returns the role.
fn check_server(hello: &Value, cluster: bool) -> Result<String, HandshakeError> {
    let mut pairs = Vec::new();
    match hello {
        Value::Array(list) => {
            pairs.extend(list.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, &pair[1]))));
        }
        Value::Map(map) => pairs.extend(map.iter().filter_map(|(k, v)| Some((text(k)?, v)))),
        _ => {}
    }
    let get = |name| pairs.iter().find(|pair| pair.0 == name).and_then(|pair| text(pair.1));
    let version = get("version").unwrap_or("unknown");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < REDIS_MAJOR_MIN) {
        return Err(HandshakeError::Fatal(format!(
            "Redis {REDIS_MAJOR_MIN}.0 or later is needed, this is version {version}"
        )));
    }
    if get("mode") == Some("sentinel") {
        let text = "this is a Sentinel: ask it with redis-sentinel://host:port/MASTERNAME";
        return Err(HandshakeError::Fatal(text.to_owned()));
    }
    let text = match (cluster, get("mode") == Some("cluster")) {
        (true, false) => "this is no node of a Cluster: name it as redis://host:port/db",
        (false, true) => "this is a node of a Cluster: name it as redis-cluster://host:port",
        _ => return Ok(get("role").unwrap_or("server without a role").to_owned()),
    };
    Err(HandshakeError::Fatal(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers whatever it is asked with what it was given.
    struct Preencoded<'a>(&'a [u8], Vec<u8>);

    impl Read for Preencoded<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }

    impl Write for Preencoded<'_> {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1.write(buf)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn with(answers: &str) -> (HandshakeError, String) {
        at("redis://ann:secret@x/2", answers)
    }

    fn at(url: &str, answers: &str) -> (HandshakeError, String) {
        let mut stream = Preencoded(answers.as_bytes(), Vec::new());
        let settings = RedisSettings::from_url(url).unwrap();
        let got = handshake(&mut stream, &settings, "stampede", &Scripts::new());
        (got.unwrap_err(), String::from_utf8(stream.1).unwrap())
    }

    fn hello(version: &str, role: &str) -> String {
        let pair = |name: &str, value: &str| {
            format!("${}\r\n{name}\r\n${}\r\n{value}\r\n", name.len(), value.len())
        };
        format!("+OK\r\n*4\r\n{}{}", pair("version", version), pair("role", role))
    }

    #[test]
    fn permanent_errors_are_fatal_and_temporary_ones_are_not() {
        for (answers, fatal, part) in [
            ("-WRONGPASS invalid\r\n".to_owned(), true, "wrong user or password"),
            ("-ERR AUTH <password> called without any\r\n".to_owned(), true, "not taken"),
            ("-NOPERM no\r\n".to_owned(), true, "may not"),
            ("-ERR max number of clients reached\r\n".to_owned(), false, "max number"),
            ("-LOADING Redis is loading\r\n".to_owned(), false, "LOADING"),
            (String::new(), false, "reached"),
            ("HTTP/1.1 400 Bad Request\r\n".to_owned(), false, "RESP"),
            (hello("6.2.1", "master"), true, "7.0 or later"),
            (hello("7.0.15", "slave"), false, "primary"),
            (hello("7.0.15", "master") + "-ERR DB index\r\n", true, "no such database"),
            (hello("8.0", "master") + "+OK\r\n+OK\r\n$1\r\nx\r\n", true, "SCRIPT LOAD"),
        ] {
            let (error, sent) = with(&answers);
            let text = format!("{error} {error:?}");
            assert_eq!((error.is_fatal(), text.contains(part)), (fatal, true), "{text}");
            assert!(!text.contains("secret") && sent.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_url_scheme_that_does_not_match_the_mode_is_fatal() {
        let modes = [
            ("redis-cluster://x", "standalone", "name it as redis://"),
            ("redis://x", "cluster", "name it as redis-cluster://"),
        ];
        for (url, mode, told) in modes {
            let length = mode.len();
            let answer = format!(
                "*4\r\n$7\r\nversion\r\n$3\r\n7.0\r\n$4\r\nmode\r\n${length}\r\n{mode}\r\n"
            );
            let (error, _) = at(url, &answer);
            assert!(error.is_fatal() && error.to_string().contains(told), "{error}");
        }
    }
}
