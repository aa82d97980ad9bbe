//! A request's head, and the rules for each header field that has a meaning here.
//!
//! Ambiguous framing is rejected (RFC 9112, sections 6.3 and 11.2). Both parsers, `fast_path` and
//! `request`, build their heads with the functions of this file.

use super::problem::{Kind, ParseError};
use crate::limits::BODY_BYTES_MAX;
use crate::trace::Trace;

/// The header that names a request, in the request and in its answer.
pub const REQUEST_ID: &str = "X-Request-Id";

/// A method. CONNECT is not among them: [`parse_head`](super::parse_head) answers it with 501 and
/// closes, since the bytes after it would not be HTTP.
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
    Query,
    Trace,
    /// An unknown method: see [`Head::problem_before_routing`].
    Other,
}

impl Method {
    /// The name. Empty for an unknown method.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Query => "QUERY",
            Self::Trace => "TRACE",
            Self::Other => "",
        }
    }
}

/// The version of the request.
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
    /// A body of this many bytes: 1 to [`BODY_BYTES_MAX`].
    Length(u64),
    /// A chunked body: see [`ChunkedDecoder`](super::ChunkedDecoder).
    Chunked,
}

/// A request's head, borrowed from the input. Values are as sent, without surrounding blanks.
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
    /// `X-User-Id`. Any bytes except control characters.
    pub user: Option<&'a [u8]>,
    /// `Idempotency-Key`. Any bytes except control characters.
    pub idempotency_key: Option<&'a [u8]>,
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// Rare properties.
    pub rare: RareFlags,
    /// The head as it came, including the empty lines before it and the one that ends it. The body,
    /// or the next request, starts after it.
    pub bytes: &'a [u8],
}

/// Rare properties of a request, in one byte. Most requests have none, and checking that is cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RareFlags(u8);

impl RareFlags {
    /// There is an `If-Match` or `If-None-Match`: see [`Head::unmet_precondition`].
    pub(super) const CONDITIONAL: Self = Self(1);
    /// `Content-Encoding` names a coding: the body is encoded.
    pub(super) const ENCODED: Self = Self(2);
    /// The target is an `https://` URI.
    pub(super) const MISDIRECTED: Self = Self(4);
    /// There is an `X-Request-Id` or a `traceparent`: see [`Head::trace`].
    pub(super) const TRACED: Self = Self(8);
    /// There is an `Origin`: see [`Head::origin`].
    pub(super) const OF_A_PAGE: Self = Self(32);
    /// There is an `Authorization`: see [`Head::bearer`].
    pub(super) const AUTHORIZED: Self = Self(16);

    #[inline]
    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline]
    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl<'a> Head<'a> {
    /// The problem that is answered for any path, on a connection that is `secure` or not. The end
    /// of the request is known, so the connection stays open.
    #[inline]
    pub fn problem_before_routing(&self, secure: bool) -> Option<&'static Kind> {
        if self.method == Method::Other {
            return Some(Kind::NOT_IMPLEMENTED);
        }
        let misdirected = !secure && self.rare.has(RareFlags::MISDIRECTED);
        misdirected.then_some(Kind::MISDIRECTED_REQUEST)
    }

    /// Whether any of [`unmet_precondition`](Self::unmet_precondition), [`trace`](Self::trace) and
    /// [`origin`](Self::origin) may return something: there are conditions, a request id or trace,
    /// or an `Origin`.
    #[inline]
    pub fn has_rare_headers(&self) -> bool {
        self.rare.has(RareFlags::CONDITIONAL.and(RareFlags::TRACED).and(RareFlags::OF_A_PAGE))
    }

    /// The `Origin` of the web page that sends the request. `None` as well if there are several.
    pub fn origin(&self) -> Option<&'a [u8]> {
        if !self.rare.has(RareFlags::OF_A_PAGE) {
            return None;
        }
        let mut values = self.values("origin");
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether the request has an `X-Request-Id` or a `traceparent`.
    pub(super) fn is_traced(&self) -> bool {
        self.rare.has(RareFlags::TRACED)
    }

    /// The request id and trace, if they are valid.
    pub fn trace(&self) -> Option<Trace> {
        let values = |name| self.values(name);
        self.is_traced().then(|| Trace::read(values(REQUEST_ID), values("traceparent")))?
    }

    /// All values of a header field, as sent, without surrounding blanks. It scans the head: for
    /// rarely used fields.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let lines = memchr::memmem::find_iter(self.bytes, b"\r\n").map(|end| end + 2);
        lines.filter_map(move |start| {
            let (found, rest) = self.bytes[start..].split_at_checked(name.len())?;
            let rest = rest.strip_prefix(b":")?;
            let end = memchr::memmem::find(rest, b"\r\n")?;
            found.eq_ignore_ascii_case(name.as_bytes()).then(|| rest[..end].trim_ascii())
        })
    }

    /// Host and port of a target in absolute-form, which take precedence over the header `Host`
    /// (RFC 9112, section 3.2.2).
    pub fn target_host(&self) -> Option<&'a [u8]> {
        let target = self.bytes.split(|&b| b == b' ').nth(1)?;
        let at =
            memchr::memmem::find(target, b"://").filter(|_| target[0].is_ascii_alphabetic())?;
        target[at + 3..].split(|&b| matches!(b, b'/' | b'?')).next()
    }
}

/// The parts of a request line.
pub(super) struct RequestLine<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) version: Version,
    pub(super) rare: RareFlags,
}

/// The header fields that have a meaning here, each seen at most once.
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
    rare: RareFlags,
}

impl<'a> Fields<'a> {
    /// Takes one header line. The length of the name selects the candidates. `plainly_spaced`
    /// returns whether only a colon and at most one space are between name and value.
    #[inline]
    pub(super) fn take(
        &mut self,
        name: &[u8],
        value: &'a [u8],
        plainly_spaced: impl FnOnce() -> bool,
    ) -> Result<(), ParseError> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            4 if is("host") => {
                once(&mut self.host, value, "more than one Host")?;
                if !is_host(value) {
                    return Err(ParseError::bad("the Host is not valid"));
                }
            }
            10 if is("connection") => self.connection(value),
            14 if is("content-length") => {
                once(&mut self.content_length, value, "more than one Content-Length")?;
            }
            17 if is("transfer-encoding") => {
                if !plainly_spaced() {
                    return Err(ParseError::bad("unusual whitespace around Transfer-Encoding"));
                }
                once(&mut self.transfer_encoding, value, "more than one Transfer-Encoding")?;
            }
            6 if is("origin") => self.rare = self.rare.and(RareFlags::OF_A_PAGE),
            6 if is("expect") => {
                for expectation in elements(value) {
                    if !expectation.eq_ignore_ascii_case(b"100-continue") {
                        return Err(ParseError::of(Kind::EXPECTATION_FAILED));
                    }
                    self.expect_continue = true;
                }
            }
            9 if is("x-user-id") => once(&mut self.user, value, "more than one X-User-Id")?,
            15 if is("idempotency-key") => {
                once(&mut self.idempotency_key, value, "more than one Idempotency-Key")?;
            }
            12 if is("content-type") => {
                once(&mut self.content_type, value, "more than one Content-Type")?;
            }
            11 if is("traceparent") => self.rare = self.rare.and(RareFlags::TRACED),
            12 if is(REQUEST_ID) => self.rare = self.rare.and(RareFlags::TRACED),
            16 if is("content-encoding") && names_a_coding(value) => {
                self.rare = self.rare.and(RareFlags::ENCODED);
            }
            8 if is("if-match") => self.rare = self.rare.and(RareFlags::CONDITIONAL),
            13 if is("if-none-match") => {
                self.rare = self.rare.and(RareFlags::CONDITIONAL);
            }
            13 if is("authorization") => {
                self.rare = self.rare.and(RareFlags::AUTHORIZED);
            }
            _ => {}
        }
        Ok(())
    }

    /// The head of this request line and these header lines, with this framing.
    // Inlined, so that it is built in place: it is large, and copying it is measurable.
    #[inline(always)]
    pub(super) fn into_head(
        self,
        line: RequestLine<'a>,
        framing: Framing,
        bytes: &'a [u8],
    ) -> Head<'a> {
        let RequestLine { method, path, query, version, rare } = line;
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
            rare: rare.and(self.rare),
            bytes,
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

    /// The framing, or an error if the header lines contradict each other.
    #[inline]
    pub(super) fn framing(&self, version: Version) -> Result<Framing, ParseError> {
        if self.host.is_none() && version == Version::Http11 {
            return Err(ParseError::bad("HTTP/1.1 needs a Host header"));
        }
        match (self.transfer_encoding, self.content_length) {
            (None, None) => Ok(Framing::None),
            (None, Some(length)) => parse_length(length),
            (Some(_), Some(_)) => Err(ParseError::bad(
                "both Transfer-Encoding and Content-Length: where the body ends is ambiguous",
            )),
            (Some(_), None) if version == Version::Http10 => {
                Err(ParseError::bad("HTTP/1.0 has no Transfer-Encoding"))
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
) -> Result<(), ParseError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(ParseError::bad(twice)),
    }
}

/// The elements of a list, without empty ones (RFC 9110, section 5.6.1.2).
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether a `Content-Encoding` names a coding other than `identity`.
fn names_a_coding(value: &[u8]) -> bool {
    elements(value).any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
}

/// `1*DIGIT`, and no more than [`BODY_BYTES_MAX`].
fn parse_length(value: &[u8]) -> Result<Framing, ParseError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(ParseError::bad("Content-Length is not a number"));
    }
    let length =
        value.iter().fold(0u64, |n, &b| n.saturating_mul(10).saturating_add(u64::from(b - b'0')));
    match length {
        0 => Ok(Framing::None),
        _ if length > BODY_BYTES_MAX as u64 => Err(ParseError::of(Kind::CONTENT_TOO_LARGE)),
        _ => Ok(Framing::Length(length)),
    }
}

/// Accepts exactly `chunked`. Unlike in other lists, not even an empty element beside it is
/// ignored: two readers that find different last codings frame differently. A list of valid coding
/// names without `chunked`, or with it last, is an unknown coding (501); anything else can't be
/// framed (400).
fn parse_codings(value: &[u8]) -> Result<(), ParseError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.rsplit(|&b| b == b',').map(<[u8]>::trim_ascii);
    let mut earlier = codings.clone().skip(1);
    let chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if codings.any(|coding| !is_token(coding)) || earlier.any(chunked) {
        return Err(ParseError::bad("Transfer-Encoding is not `chunked`"));
    }
    let detail = "the only supported transfer coding is chunked";
    Err(ParseError { kind: Kind::NOT_IMPLEMENTED, detail })
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
pub(super) fn is_host(value: &[u8]) -> bool {
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

/// Nothing, or a colon and a port to 65535, which may be empty.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && (digits.len() < 5 || digits.len() == 5 && digits <= &b"65535"[..])
        }
        _ => false,
    }
}
