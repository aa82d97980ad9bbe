//! Writes responses: status line, headers and body, appended to an out-buffer.

use serde::Serialize;

use super::date::{DATE_BYTES, HttpDate};
use super::head::{Head, Method, REQUEST_ID, Version};
use super::problem::{Kind, ParseError, Problem, Remedy};
use super::request::asks_for_head;
use super::status::Status;

/// The interim answer to `Expect: 100-continue` (RFC 9110, section 10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

const SERVER: &str = "stampede";
/// The media type of JSON.
pub const JSON: &str = "application/json";
pub(super) const HTML: &str = "text/html; charset=utf-8";
const PROBLEM_JSON: &str = "application/problem+json";

/// Whether the connection stays open after the response, and the header for that (RFC 9112, section
/// 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1: stays open; no header.
    KeepAlive,
    /// HTTP/1.0 with keep-alive: stays open, with a header.
    KeepAliveHttp10,
    /// Closes.
    Close,
}

impl Persistence {
    /// As the client asked.
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
    /// The end of a head, with the `Connection` header as its last line.
    const fn end_of_head(self) -> &'static [u8] {
        match self {
            Self::KeepAlive => b"\r\n\r\n",
            Self::KeepAliveHttp10 => b"\r\nConnection: keep-alive\r\n\r\n",
            Self::Close => b"\r\nConnection: close\r\n\r\n",
        }
    }
}

/// What a response takes from its request and the current second, apart from its contents.
#[derive(Debug, Clone, Copy)]
pub struct ResponseContext<'a> {
    /// The date of the current second.
    pub date: &'a HttpDate,
    /// Whether the connection stays open.
    pub persistence: Persistence,
    /// The request was HEAD: the body is counted in `Content-Length` and left out.
    pub head_only: bool,
    /// A precondition is not met: 304 or 412 in place of any success.
    pub status_override: Option<Status>,
}

impl<'a> ResponseContext<'a> {
    /// For the answer to this request.
    #[inline]
    pub fn of(head: &Head<'_>, date: &'a HttpDate) -> Self {
        let head_only = head.method == Method::Head;
        Self { date, persistence: Persistence::of(head), head_only, status_override: None }
    }

    /// For an answer after which the connection closes.
    pub fn closing(date: &'a HttpDate) -> Self {
        Self { date, persistence: Persistence::Close, head_only: false, status_override: None }
    }

    /// The same, but the connection closes.
    pub fn and_close(self) -> Self {
        Self { persistence: Persistence::Close, ..self }
    }
}

/// A response's head, apart from the [`ResponseContext`].
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// Status line.
    pub status: Status,
    /// `Content-Type`. `None` only with no body.
    pub content_type: Option<&'static str>,
    /// What would be accepted.
    pub remedy: Option<Remedy>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// `Location`, in pieces: visible ASCII.
    pub location: Option<&'a [&'a str]>,
    /// `Cache-Control: no-store`, for answers that may be out of date after a second. A cached
    /// "sold out" would still be shown after stock came back.
    pub no_store: bool,
}

impl Response<'_> {
    /// A response with this status and type and no other header.
    pub const fn new(status: Status, content_type: &'static str) -> Self {
        Self {
            status,
            content_type: Some(content_type),
            remedy: None,
            retry_after_s: None,
            location: None,
            no_store: true,
        }
    }

    /// Appends the response. The body comes in parts, so that callers need not join them.
    pub fn write(&self, context: &ResponseContext<'_>, body: &[&[u8]], out: &mut Vec<u8>) {
        if let Some(status) = context.status_override
            && self.status.is_success()
        {
            return write_unmet(status, context, out);
        }
        let body_bytes: usize = body.iter().map(|part| part.len()).sum();
        out.reserve(384 + body_bytes);
        self.write_head(context, body_bytes, out);
        if !context.head_only && self.status.has_body() {
            body.iter().for_each(|part| out.extend_from_slice(part));
        }
    }

    #[inline]
    fn write_head(&self, context: &ResponseContext<'_>, body_bytes: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.status.line().as_bytes());
        header(out, "\r\nServer: ", SERVER);
        out.extend_from_slice(b"\r\nDate: ");
        out.extend_from_slice(context.date.text());
        if let Some(content_type) = self.content_type {
            header(out, "\r\nContent-Type: ", content_type);
        }
        if self.status.has_body() {
            header(out, "\r\nContent-Length: ", itoa::Buffer::new().format(body_bytes));
        }
        if let Some(remedy) = self.remedy {
            let (name, value) = match remedy {
                Remedy::Allow(methods) => ("\r\nAllow: ", methods),
                Remedy::Authenticate(how) => ("\r\nWWW-Authenticate: ", how),
                Remedy::Accept(types) => ("\r\nAccept: ", types),
                Remedy::AcceptEncoding(codings) => ("\r\nAccept-Encoding: ", codings),
            };
            header(out, name, value);
        }
        if let Some(seconds) = self.retry_after_s {
            header(out, "\r\nRetry-After: ", itoa::Buffer::new().format(seconds));
        }
        if let Some(pieces) = self.location {
            out.extend_from_slice(b"\r\nLocation: ");
            for piece in pieces {
                assert!(piece.bytes().all(|b| b.is_ascii_graphic()), "no header is ever split");
                out.extend_from_slice(piece.as_bytes());
            }
        }
        if self.no_store {
            out.extend_from_slice(b"\r\nCache-Control: no-store");
        }
        out.extend_from_slice(context.persistence.end_of_head());
    }
}

/// Answers that a precondition is not met (RFC 9110, section 13.2.1): nothing was done or shown.
#[cold]
fn write_unmet(status: Status, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    let context = ResponseContext { status_override: None, ..*context };
    if status == Status::NotModified {
        Response { content_type: None, ..Response::new(status, JSON) }.write(&context, &[], out);
    } else {
        Problem::of(Kind::PRECONDITION_FAILED).write(&context, out);
    }
}

#[inline]
fn header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

impl Problem {
    /// The head of its response: `application/problem+json`, with `Retry-After` and the remedy if
    /// there are any.
    pub fn response(&self) -> Response<'static> {
        Response {
            remedy: self.remedy,
            retry_after_s: self.retry_after_s,
            ..Response::new(self.kind.status, PROBLEM_JSON)
        }
    }

    /// Appends the problem.
    pub fn write(&self, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
        self.response().write(context, &[&json_bytes(self)], out);
    }
}

impl ParseError {
    /// Appends the problem with `Connection: close`; the caller must close the connection. `input`
    /// starts with the received part of the rejected request: the answer to HEAD has no body (RFC
    /// 9110, section 9.3.2).
    pub fn write(self, input: &[u8], date: &HttpDate, out: &mut Vec<u8>) {
        let head_only = asks_for_head(input);
        Problem::from(self)
            .write(&ResponseContext { head_only, ..ResponseContext::closing(date) }, out);
    }
}

/// A value as JSON. All types that are written have string keys and a `Serialize` that can't fail.
pub fn json_bytes(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    let written = serde_json::to_writer(&mut bytes, value);
    debug_assert!(written.is_ok(), "{written:?}");
    bytes
}

/// Appends a 200 with this JSON, with `no-store`.
pub fn write_json(value: &impl Serialize, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    write_json_bytes(&json_bytes(value), context, out);
}

/// The same with JSON that was encoded before.
pub fn write_json_bytes(json: &[u8], context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    Response::new(Status::Ok, JSON).write(context, &[json], out);
}

/// Appends the answer to OPTIONS: 204 with `Allow`.
pub fn write_options(allow: &'static str, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    let response = Response {
        remedy: Some(Remedy::Allow(allow)),
        content_type: None,
        no_store: false,
        ..Response::new(Status::NoContent, JSON)
    };
    response.write(context, &[], out);
}

/// Inserts a header into the response that begins at `start`, before all other headers.
pub(super) fn put_header(name: &str, value: &str, start: usize, out: &mut Vec<u8>) -> Option<()> {
    debug_assert!(value.bytes().all(|b| matches!(b, b' '..=b'~')), "no header is ever split");
    let line_end = start + memchr::memchr(b'\r', out.get(start..)?)?;
    let line = ["\r\n", name, ": ", value].concat();
    out.splice(line_end..line_end, line.into_bytes());
    Some(())
}

/// Inserts `Idempotency-Replayed: true` into the response that begins at `start`: it answers a
/// request that was carried out before.
#[cold]
pub fn write_replayed(start: usize, out: &mut Vec<u8>) {
    put_header("Idempotency-Replayed", "true", start, out);
}

/// Response headers that a page may read, besides those that every page may.
const EXPOSED: &str = "Idempotency-Replayed,Location,Retry-After,WWW-Authenticate,X-Request-Id";
/// Request headers that a page may send, besides those that every page may.
const ASKED: &str = "Authorization,Content-Type,Idempotency-Key,X-Request-Id,traceparent";
/// How long a browser may cache the result of a preflight, in seconds: the maximum of most
/// browsers.
const ASKED_AGE_S: &str = "7200";

/// Lets a page of this origin read the response that begins at `start` (Fetch, section 3.3).
/// `asks`: the response answers a preflight; these methods are allowed.
#[cold]
pub fn write_cross_origin(origin: &str, asks: Option<&str>, start: usize, out: &mut Vec<u8>) {
    // Each header is inserted first, so the last one written comes first.
    if let Some(methods) = asks {
        let methods: String = methods.split(' ').collect();
        put_header("Access-Control-Max-Age", ASKED_AGE_S, start, out);
        put_header("Access-Control-Allow-Headers", ASKED, start, out);
        put_header("Access-Control-Allow-Methods", &methods, start, out);
    } else {
        put_header("Access-Control-Expose-Headers", EXPOSED, start, out);
    }
    if origin != "*" {
        put_header("Vary", "Origin", start, out);
    }
    put_header("Access-Control-Allow-Origin", origin, start, out);
}

/// Inserts `X-Request-Id` into the response that begins at `start`, and returns its status. It is
/// inserted afterwards, so that responses without it, which are nearly all, cost nothing more.
#[cold]
pub fn write_request_id(id: Option<&str>, start: usize, out: &mut Vec<u8>) -> Option<u16> {
    let response = out.get(start..)?;
    let digits = str::from_utf8(response.get("HTTP/1.1 ".len()..)?.get(..3)?).ok()?;
    let status = digits.parse().ok()?;
    if let Some(id) = id {
        put_header(REQUEST_ID, id, start, out)?;
    }
    Some(status)
}

/// A whole response that is encoded once and written often. Only the [`ResponseContext`] varies.
#[derive(Debug, Clone)]
pub struct Preencoded {
    bytes: Box<[u8]>,
    date_at: usize,
    /// Length of the head for a connection that stays open.
    head_bytes: usize,
}

impl Preencoded {
    /// Keeps what `write` appends for the given context.
    pub fn new(write: impl FnOnce(&ResponseContext<'_>, &mut Vec<u8>)) -> Self {
        let date = HttpDate::new(0);
        let persistence = Persistence::KeepAlive;
        let context =
            ResponseContext { date: &date, persistence, head_only: false, status_override: None };
        let mut bytes = Vec::new();
        write(&context, &mut bytes);
        let find = |what: &[u8]| memchr::memmem::find(&bytes, what).expect("a whole response");
        let date_at = find(b"\r\nDate: ") + b"\r\nDate: ".len();
        let head_bytes = find(b"\r\n\r\n") + 4;
        assert_eq!(&bytes[date_at..date_at + DATE_BYTES], date.text());
        Self { bytes: bytes.into(), date_at, head_bytes }
    }

    /// This problem.
    pub fn problem(problem: &Problem) -> Self {
        Self::new(|context, out| problem.write(context, out))
    }

    /// Appends the response.
    #[inline]
    pub fn write(&self, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
        debug_assert_eq!(
            context.status_override, None,
            "what is asked under a condition is not canned"
        );
        let date_at = out.len() + self.date_at;
        if context.persistence == Persistence::KeepAlive && !context.head_only {
            out.extend_from_slice(&self.bytes);
        } else {
            let (head, body) = self.bytes.split_at(self.head_bytes);
            out.extend_from_slice(&head[..head.len() - Persistence::KeepAlive.end_of_head().len()]);
            out.extend_from_slice(context.persistence.end_of_head());
            if !context.head_only {
                out.extend_from_slice(body);
            }
        }
        out[date_at..date_at + DATE_BYTES].copy_from_slice(context.date.text());
    }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
