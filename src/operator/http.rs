//! A request to a control port over HTTP. The control port speaks a small part of HTTP/1.1, one
//! request a connection and bodies with a length, so this is all it takes; a client library would
//! bring TLS, redirects and proxies, none of which may come into play here.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use super::failure::Failure;
use crate::cli::OperatorOptions;
use crate::config::{CONTROL_DEFAULT, Token, without_newline};
use crate::control::caller::{OPERATOR, operator_name};
use crate::control::request::{Reply, Request};
use crate::engine::http::Method;
use crate::limits::CONTROL_REPLY_BYTES_MAX;

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// An audit of a large sale takes a while.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);
/// Longest line of a head, and most of them.
const LINE_BYTES_MAX: u64 = 8 * 1024;
const LINES_MAX: usize = 64;

/// What a request was answered.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { status: reply.status().code(), body: reply.body }
    }
}

/// A control port.
pub struct Remote {
    /// HOST:PORT.
    authority: String,
    token: Option<Token>,
    answer_time: Duration,
}

impl Remote {
    /// The one that options and environment name.
    pub fn from_options(options: &OperatorOptions) -> Result<Self, Failure> {
        let variable = |name| {
            let value = std::env::var(name).ok()?;
            Some(without_newline(&value).to_owned()).filter(|value| !value.is_empty())
        };
        let (setting, given) = match &options.control {
            Some(control) => ("--control", Some(control.clone())),
            None => ("STAMPEDE_CONTROL=", variable("STAMPEDE_CONTROL")),
        };
        let given = given.unwrap_or_else(|| CONTROL_DEFAULT.to_owned());
        let usage = |problem: &str| Failure::Usage(format!("{setting} {given}: {problem}"));
        let authority = given.strip_prefix("http://").unwrap_or(&given).trim_end_matches('/');
        if authority.contains("://") {
            return Err(usage("a control port speaks http only; use http://HOST:PORT"));
        }
        let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c);
        if port.is_none() || authority.starts_with(':') || authority.contains(odd) {
            return Err(usage("must be http://HOST:PORT, such as http://127.0.0.1:3006"));
        }
        let file = options.token_file.clone().or_else(|| variable("STAMPEDE_CONTROL_TOKEN_FILE"));
        let token = match (&options.token_file, variable("STAMPEDE_CONTROL_TOKEN"), file) {
            (None, Some(text), _) => {
                Some(Token::new(&text).map_err(|problem| {
                    Failure::Usage(format!("STAMPEDE_CONTROL_TOKEN: {problem}"))
                })?)
            }
            (_, _, Some(file)) => Some(
                Token::from_file(Path::new(&file))
                    .map_err(|problem| Failure::Usage(format!("--token-file {file}: {problem}")))?,
            ),
            _ => None,
        };
        Ok(Self { authority: authority.to_owned(), token, answer_time: ANSWER_DEADLINE })
    }

    /// One that waits this long for an answer, if it is given.
    pub fn with_answer_time(self, time: Option<Duration>) -> Self {
        Self { answer_time: time.unwrap_or(self.answer_time), ..self }
    }

    /// Sends a request and takes its answer.
    pub fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        let stream = self.connect().map_err(|error| {
            Failure::Failed(format!(
                "no server answers at http://{} ({error}): start one, name another with --control, \
                 or go straight to the ledger with --ledger",
                self.authority
            ))
        })?;
        self.exchange(stream, request).map_err(|error| {
            let maybe = match request.method {
                Method::Get => "",
                _ => "; it may have been done or not: look before you ask again",
            };
            Failure::Failed(format!(
                "http://{} did not answer as a control port does: {error}{maybe}",
                self.authority
            ))
        })
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::other("the name has no address");
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_DEADLINE) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn exchange(&self, mut stream: TcpStream, request: &Request) -> io::Result<Answer> {
        stream.set_read_timeout(Some(self.answer_time))?;
        stream.set_write_timeout(Some(self.answer_time))?;
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            request.method.as_str(),
            request.target,
            self.authority,
            request.body.len()
        );
        if request.has_json() {
            head += "Content-Type: application/json\r\n";
        }
        if let Some(operator) = operator() {
            head += &format!("{OPERATOR}: {operator}\r\n");
        }
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {}\r\n", token.expose());
        }
        head += "\r\n";
        stream.write_all(&[head.as_bytes(), &request.body].concat())?;
        read_reply(&mut BufReader::new(stream))
    }
}

/// Who runs this command, as the system says: behind sudo, who has called that.
pub(super) fn operator() -> Option<String> {
    let names = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    names.filter_map(|name| std::env::var(name).ok()).find_map(|name| operator_name(&name))
}

fn read_reply(input: &mut impl BufRead) -> io::Result<Answer> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let status = read_line(input)?;
    let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| wrong("this is no HTTP/1.1"))?;
    let mut length = None;
    for _ in 0..LINES_MAX {
        let line = read_line(input)?;
        if line.is_empty() {
            let length = length.ok_or_else(|| wrong("the answer has no length"))?;
            if length > CONTROL_REPLY_BYTES_MAX {
                return Err(wrong("the answer is too long"));
            }
            let mut body = vec![0; length];
            input.read_exact(&mut body)?;
            return Ok(Answer { status, body });
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| wrong("a header line without `:`"))?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
    Err(wrong("too many header lines"))
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
