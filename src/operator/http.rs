//! An HTTP client of the control port. The control port uses a small part of HTTP/1.1: one request per
//! connection, and bodies with a length. A client library would add TLS, redirects and proxies, and
//! none of them may apply here.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use super::failure::Failure;
use serde_json::Value;

use crate::cli::OperatorOptions;
use crate::config::{CONTROL_DEFAULT, Token, without_newline};
use crate::control::caller::{OPERATOR, operator_name};
use crate::control::request::{Reply, Request};
use crate::engine::http::{Kind, Method, Problem};
use crate::limits::CONTROL_REPLY_BYTES_MAX;

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// An audit of a large sale takes a while.
const RESPONSE_DEADLINE: Duration = Duration::from_secs(120);
/// Maximum length of a header line, and maximum number of lines.
const LINE_BYTES_MAX: u64 = 8 * 1024;
const LINES_MAX: usize = 64;

/// The response to a request.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        Self { status: reply.status().code(), body: reply.body }
    }
}

/// A control port.
pub struct ControlClient {
    /// HOST:PORT.
    authority: String,
    token: Option<Token>,
    response_deadline: Duration,
}

impl ControlClient {
    /// The control port of the options and the environment.
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
        Ok(Self { authority: authority.to_owned(), token, response_deadline: RESPONSE_DEADLINE })
    }

    /// The same with this time limit of a response, if there is one.
    pub fn with_response_deadline(self, time: Option<Duration>) -> Self {
        Self { response_deadline: time.unwrap_or(self.response_deadline), ..self }
    }

    /// Sends a request and reads the response.
    pub fn send(&self, request: &Request) -> Result<Response, Failure> {
        let stream = self.connect().map_err(|error| {
            Failure::Failed(format!(
                "no server answers at http://{} ({error}): start one, name another with --control, \
                 or open the ledger directly with --ledger",
                self.authority
            ))
        })?;
        let response = self.exchange(stream, request).map_err(|error| {
            let maybe = match request.method {
                Method::Get => "",
                _ => "; the change may or may not have been made: check before you repeat the command",
            };
            Failure::Failed(format!(
                "http://{} did not answer as a control port does: {error}{maybe}",
                self.authority
            ))
        })?;
        if is_unknown_path(&response) {
            return Err(Failure::Failed(format!(
                "http://{} has no {} {}: it is the port for buyers, or a server of an older version; name \
                 the control port of the server with --control (its default is {CONTROL_DEFAULT})",
                self.authority,
                request.method.as_str(),
                request.path()
            )));
        }
        Ok(response)
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

    fn exchange(&self, mut stream: TcpStream, request: &Request) -> io::Result<Response> {
        stream.set_read_timeout(Some(self.response_deadline))?;
        stream.set_write_timeout(Some(self.response_deadline))?;
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
        let bounds = (LINES_MAX, CONTROL_REPLY_BYTES_MAX);
        let (status, body) = read_reply(&mut BufReader::new(stream), bounds, |_, _| {})?;
        Ok(Response { status, body })
    }
}

/// The user who runs this command, by the environment. With sudo, the user who called sudo.
pub(super) fn operator() -> Option<String> {
    let names = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    names.filter_map(|name| std::env::var(name).ok()).find_map(|name| operator_name(&name))
}

/// Whether the server does not know the path or the method. A control port knows every request of this
/// client.
fn is_unknown_path(response: &Response) -> bool {
    let problem: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let not_found = Problem::of(Kind::NOT_FOUND);
    match response.status {
        405 => true,
        404 => problem["detail"].as_str() == Some(&*not_found.detail),
        _ => false,
    }
}

/// Reads a response whose body has a length: its status and its body. `header` gets the name and the
/// value of each other header.
///
/// # Errors
/// The input fails or ends, is no such response, or has more lines or a longer body than the bounds.
pub fn read_reply(
    input: &mut impl BufRead,
    (lines_max, body_bytes_max): (usize, usize),
    mut header: impl FnMut(&str, &str),
) -> io::Result<(u16, Vec<u8>)> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let status = read_line(input)?;
    let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| wrong("this is no HTTP/1.1"))?;
    let mut length = None;
    for _ in 0..lines_max {
        let line = read_line(input)?;
        if line.is_empty() {
            let length = length.ok_or_else(|| wrong("the answer has no length"))?;
            if length > body_bytes_max {
                return Err(wrong("the answer is too long"));
            }
            let mut body = vec![0; length];
            input.read_exact(&mut body)?;
            return Ok((status, body));
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| wrong("a header line without `:`"))?;
        match value.trim() {
            value if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok(),
            value => header(name, value),
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
