//! A client that works with bytes: sends what a test gives it and reads response by response.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::server::Server;

/// A response as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status line and header lines, with the date (which has been checked) replaced by `DATE`.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The status.
    pub fn status(&self) -> u16 {
        self.head[9..12].parse().expect("a status")
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("a JSON body: {self:?} {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the response closes the connection.
    pub fn closes(&self) -> bool {
        self.header("Connection") == Some("close")
    }

    /// Panics unless the response is a well-formed problem with this status and code.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status(), status, "{} {}", self.head, self.text());
        assert_eq!(self.header("Content-Type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()));
        assert!(problem["detail"].as_str().is_some_and(|text| text.len() > 10), "{problem}");
        assert_eq!(self.header("Retry-After").is_some(), matches!(status, 429 | 503));
    }
}

/// A socket of any kind.
pub trait Stream: Read + Write {
    /// Shuts the sending side down.
    fn finish(&mut self) -> std::io::Result<()>;
    /// The read timeout.
    fn patience(&self) -> std::io::Result<Option<Duration>>;
    /// Sets it.
    fn set_patience(&self, time: Option<Duration>) -> std::io::Result<()>;
}

macro_rules! stream {
    ($stream:ty) => {
        impl Stream for $stream {
            fn finish(&mut self) -> std::io::Result<()> {
                self.shutdown(Shutdown::Write)
            }

            fn patience(&self) -> std::io::Result<Option<Duration>> {
                self.read_timeout()
            }

            fn set_patience(&self, time: Option<Duration>) -> std::io::Result<()> {
                self.set_read_timeout(time)
            }
        }
    };
}

stream!(TcpStream);
stream!(UnixStream);

/// A connection.
pub struct Client<S = TcpStream> {
    /// Its socket.
    pub stream: S,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn new(server: &Server) -> Self {
        Self::over(server.connect())
    }

    /// Connects to the control port.
    pub fn control(server: &Server) -> Self {
        Self::over(server.connect_control())
    }
}

impl<S: Stream> Client<S> {
    /// A client over this socket.
    pub fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Sends these bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("send");
    }

    /// Sends bytes one by one.
    #[track_caller]
    pub fn trickle(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.send([*byte]));
    }

    /// Shuts the sending side down.
    pub fn finish(&mut self) {
        self.stream.finish().expect("half-close");
    }

    /// Reads the next response to anything but HEAD.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.next(false).expect("a response")
    }

    /// Reads the next response to HEAD.
    #[track_caller]
    pub fn head_response(&mut self) -> Response {
        self.next(true).expect("a response")
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.response()
    }

    /// The next response. `None`: the server has closed the connection.
    #[track_caller]
    pub fn next(&mut self, head_only: bool) -> Option<Response> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill() {
                let rest = String::from_utf8_lossy(&self.buffer);
                assert!(rest.is_empty(), "half a response: {rest}");
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let mut head = String::from_utf8(head).expect("a head in UTF-8");
        let interim = head.starts_with("HTTP/1.1 100 ");
        if !interim {
            check_date(&mut head);
        }
        let mut response = Response { head, body: Vec::new() };
        let length = response.header("Content-Length").map(|length| length.parse().unwrap());
        let none = interim || matches!(response.status(), 204 | 304);
        assert_eq!(length.is_none(), none, "{}", response.head);
        let length: usize = if head_only { 0 } else { length.unwrap_or(0) };
        while self.buffer.len() < length {
            assert!(self.fill(), "half a body");
        }
        response.body = self.buffer.drain(..length).collect();
        Some(response)
    }

    /// Panics unless the server has closed the connection and nothing more comes.
    #[track_caller]
    pub fn assert_end(&mut self) {
        let more = self.next(false);
        assert!(more.is_none(), "after the end: {more:?}");
    }

    /// Panics unless the connection is open and nothing more comes.
    #[track_caller]
    pub fn assert_silent(&mut self, time: Duration) {
        assert!(self.buffer.is_empty(), "{}", String::from_utf8_lossy(&self.buffer));
        let deadline = self.stream.patience().expect("a deadline");
        self.stream.set_patience(Some(time)).expect("a deadline");
        let error = self.stream.read(&mut [0; 64]).expect_err("nothing to read");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
        self.stream.set_patience(deadline).expect("a deadline");
    }

    /// Reads once. `false`: end of the stream.
    #[track_caller]
    fn fill(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        let count = self.stream.read(&mut piece).expect("read");
        self.buffer.extend_from_slice(&piece[..count]);
        count > 0
    }
}

/// Panics unless the date is an IMF-fixdate (RFC 9110, section 5.6.7) of about now.
#[track_caller]
fn check_date(head: &mut String) {
    let at = head.find("\r\nDate: ").expect("a date") + 8;
    let end = at + head[at..].find("\r\n").expect("a line end");
    let time = httpdate::parse_http_date(&head[at..end]).expect("a date");
    assert_eq!(httpdate::fmt_http_date(time), head[at..end]);
    let now = SystemTime::now();
    let off = now.duration_since(time).unwrap_or_else(|error| error.duration());
    assert!(off < Duration::from_secs(5), "{}: {off:?} off", &head[at..end]);
    head.replace_range(at..end, "DATE");
}

/// Sends bytes on a connection of their own and reads all answers until the server closes it.
#[track_caller]
pub fn exchange(server: &Server, bytes: &[u8]) -> Vec<Response> {
    let mut client = Client::new(server);
    client.send(bytes);
    client.finish();
    std::iter::from_fn(|| client.next(false)).collect()
}

/// Sends one request on a connection of its own.
#[track_caller]
pub fn get(server: &Server, path: &str) -> Response {
    Client::new(server).ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
}

/// A request to reserve, with these header lines and body.
pub fn reserve(headers: &str, body: &str) -> String {
    reserve_from("ticket", headers, body)
}

/// The same for another sale.
pub fn reserve_from(sale: &str, headers: &str, body: &str) -> String {
    format!(
        "POST /v1/sales/{sale}/reservations HTTP/1.1\r\nHost: a\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// The units of the sale `ticket` that are held or confirmed, read after a while, since the view
/// may be a little old. Free, held and confirmed units must add up to the total.
#[track_caller]
pub fn sold(server: &Server) -> u64 {
    std::thread::sleep(Duration::from_millis(150));
    let response = get(server, "/v1/sales/ticket");
    assert_eq!(response.status(), 200, "{}", response.text());
    let sale = response.json();
    let units = |name: &str| sale[name].as_u64().expect("a number");
    assert_eq!(units("free") + units("held") + units("confirmed"), units("total"), "{sale}");
    units("held") + units("confirmed")
}

/// Panics unless a new connection can buy one unit.
#[track_caller]
pub fn assert_sells(server: &Server) {
    let response = get(server, "/buy/ticket");
    assert_eq!(response.json()["code"], 1, "{} {}", response.head, response.text());
}

/// The server's resident memory in bytes.
pub fn resident_bytes(server: &Server) -> u64 {
    memory_bytes(server, "VmRSS:")
}

/// The server's mapped memory in bytes.
pub fn mapped_bytes(server: &Server) -> u64 {
    memory_bytes(server, "VmSize:")
}

fn memory_bytes(server: &Server, name: &str) -> u64 {
    status_number(server, name) * 1024
}

/// A number in the server's `/proc/PID/status`, from the line that begins with this.
pub fn status_number(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("status");
    let line = status.lines().find(|line| line.starts_with(name)).expect("its line");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}
