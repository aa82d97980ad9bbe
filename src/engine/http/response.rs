//! Writes responses: status line, headers and body, appended to an out-buffer.

use serde::Serialize;

use super::date::{DATE_BYTES, HttpDate};
use super::head::{Head, Method, Version};
use super::problem::{Problem, Reject};
use super::status::Status;

/// The interim answer to `Expect: 100-continue` (RFC 9110, section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const SERVER: &str = "stampede";
/// The media type of JSON.
pub const JSON: &str = "application/json";
const PROBLEM_JSON: &str = "application/problem+json";

/// What becomes of the connection after the response, and how it is said (RFC 9112, section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1: stays open, which needs no word.
    KeepAlive,
    /// HTTP/1.0 that asked for it: stays open, and says so.
    KeepAliveHttp10,
    /// Closes.
    Close,
}

impl Persistence {
    /// What the client asked for.
    #[inline]
    pub fn of(head: &Head<'_>) -> Self {
        match (head.keep_alive, head.version) {
            (false, _) => Self::Close,
            (true, Version::Http11) => Self::KeepAlive,
            (true, Version::Http10) => Self::KeepAliveHttp10,
        }
    }
}

impl Persistence {
    /// The end of a head, in which it stands last.
    const fn end_of_head(self) -> &'static [u8] {
        match self {
            Self::KeepAlive => b"\r\n\r\n",
            Self::KeepAliveHttp10 => b"\r\nConnection: keep-alive\r\n\r\n",
            Self::Close => b"\r\nConnection: close\r\n\r\n",
        }
    }
}

/// What a response takes from its request and its second rather than from its contents.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The second.
    pub date: &'a HttpDate,
    /// What becomes of the connection.
    pub persistence: Persistence,
    /// The request was HEAD: the body is counted and left out.
    pub head_only: bool,
}

impl<'a> Envelope<'a> {
    /// For the answer to this request.
    #[inline]
    pub fn of(head: &Head<'_>, date: &'a HttpDate) -> Self {
        let head_only = head.method == Method::Head;
        Self { date, persistence: Persistence::of(head), head_only }
    }

    /// For an answer after which the connection closes.
    pub fn closing(date: &'a HttpDate) -> Self {
        Self { date, persistence: Persistence::Close, head_only: false }
    }

    /// The same, but the connection closes.
    pub fn and_close(self) -> Self {
        Self { persistence: Persistence::Close, ..self }
    }
}

/// A response's head, apart from what the [`Envelope`] says.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// Status line.
    pub status: Status,
    /// `Content-Type`. `None` only with no body.
    pub content_type: Option<&'static str>,
    /// `Allow`.
    pub allow: Option<&'static str>,
    /// `WWW-Authenticate`.
    pub authenticate: Option<&'static str>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// `Location`: visible ASCII.
    pub location: Option<&'a str>,
    /// `Cache-Control: no-store`: true now, maybe not in a second. A cache that kept a "sold out"
    /// would go on telling it after stock came back.
    pub no_store: bool,
}

impl Response<'_> {
    /// A response with this status and type and no other header.
    pub const fn new(status: Status, content_type: &'static str) -> Self {
        Self {
            status,
            content_type: Some(content_type),
            allow: None,
            authenticate: None,
            retry_after_s: None,
            location: None,
            no_store: true,
        }
    }

    /// Appends the response. The body comes in parts, so that nobody has to join them first.
    pub fn write(&self, envelope: &Envelope<'_>, body: &[&[u8]], out: &mut Vec<u8>) {
        let body_bytes: usize = body.iter().map(|part| part.len()).sum();
        out.reserve(384 + body_bytes);
        self.write_head(envelope, body_bytes, out);
        if !envelope.head_only && self.status != Status::NoContent {
            body.iter().for_each(|part| out.extend_from_slice(part));
        }
    }

    #[inline]
    fn write_head(&self, envelope: &Envelope<'_>, body_bytes: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.status.line().as_bytes());
        header(out, "\r\nServer: ", SERVER);
        out.extend_from_slice(b"\r\nDate: ");
        out.extend_from_slice(envelope.date.text());
        if let Some(content_type) = self.content_type {
            header(out, "\r\nContent-Type: ", content_type);
        }
        if self.status != Status::NoContent {
            header(out, "\r\nContent-Length: ", itoa::Buffer::new().format(body_bytes));
        }
        if let Some(allow) = self.allow {
            header(out, "\r\nAllow: ", allow);
        }
        if let Some(authenticate) = self.authenticate {
            header(out, "\r\nWWW-Authenticate: ", authenticate);
        }
        if let Some(seconds) = self.retry_after_s {
            header(out, "\r\nRetry-After: ", itoa::Buffer::new().format(seconds));
        }
        if let Some(location) = self.location {
            assert!(location.bytes().all(|b| b.is_ascii_graphic()), "no header is ever split");
            header(out, "\r\nLocation: ", location);
        }
        if self.no_store {
            out.extend_from_slice(b"\r\nCache-Control: no-store");
        }
        out.extend_from_slice(envelope.persistence.end_of_head());
    }
}

#[inline]
fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

impl Problem {
    /// The head of the response that tells it: `application/problem+json`, with `Retry-After`, `Allow`
    /// and `WWW-Authenticate` as needed.
    pub fn response(&self) -> Response<'static> {
        Response {
            allow: self.allow,
            authenticate: self.authenticate,
            retry_after_s: self.retry_after_s,
            ..Response::new(self.kind.status, PROBLEM_JSON)
        }
    }

    /// Appends the problem.
    pub fn write(&self, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        self.response().write(envelope, &[&json_bytes(self)], out);
    }
}

impl Reject {
    /// Appends the problem; it says `Connection: close`, and the connection must.
    pub fn write(self, date: &HttpDate, out: &mut Vec<u8>) {
        Problem::from(self).write(&Envelope::closing(date), out);
    }
}

/// A value as JSON. Every type that we write has string keys and no failing `Serialize`.
pub fn json_bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    let written = serde_json::to_writer(&mut bytes, value);
    debug_assert!(written.is_ok(), "{written:?}");
    bytes
}

/// Appends a 200 with this JSON, never to be cached.
pub fn write_json(value: &impl Serialize, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    write_json_bytes(&json_bytes(value), envelope, out);
}

/// The same with JSON that has been written before.
pub fn write_json_bytes(json: &[u8], envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    Response::new(Status::Ok, JSON).write(envelope, &[json], out);
}

/// Appends a 201 with this JSON and the `Location` (visible ASCII) of what was created.
pub fn write_created(
    value: &impl Serialize,
    location: &str,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    let response = Response { location: Some(location), ..Response::new(Status::Created, JSON) };
    response.write(envelope, &[&json_bytes(value)], out);
}

/// Appends the answer to OPTIONS: 204 with `Allow`.
pub fn write_options(allow: &'static str, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let response = Response {
        allow: Some(allow),
        content_type: None,
        no_store: false,
        ..Response::new(Status::NoContent, JSON)
    };
    response.write(envelope, &[], out);
}

/// A whole response, encoded once and written often. Only what the [`Envelope`] says changes.
#[derive(Debug, Clone)]
pub struct Canned {
    bytes: Box<[u8]>,
    date_at: usize,
    /// Bytes of the head as it is for a connection that stays open.
    head_bytes: usize,
}

impl Canned {
    /// Keeps what `write` appends for an envelope that it is given.
    pub fn new(write: impl FnOnce(&Envelope<'_>, &mut Vec<u8>)) -> Self {
        let date = HttpDate::new(0);
        let envelope =
            Envelope { date: &date, persistence: Persistence::KeepAlive, head_only: false };
        let mut bytes = Vec::new();
        write(&envelope, &mut bytes);
        let find = |what: &[u8]| memchr::memmem::find(&bytes, what).expect("a whole response");
        let date_at = find(b"\r\nDate: ") + b"\r\nDate: ".len();
        let head_bytes = find(b"\r\n\r\n") + 4;
        assert_eq!(&bytes[date_at..date_at + DATE_BYTES], date.text());
        Self { bytes: bytes.into(), date_at, head_bytes }
    }

    /// This problem.
    pub fn problem(problem: &Problem) -> Self {
        Self::new(|envelope, out| problem.write(envelope, out))
    }

    /// Appends the response.
    #[inline]
    pub fn write(&self, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        let date_at = out.len() + self.date_at;
        if envelope.persistence == Persistence::KeepAlive && !envelope.head_only {
            out.extend_from_slice(&self.bytes);
        } else {
            let (head, body) = self.bytes.split_at(self.head_bytes);
            out.extend_from_slice(&head[..head.len() - Persistence::KeepAlive.end_of_head().len()]);
            out.extend_from_slice(envelope.persistence.end_of_head());
            if !envelope.head_only {
                out.extend_from_slice(body);
            }
        }
        out[date_at..date_at + DATE_BYTES].copy_from_slice(envelope.date.text());
    }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
