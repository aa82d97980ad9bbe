//! Parses a request's head.
//!
//! `httparse` finds the parts. It accepts bare LF as a line end, any number of empty lines and any
//! target, and knows nothing of framing. These rules are checked here. Ambiguous framing is 400
//! (RFC 9112, sections 6.3 and 11.2), and every [`ParseError`] closes the connection. The answer
//! never depends on how the bytes were cut into pieces on their way.

use std::mem::MaybeUninit;

use super::fast_path::parse_fast;
use super::head::{Fields, Head, Method, RareFlags, RequestLine, Version, is_host};
use super::problem::{Kind, ParseError};
use crate::limits::{EMPTY_LINES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_LINE_BYTES_MAX};

/// Parses the head at the start of `input`. `None`: it is incomplete, and still within its bounds.
pub fn parse_head(input: &[u8]) -> Result<Option<Head<'_>>, ParseError> {
    match parse_fast(input) {
        Some(head) => {
            debug_assert_eq!(parse_strict(input), Ok(Some(head)), "read in two ways");
            Ok(Some(head))
        }
        None => parse_strict(input),
    }
}

/// The same for every head, plain or not.
pub(super) fn parse_strict(input: &[u8]) -> Result<Option<Head<'_>>, ParseError> {
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
            parse_strict_as_1_1(head, at, input, blank_bytes)
        }
        Err(error) => malformed(head, error).map(|()| None),
    }
}

/// The position of the minor version in `HTTP/1.2` to `HTTP/1.9`, if the line ends correctly.
fn higher_minor(head: &[u8]) -> Option<usize> {
    let at = head.iter().position(|&b| b == b'\r')?.checked_sub(1)?;
    let is_higher = head[at].is_ascii_digit() && head[..at].ends_with(b" HTTP/1.");
    (is_higher && head.get(at + 2) == Some(&b'\n')).then_some(at)
}

/// Parses a head of a higher minor version as one of 1.1, the highest known version (RFC 9110,
/// section 2.5). `httparse` accepts no other, so it gets a copy that says 1.1.
#[cold]
fn parse_strict_as_1_1<'a>(
    head: &'a [u8],
    minor_at: usize,
    input: &'a [u8],
    blank_bytes: usize,
) -> Result<Option<Head<'a>>, ParseError> {
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

/// Whether the received part of a request begins with HEAD.
pub(super) fn asks_for_head(mut input: &[u8]) -> bool {
    while let Some(rest) = input.strip_prefix(b"\r\n") {
        input = rest;
    }
    input.starts_with(b"HEAD ")
}

/// Handles a head without an end: it is incomplete, or beyond a bound.
#[inline]
fn incomplete<'a>(head: &[u8], input: &[u8]) -> Result<Option<Head<'a>>, ParseError> {
    if line_is_too_long(head) {
        Err(ParseError::of(Kind::URI_TOO_LONG))
    } else if input.len() >= HEAD_BYTES_MAX {
        Err(ParseError::of(Kind::HEAD_TOO_LARGE))
    } else {
        Ok(None)
    }
}

/// Length of the empty lines before the request line.
fn skip_empty_lines(input: &[u8]) -> Result<usize, ParseError> {
    let mut bytes = 0;
    while input[bytes..].starts_with(b"\r\n") {
        bytes += 2;
        if bytes > 2 * EMPTY_LINES_MAX {
            return Err(ParseError::bad("too many empty lines before the request line"));
        }
    }
    match input[bytes..] {
        [b'\n', ..] => Err(ParseError::bad(LINE_END)),
        _ => Ok(bytes),
    }
}

const LINE_END: &str = "lines end with CRLF";

/// Whether there is no line end within the bound, so that the line is too long in any case.
fn line_is_too_long(head: &[u8]) -> bool {
    head.len() >= REQUEST_LINE_BYTES_MAX
        && memchr::memchr(b'\n', &head[..REQUEST_LINE_BYTES_MAX]).is_none()
}

/// Converts an error of `httparse`. `Ok`: more bytes must come before the answer is known.
#[cold]
fn malformed(head: &[u8], error: httparse::Error) -> Result<(), ParseError> {
    if !line_is_too_long(head) {
        return name(head, error);
    }
    // An error within the bound counts first: the answer must not depend on how much of the rest
    // has arrived.
    let line = &head[..REQUEST_LINE_BYTES_MAX];
    if let Err(error) = httparse::Request::new(&mut []).parse_with_uninit_headers(line, &mut []) {
        name(line, error)?;
    }
    Err(ParseError::of(Kind::URI_TOO_LONG))
}

fn name(head: &[u8], error: httparse::Error) -> Result<(), ParseError> {
    match error {
        httparse::Error::Version => unsupported_version(head),
        error => Err(reject(error)),
    }
}

fn reject(error: httparse::Error) -> ParseError {
    match error {
        httparse::Error::TooManyHeaders => ParseError::of(Kind::HEAD_TOO_LARGE),
        httparse::Error::HeaderName => ParseError::bad("a header line has no valid name"),
        httparse::Error::HeaderValue => {
            ParseError::bad("a header value contains a control character")
        }
        httparse::Error::NewLine => ParseError::bad(LINE_END),
        httparse::Error::Token | httparse::Error::Status | httparse::Error::Version => {
            ParseError::bad("the request line is not `METHOD target HTTP/1.1`")
        }
    }
}

/// 505 for `HTTP/`, a digit, a point and a digit (RFC 9112, section 2.3) other than 1.x; 400 for
/// anything else.
fn unsupported_version(head: &[u8]) -> Result<(), ParseError> {
    let version = head.splitn(3, |&b| b == b' ').nth(2).unwrap_or_default();
    let form = b"HTTP/0.0\r\n";
    let version = &version[..version.len().min(form.len())];
    let fits = version.iter().zip(form).all(|(&got, &want)| match want {
        b'0' => got.is_ascii_digit(),
        _ => got == want,
    });
    match fits {
        true if version.len() < form.len() => Ok(()),
        true => Err(ParseError::of(Kind::VERSION_NOT_SUPPORTED)),
        false => Err(reject(httparse::Error::Version)),
    }
}

/// Checks what `httparse` accepts: a line that ends with a bare LF, and a long request line.
///
/// Each line but the first starts with a header's name, so it is enough to check the two bytes
/// before each name, and the end.
#[inline]
fn check_lines(head: &[u8], headers: &[httparse::Header<'_>]) -> Result<(), ParseError> {
    let line_bytes = headers.first().map_or(head.len() - 2, |header| offset(head, header.name));
    if line_bytes > REQUEST_LINE_BYTES_MAX {
        return Err(ParseError::of(Kind::URI_TOO_LONG));
    }
    let mut ends = headers.iter().map(|header| &head[..offset(head, header.name)]);
    if !ends.all(|before| before.ends_with(b"\r\n")) || !head.ends_with(b"\r\n\r\n") {
        return Err(ParseError::bad(LINE_END));
    }
    Ok(())
}

#[inline]
fn interpret<'a>(
    head: &[u8],
    request: &httparse::Request<'_, 'a>,
    bytes: &'a [u8],
) -> Result<Head<'a>, ParseError> {
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let method = parse_method(method)?;
    let Target { path, query, rare } = parse_target(method, target)?;
    let mut fields = Fields::default();
    for header in request.headers.iter() {
        let name = header.name.as_bytes();
        fields.take(name, header.value, || has_plain_spacing(head, header))?;
    }
    let framing = fields.framing(version)?;
    let line = RequestLine { method, path, query, version, rare };
    Ok(fields.into_head(line, framing, bytes))
}

#[inline]
fn parse_method(method: &str) -> Result<Method, ParseError> {
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
        // The bytes after these are not HTTP/1.1.
        "CONNECT" | "PRI" => {
            let detail = "tunnels are not supported";
            return Err(ParseError { kind: Kind::NOT_IMPLEMENTED, detail });
        }
        _ => Method::Other,
    })
}

/// The parts of a request target.
struct Target<'a> {
    path: &'a str,
    query: Option<&'a str>,
    rare: RareFlags,
}

/// Path and query of a request target (RFC 9112, section 3.2): origin-form, absolute-form or, for
/// OPTIONS, `*`. Text beyond ASCII is accepted, as by other servers: curl sends it as it is typed.
#[inline]
fn parse_target(method: Method, target: &str) -> Result<Target<'_>, ParseError> {
    let invalid = ParseError::bad("the request target is not valid");
    if target.bytes().any(|b| b <= b' ' || b == b'#' || b == 0x7f) {
        return Err(invalid);
    }
    let is_server = target == "*" && method == Method::Options;
    let (rest, rare) = if target.starts_with('/') || is_server {
        (target, RareFlags::default())
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
    Ok(Target { path, query, rare })
}

/// What follows `http://host` in an absolute-form target, and whether the scheme is `https`. Such a
/// target is well-formed, but not for an unencrypted connection (RFC 9110, section 7.4).
#[cold]
fn after_authority(target: &str) -> Option<(&str, RareFlags)> {
    let (scheme, rest) = target.split_once("://")?;
    let rare = if scheme.eq_ignore_ascii_case("http") {
        RareFlags::default()
    } else if scheme.eq_ignore_ascii_case("https") {
        RareFlags::MISDIRECTED
    } else {
        return None;
    };
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    is_host(authority.as_bytes()).then_some((rest, rare))
}

/// Whether only a colon and at most one space are between name and value. A tab is legal, but it is
/// a known way to hide a field from one of two readers, and clients do not send it by accident.
fn has_plain_spacing(head: &[u8], header: &httparse::Header<'_>) -> bool {
    let rest = &head[offset(head, header.name) + header.name.len()..];
    let rest = rest.strip_prefix(b":").unwrap_or_default();
    rest.strip_prefix(b" ").unwrap_or(rest).starts_with(header.value)
}

/// The offset in the head of a name that `httparse` found.
#[inline]
fn offset(head: &[u8], name: &str) -> usize {
    name.as_ptr() as usize - head.as_ptr() as usize
}
