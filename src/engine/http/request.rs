//! Reads a request's head and decides what it means, once and for all readers.
//!
//! `httparse` finds the parts; it takes bare LF as a line end, any number of empty lines and any
//! target, and knows nothing of framing. All of that is judged here. Whatever could be framed in
//! two ways is 400 (RFC 9112, sections 6.3 and 11.2), and every [`Reject`] closes the connection.
//! The answer never depends on how the bytes were cut into pieces on their way.

use std::mem::MaybeUninit;

use super::head::{Fields, Head, Method, Oddities, RequestLine, Version, is_host};
use super::plain::read_plain;
use super::problem::{Kind, Reject};
use crate::limits::{EMPTY_LINES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_LINE_BYTES_MAX};

/// Reads the head that `input` starts with. `None`: it is not complete yet, and still within its
/// bounds.
pub fn parse_head(input: &[u8]) -> Result<Option<Head<'_>>, Reject> {
    match read_plain(input) {
        Some(head) => {
            debug_assert_eq!(judge(input), Ok(Some(head)), "read in two ways");
            Ok(Some(head))
        }
        None => judge(input),
    }
}

/// The same for every head, plain or not.
pub(super) fn judge(input: &[u8]) -> Result<Option<Head<'_>>, Reject> {
    let blank_bytes = if input.first().is_some_and(|&b| b > b'\r') {
        0 // Nearly always.
    } else {
        skip_empty_lines(input)?
    };
    let head = &input[blank_bytes..input.len().min(HEAD_BYTES_MAX)];
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut headers) {
        Ok(httparse::Status::Complete(head_bytes)) => {
            check_lines(&head[..head_bytes], request.headers)?;
            interpret(head, &request, &input[..blank_bytes + head_bytes]).map(Some)
        }
        Ok(httparse::Status::Partial) => incomplete(head, input),
        Err(httparse::Error::Version) if let Some(at) = higher_minor(head) => {
            judge_as_1_1(head, at, input, blank_bytes)
        }
        Err(error) => malformed(head, error).map(|()| None),
    }
}

/// Where the minor version of `HTTP/1.2` to `HTTP/1.9` stands, if the line ends as it must.
fn higher_minor(head: &[u8]) -> Option<usize> {
    let at = head.iter().position(|&b| b == b'\r')?.checked_sub(1)?;
    let is_higher = head[at].is_ascii_digit() && head[..at].ends_with(b" HTTP/1.");
    (is_higher && head.get(at + 2) == Some(&b'\n')).then_some(at)
}

/// Reads a head of a higher minor version as one of 1.1, the highest that we know (RFC 9110, section
/// 2.5). `httparse` takes no other, so it is given a copy that says 1.1.
#[cold]
fn judge_as_1_1<'a>(
    head: &'a [u8],
    minor_at: usize,
    input: &'a [u8],
    blank_bytes: usize,
) -> Result<Option<Head<'a>>, Reject> {
    let mut copy = head.to_vec();
    copy[minor_at] = b'1';
    let mut found = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut of_copy = httparse::Request::new(&mut []);
    match of_copy.parse_with_uninit_headers(&copy, &mut found) {
        Ok(httparse::Status::Complete(head_bytes)) => {
            let here = |text: &str| {
                let at = offset(&copy, text);
                str::from_utf8(&head[at..at + text.len()]).unwrap_or_default()
            };
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            for (header, of_copy) in headers.iter_mut().zip(of_copy.headers.iter()) {
                let value_at = of_copy.value.as_ptr() as usize - copy.as_ptr() as usize;
                let value = &head[value_at..value_at + of_copy.value.len()];
                *header = httparse::Header { name: here(of_copy.name), value };
            }
            let count = of_copy.headers.len();
            let mut request = httparse::Request::new(&mut headers[..count]);
            request.method = of_copy.method.map(here);
            request.path = of_copy.path.map(here);
            request.version = Some(1);
            check_lines(&head[..head_bytes], request.headers)?;
            interpret(head, &request, &input[..blank_bytes + head_bytes]).map(Some)
        }
        Ok(httparse::Status::Partial) => incomplete(head, input),
        Err(error) => malformed(&copy, error).map(|()| None),
    }
}

/// Whether what has come of a request begins with HEAD.
pub(super) fn asks_for_head(mut input: &[u8]) -> bool {
    while let Some(rest) = input.strip_prefix(b"\r\n") {
        input = rest;
    }
    input.starts_with(b"HEAD ")
}

/// A head without an end: it may yet come, or is beyond a bound.
#[inline]
fn incomplete<'a>(head: &[u8], input: &[u8]) -> Result<Option<Head<'a>>, Reject> {
    if line_is_too_long(head) {
        Err(Reject::of(Kind::URI_TOO_LONG))
    } else if input.len() >= HEAD_BYTES_MAX {
        Err(Reject::of(Kind::HEAD_TOO_LARGE))
    } else {
        Ok(None)
    }
}

/// Bytes of the empty lines before the request line.
fn skip_empty_lines(input: &[u8]) -> Result<usize, Reject> {
    let mut bytes = 0;
    while input[bytes..].starts_with(b"\r\n") {
        bytes += 2;
        if bytes > 2 * EMPTY_LINES_MAX {
            return Err(Reject::bad("too many empty lines before the request line"));
        }
    }
    match input[bytes..] {
        [b'\n', ..] => Err(Reject::bad(LINE_END)),
        _ => Ok(bytes),
    }
}

const LINE_END: &str = "lines end with CRLF";

/// No line end within the bound: whatever it will be, it is too long.
fn line_is_too_long(head: &[u8]) -> bool {
    head.len() >= REQUEST_LINE_BYTES_MAX
        && memchr::memchr(b'\n', &head[..REQUEST_LINE_BYTES_MAX]).is_none()
}

/// Names what `httparse` found. `Ok`: it is only that more has to come before we know.
#[cold]
fn malformed(head: &[u8], error: httparse::Error) -> Result<(), Reject> {
    if !line_is_too_long(head) {
        return name(head, error);
    }
    // What is wrong within the bound counts first: the answer must not depend on how much of the
    // rest is here already.
    let line = &head[..REQUEST_LINE_BYTES_MAX];
    if let Err(error) = httparse::Request::new(&mut []).parse_with_uninit_headers(line, &mut []) {
        name(line, error)?;
    }
    Err(Reject::of(Kind::URI_TOO_LONG))
}

fn name(head: &[u8], error: httparse::Error) -> Result<(), Reject> {
    match error {
        httparse::Error::Version => unsupported_version(head),
        error => Err(reject(error)),
    }
}

fn reject(error: httparse::Error) -> Reject {
    match error {
        httparse::Error::TooManyHeaders => Reject::of(Kind::HEAD_TOO_LARGE),
        httparse::Error::HeaderName => Reject::bad("a header line has no valid name"),
        httparse::Error::HeaderValue => Reject::bad("a header has a control character in it"),
        httparse::Error::NewLine => Reject::bad(LINE_END),
        httparse::Error::Token | httparse::Error::Status | httparse::Error::Version => {
            Reject::bad("the request line is not `METHOD target HTTP/1.1`")
        }
    }
}

/// 505 for `HTTP/`, a digit, a point and a digit (RFC 9112, section 2.3) other than 1.x; 400 for
/// anything else.
fn unsupported_version(head: &[u8]) -> Result<(), Reject> {
    let version = head.splitn(3, |&b| b == b' ').nth(2).unwrap_or_default();
    let form = b"HTTP/0.0\r\n";
    let version = &version[..version.len().min(form.len())];
    let fits = version.iter().zip(form).all(|(&got, &want)| match want {
        b'0' => got.is_ascii_digit(),
        _ => got == want,
    });
    match fits {
        true if version.len() < form.len() => Ok(()),
        true => Err(Reject::of(Kind::VERSION_NOT_SUPPORTED)),
        false => Err(reject(httparse::Error::Version)),
    }
}

/// Checks what `httparse` lets pass: a line that ends with a bare LF, and a long request line.
///
/// Each line but the first starts with a header's name, so it is enough to look at the two bytes
/// before each name, and at the end.
#[inline]
fn check_lines(head: &[u8], headers: &[httparse::Header<'_>]) -> Result<(), Reject> {
    let line_bytes = headers.first().map_or(head.len() - 2, |header| offset(head, header.name));
    if line_bytes > REQUEST_LINE_BYTES_MAX {
        return Err(Reject::of(Kind::URI_TOO_LONG));
    }
    let mut ends = headers.iter().map(|header| &head[..offset(head, header.name)]);
    if !ends.all(|before| before.ends_with(b"\r\n")) || !head.ends_with(b"\r\n\r\n") {
        return Err(Reject::bad(LINE_END));
    }
    Ok(())
}

#[inline]
fn interpret<'a>(
    head: &[u8],
    request: &httparse::Request<'_, 'a>,
    bytes: &'a [u8],
) -> Result<Head<'a>, Reject> {
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let method = parse_method(method)?;
    let Target { path, query, oddities } = parse_target(method, target)?;
    let mut fields = Fields::default();
    for header in request.headers.iter() {
        let name = header.name.as_bytes();
        fields.take(name, header.value, || stands_plainly(head, header))?;
    }
    let framing = fields.framing(version)?;
    let line = RequestLine { method, path, query, version, oddities };
    Ok(fields.into_head(line, framing, bytes))
}

#[inline]
fn parse_method(method: &str) -> Result<Method, Reject> {
    Ok(match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "HEAD" => Method::Head,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        "QUERY" => Method::Query,
        "TRACE" => Method::Trace,
        // What follows these is no HTTP/1.1.
        "CONNECT" | "PRI" => {
            let detail = "there are no tunnels here";
            return Err(Reject { kind: Kind::NOT_IMPLEMENTED, detail });
        }
        _ => Method::Other,
    })
}

/// What a request target says.
struct Target<'a> {
    path: &'a str,
    query: Option<&'a str>,
    oddities: Oddities,
}

/// Path and query of a request target (RFC 9112, section 3.2): origin-form, absolute-form or, for
/// OPTIONS, `*`. Text beyond ASCII is let through, as by other servers: curl sends it as it is typed.
#[inline]
fn parse_target(method: Method, target: &str) -> Result<Target<'_>, Reject> {
    let invalid = Reject::bad("the request target is not valid");
    if target.bytes().any(|b| b <= b' ' || b == b'#' || b == 0x7f) {
        return Err(invalid);
    }
    let is_server = target == "*" && method == Method::Options;
    let (rest, oddities) = if target.starts_with('/') || is_server {
        (target, Oddities::default())
    } else {
        after_authority(target).ok_or(invalid)?
    };
    let (path, query) = match memchr::memchr(b'?', rest.as_bytes()) {
        None if rest.is_empty() && method == Method::Options => ("*", None),
        None if rest.is_empty() => ("/", None),
        None => (rest, None),
        Some(0) => ("/", Some(&rest[1..])),
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
    };
    Ok(Target { path, query, oddities })
}

/// What follows `http://host` in an absolute-form target, and whether it is `https://`: such a target
/// is well-formed, but not for a connection in the clear (RFC 9110, section 7.4).
#[cold]
fn after_authority(target: &str) -> Option<(&str, Oddities)> {
    let (scheme, rest) = target.split_once("://")?;
    let oddities = if scheme.eq_ignore_ascii_case("http") {
        Oddities::default()
    } else if scheme.eq_ignore_ascii_case("https") {
        Oddities::MISDIRECTED
    } else {
        return None;
    };
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    is_host(authority.as_bytes()).then_some((rest, oddities))
}

/// Only a colon and at most one space stand between name and value. A tab is legal, but a classic
/// way to hide the field from one of two readers, and nobody sends it by accident.
fn stands_plainly(head: &[u8], header: &httparse::Header<'_>) -> bool {
    let rest = &head[offset(head, header.name) + header.name.len()..];
    let rest = rest.strip_prefix(b":").unwrap_or_default();
    rest.strip_prefix(b" ").unwrap_or(rest).starts_with(header.value)
}

/// Where a name that `httparse` found in the head stands in it.
#[inline]
fn offset(head: &[u8], name: &str) -> usize {
    name.as_ptr() as usize - head.as_ptr() as usize
}
