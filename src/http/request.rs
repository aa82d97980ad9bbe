//! Reads a request's head and decides what it means, once and for all readers.
//!
//! `httparse` finds the parts; it takes bare LF as a line end, any number of empty lines and any
//! target, and knows nothing of framing. All of that is judged here. Whatever could be framed in
//! two ways is 400 (RFC 9112, sections 6.3 and 11.2), and every [`Reject`] closes the connection.
//! The answer never depends on how the bytes were cut into pieces on their way.

use std::mem::MaybeUninit;

use super::plain::read_plain;
use super::problem::{Code, Reject};
use crate::limits::{
    BODY_BYTES_MAX, EMPTY_LINES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_LINE_BYTES_MAX,
};

/// A method that we know. CONNECT is none of them: it is refused with 501 by [`parse_head`], like a
/// method nobody knows, since what would follow it is no HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Trace,
}

/// The version the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Where the body ends (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// There is no body.
    None,
    /// It has so many bytes: 1 to [`BODY_BYTES_MAX`].
    Length(u64),
    /// It says so itself: see [`ChunkedDecoder`](super::ChunkedDecoder).
    Chunked,
}

/// A request's head, borrowed from the input. Values are as sent, without the blanks around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method.
    pub method: Method,
    /// The path, not decoded: starts with `/`, or is `*` (OPTIONS only).
    pub path: &'a str,
    /// What follows the first `?`, not decoded.
    pub query: Option<&'a str>,
    /// The version.
    pub version: Version,
    /// The client wants the connection to stay open.
    pub keep_alive: bool,
    /// Where the body ends.
    pub framing: Framing,
    /// There is a body, and the client waits for [`CONTINUE`](super::CONTINUE) before it sends it.
    pub expect_continue: bool,
    /// `X-User-Id`. Any bytes but control characters.
    pub user: Option<&'a [u8]>,
    /// `Idempotency-Key`. Any bytes but control characters.
    pub idempotency_key: Option<&'a [u8]>,
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// Bytes of the input that the head takes: the body, or the next request, starts there.
    pub head_bytes: usize,
}

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
            interpret(head, &request, blank_bytes + head_bytes).map(Some)
        }
        Ok(httparse::Status::Partial) => {
            if line_is_too_long(head) {
                Err(Reject::of(Code::UriTooLong))
            } else if input.len() >= HEAD_BYTES_MAX {
                Err(Reject::of(Code::HeadTooLarge))
            } else {
                Ok(None)
            }
        }
        Err(error) => malformed(head, error).map(|()| None),
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
    Err(Reject::of(Code::UriTooLong))
}

fn name(head: &[u8], error: httparse::Error) -> Result<(), Reject> {
    match error {
        httparse::Error::Version => unsupported_version(head),
        error => Err(reject(error)),
    }
}

fn reject(error: httparse::Error) -> Reject {
    match error {
        httparse::Error::TooManyHeaders => Reject::of(Code::HeadTooLarge),
        httparse::Error::HeaderName => Reject::bad("a header line has no valid name"),
        httparse::Error::HeaderValue => Reject::bad("a header has a control character in it"),
        httparse::Error::NewLine => Reject::bad(LINE_END),
        httparse::Error::Token | httparse::Error::Status | httparse::Error::Version => {
            Reject::bad("the request line is not `METHOD target HTTP/1.1`")
        }
    }
}

/// 505 for `HTTP/`, a digit, a point and a digit (RFC 9112, section 2.3); 400 for anything else.
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
        true => Err(Reject::of(Code::VersionNotSupported)),
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
        return Err(Reject::of(Code::UriTooLong));
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
    head_bytes: usize,
) -> Result<Head<'a>, Reject> {
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let method = parse_method(method)?;
    let (path, query) = parse_target(method, target)?;
    let mut fields = Fields::default();
    for header in request.headers.iter() {
        let name = header.name.as_bytes();
        fields.take(name, header.value, || stands_plainly(head, header))?;
    }
    let framing = fields.framing(version)?;
    Ok(fields.into_head(RequestLine { method, path, query, version }, framing, head_bytes))
}

/// What a request line says.
pub(super) struct RequestLine<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) version: Version,
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
        "TRACE" => Method::Trace,
        _ => {
            let detail = "the method is not known here";
            return Err(Reject { code: Code::NotImplemented, detail });
        }
    })
}

/// Path and query of a request target (RFC 9112, section 3.2): origin-form, absolute-form or, for
/// OPTIONS, `*`. Text beyond ASCII is let through, as by other servers: curl sends it as it is typed.
#[inline]
fn parse_target(method: Method, target: &str) -> Result<(&str, Option<&str>), Reject> {
    let invalid = Reject::bad("the request target is not valid");
    if target.bytes().any(|b| b <= b' ' || b == b'#' || b == 0x7f) {
        return Err(invalid);
    }
    let rest = if target.starts_with('/') {
        target
    } else if target == "*" && method == Method::Options {
        return Ok((target, None));
    } else {
        after_authority(target).ok_or(invalid)?
    };
    match memchr::memchr(b'?', rest.as_bytes()) {
        None if rest.is_empty() && method == Method::Options => Ok(("*", None)),
        None if rest.is_empty() => Ok(("/", None)),
        None => Ok((rest, None)),
        Some(0) => Ok(("/", Some(&rest[1..]))),
        Some(at) => Ok((&rest[..at], Some(&rest[at + 1..]))),
    }
}

/// What follows `http://host` in an absolute-form target.
#[cold]
fn after_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    is_host(authority.as_bytes()).then_some(rest)
}

/// The header fields that mean something to us, each seen at most once.
#[derive(Default)]
pub(super) struct Fields<'a> {
    host: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    expect_continue: bool,
    user: Option<&'a [u8]>,
    idempotency_key: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// Takes one header line. The lengths tell the names that we know apart. `plainly` says whether
    /// only a colon and at most one space stand between name and value.
    #[inline]
    pub(super) fn take(
        &mut self,
        name: &[u8],
        value: &'a [u8],
        plainly: impl FnOnce() -> bool,
    ) -> Result<(), Reject> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            4 if is("host") => {
                once(&mut self.host, value, "more than one Host")?;
                if !is_host(value) {
                    return Err(Reject::bad("the Host is not valid"));
                }
            }
            10 if is("connection") => self.connection(value),
            14 if is("content-length") => {
                once(&mut self.content_length, value, "more than one Content-Length")?;
            }
            17 if is("transfer-encoding") => {
                if !plainly() {
                    return Err(Reject::bad("odd blanks around Transfer-Encoding"));
                }
                once(&mut self.transfer_encoding, value, "more than one Transfer-Encoding")?;
            }
            6 if is("expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Reject::of(Code::ExpectationFailed));
                }
                self.expect_continue = true;
            }
            9 if is("x-user-id") => once(&mut self.user, value, "more than one X-User-Id")?,
            15 if is("idempotency-key") => {
                once(&mut self.idempotency_key, value, "more than one Idempotency-Key")?;
            }
            12 if is("content-type") => {
                once(&mut self.content_type, value, "more than one Content-Type")?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The head of this request line and these header lines, which give it this framing.
    // Inlined, so that it is made where it stays: it is large, and copying it shows.
    #[inline(always)]
    pub(super) fn into_head(
        self,
        line: RequestLine<'a>,
        framing: Framing,
        head_bytes: usize,
    ) -> Head<'a> {
        let RequestLine { method, path, query, version } = line;
        let waits = self.expect_continue && version == Version::Http11 && framing != Framing::None;
        Head {
            method,
            path,
            query,
            version,
            keep_alive: !self.close && (version == Version::Http11 || self.keep_alive),
            framing,
            expect_continue: waits,
            user: self.user,
            idempotency_key: self.idempotency_key,
            content_type: self.content_type,
            head_bytes,
        }
    }

    #[inline]
    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&b| b == b',') {
            let option = option.trim_ascii();
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Where the body ends, if the header lines go together.
    #[inline]
    pub(super) fn framing(&self, version: Version) -> Result<Framing, Reject> {
        if self.host.is_none() && version == Version::Http11 {
            return Err(Reject::bad("HTTP/1.1 needs a Host header"));
        }
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(Framing::None),
            (None, Some(length)) => parse_length(length),
            (Some(_), Some(_)) => Err(Reject::bad(
                "both Transfer-Encoding and Content-Length: where the body ends is ambiguous",
            )),
            (Some(_), None) if version == Version::Http10 => {
                Err(Reject::bad("HTTP/1.0 has no Transfer-Encoding"))
            }
            (Some(codings), None) => parse_codings(codings).map(|()| Framing::Chunked),
        }
    }
}

#[inline]
fn once<'a>(
    field: &mut Option<&'a [u8]>,
    value: &'a [u8],
    twice: &'static str,
) -> Result<(), Reject> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(Reject::bad(twice)),
    }
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

/// `1*DIGIT`, and no more than we take.
fn parse_length(value: &[u8]) -> Result<Framing, Reject> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Reject::bad("Content-Length is not a number"));
    }
    let length =
        value.iter().fold(0u64, |n, &b| n.saturating_mul(10).saturating_add(u64::from(b - b'0')));
    match length {
        0 => Ok(Framing::None),
        _ if length > BODY_BYTES_MAX as u64 => Err(Reject::of(Code::ContentTooLarge)),
        _ => Ok(Framing::Length(length)),
    }
}

/// Exactly `chunked`. A list of proper coding names that has no `chunked`, or has it last, is one
/// that we don't know; anything else can't be framed.
fn parse_codings(value: &[u8]) -> Result<(), Reject> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.rsplit(|&b| b == b',').map(<[u8]>::trim_ascii);
    let mut earlier = codings.clone().skip(1);
    let chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if codings.any(|coding| !is_token(coding)) || earlier.any(chunked) {
        return Err(Reject::bad("Transfer-Encoding is not `chunked`"));
    }
    let detail = "the only transfer coding known here is chunked";
    Err(Reject { code: Code::NotImplemented, detail })
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&b| is_token_byte(b))
}

/// `tchar` of RFC 9110, section 5.6.2.
pub(super) const fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// `uri-host [ ":" port ]` (RFC 9110, section 7.2), not empty: an `http` URI has a host.
#[inline]
fn is_host(value: &[u8]) -> bool {
    let end = if value.first() == Some(&b'[') {
        let end = value.iter().position(|&b| b == b']').map_or(0, |at| at + 1);
        let literal = value.get(1..end.saturating_sub(1)).unwrap_or_default();
        if literal.is_empty() || !literal.iter().all(|&b| is_host_byte(b) || b == b':') {
            return false;
        }
        end
    } else {
        value.iter().position(|&b| !is_host_byte(b)).unwrap_or(value.len())
    };
    end > 0 && is_port(&value[end..])
}

#[inline]
fn is_host_byte(b: u8) -> bool {
    const LEGAL: [bool; 256] = {
        let mut legal = [false; 256];
        let mut b = 0;
        while b < 256 {
            // unreserved, sub-delims and the % of pct-encoded (RFC 3986, section 3.2.2).
            legal[b] = matches!(b as u8,
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%'
                | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
            b += 1;
        }
        legal
    };
    LEGAL[b as usize]
}

/// Nothing, or a colon and a port, which may be empty.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}
