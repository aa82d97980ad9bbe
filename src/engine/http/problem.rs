//! Error answers: problem details (RFC 9457) of a [`Kind`], and the kinds that HTTP itself has. The
//! service has further kinds.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::status::Status;

/// A kind of problem: the parts that are the same each time.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The stable code that clients match on, in snake case.
    pub code: &'static str,
    /// The HTTP status.
    pub status: Status,
    /// A sentence for people.
    pub detail: &'static str,
    /// The value of `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
}

macro_rules! kinds {
    ($($name:ident = $code:literal $status:ident $detail:literal,)*) => {
        impl Kind {
            /// The kinds of HTTP itself.
            pub const ALL: &'static [&'static Self] = &[$(Self::$name,)*];
            $(
                #[doc = $detail]
                pub const $name: &'static Self = &Self::new($code, Status::$status, $detail);
            )*
        }
    };
}

kinds! {
    BAD_REQUEST = "bad_request" BadRequest "The request is malformed.",
    UNAUTHORIZED = "unauthorized" Unauthorized "The request needs a credential.",
    FORBIDDEN = "forbidden" Forbidden "The request is not allowed here.",
    NOT_FOUND = "not_found" NotFound "There is nothing at this path.",
    METHOD_NOT_ALLOWED = "method_not_allowed" MethodNotAllowed "The path does not support this method; the header Allow lists those it supports.",
    REQUEST_TIMEOUT = "request_timeout" RequestTimeout "The request did not arrive in time.",
    PRECONDITION_FAILED = "precondition_failed" PreconditionFailed "A precondition of the request is not met; nothing was done. Resources have no entity tags.",
    CONTENT_TOO_LARGE = "content_too_large" ContentTooLarge "The body is longer than 16 KiB.",
    URI_TOO_LONG = "uri_too_long" UriTooLong "The request line is longer than 4 KiB.",
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type" UnsupportedMediaType "The body must be application/json.",
    EXPECTATION_FAILED = "expectation_failed" ExpectationFailed "The only supported expectation is 100-continue.",
    MISDIRECTED_REQUEST = "misdirected_request" MisdirectedRequest "The target is https://, but this connection is not encrypted.",
    INVALID = "invalid" UnprocessableContent "A value is not valid.",
    HEAD_TOO_LARGE = "head_too_large" HeadTooLarge "The head is longer than 8 KiB or has more than 64 header lines.",
    INTERNAL = "internal" InternalServerError "The server failed; the request may or may not have had an effect.",
    NOT_IMPLEMENTED = "not_implemented" NotImplemented "The method or transfer coding is not supported.",
    VERSION_NOT_SUPPORTED = "version_not_supported" VersionNotSupported "Only HTTP/1.1 and HTTP/1.0 are supported.",
}

impl Kind {
    /// The server has the maximum number of connections.
    pub const BUSY: &'static Self = &Self::new(
        "busy",
        Status::ServiceUnavailable,
        "The server has reached its maximum number of connections.",
    )
    .retry_after_s(1);

    /// The client's address has the maximum number of connections.
    pub const TOO_MANY_CONNECTIONS: &'static Self = &Self::new(
        "busy",
        Status::ServiceUnavailable,
        "This address has reached its maximum number of connections.",
    )
    .retry_after_s(1);

    /// A kind without `Retry-After`.
    pub const fn new(code: &'static str, status: Status, detail: &'static str) -> Self {
        Self { code, status, detail, retry_after_s: None }
    }

    /// The same with `Retry-After`.
    pub const fn retry_after_s(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }
}

/// Why a request was rejected before routing. The rest of the connection's input has no known
/// meaning after it, so the connection is always closed after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseError {
    /// The kind.
    pub kind: &'static Kind,
    /// The reason, for people.
    pub detail: &'static str,
}

impl ParseError {
    /// 400 with this sentence.
    pub(super) const fn bad(detail: &'static str) -> Self {
        Self { kind: Kind::BAD_REQUEST, detail }
    }

    /// The kind with its own sentence.
    pub const fn of(kind: &'static Kind) -> Self {
        Self { kind, detail: kind.detail }
    }
}

/// A header that names what would be accepted. A response has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// `Allow`: the methods of the path (405, and 204 to OPTIONS).
    Allow(&'static str),
    /// `WWW-Authenticate`: how the client can authenticate (401).
    Authenticate(&'static str),
    /// `Accept`: the accepted media type (415).
    Accept(&'static str),
    /// `Accept-Encoding`: the accepted codings (415).
    AcceptEncoding(&'static str),
}

/// Maximum number of characters of a client's text in a problem, so that a response stays bounded.
const FIELD_CHARS_MAX: usize = 64;

/// Problem details (RFC 9457). The type is `about:blank`, so the title is the reason phrase of the
/// status. Clients match on the kind's code.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The kind.
    pub kind: &'static Kind,
    /// The reason, for people.
    pub detail: Cow<'static, str>,
    /// The wrong input: a member of the body, a header or a parameter.
    pub field: Option<Cow<'static, str>>,
    /// `Retry-After` in place of the kind's own value.
    pub retry_after_s: Option<u32>,
    /// What would be accepted.
    pub remedy: Option<Remedy>,
    /// More members, for instance `opens_at`.
    pub members: Vec<(&'static str, Value)>,
}

impl Problem {
    /// The kind with its own sentence.
    pub fn of(kind: impl Into<&'static Kind>) -> Self {
        let kind = kind.into();
        Self {
            kind,
            detail: Cow::Borrowed(kind.detail),
            field: None,
            retry_after_s: kind.retry_after_s,
            remedy: None,
            members: Vec::new(),
        }
    }

    /// The kind with this sentence.
    pub fn new(kind: impl Into<&'static Kind>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), ..Self::of(kind) }
    }

    /// 422 for this field. A long name, which can only be a client's, is truncated.
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: Some(truncated(field.into())), ..Self::new(Kind::INVALID, detail) }
    }

    /// 405 with the allowed methods.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::of(Kind::METHOD_NOT_ALLOWED).with_remedy(Remedy::Allow(allow))
    }

    /// Adds what would be accepted.
    pub fn with_remedy(self, remedy: Remedy) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// Adds a member.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }
}

/// Truncates a name that a client sent.
pub fn truncated(name: Cow<'_, str>) -> Cow<'_, str> {
    match name.char_indices().nth(FIELD_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => name,
    }
}

impl From<ParseError> for Problem {
    fn from(reject: ParseError) -> Self {
        Self::new(reject.kind, reject.detail)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let status = self.kind.status;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "about:blank")?;
        map.serialize_entry("title", status.reason())?;
        map.serialize_entry("status", &status.code())?;
        map.serialize_entry("code", self.kind.code)?;
        map.serialize_entry("detail", &self.detail)?;
        if let Some(field) = &self.field {
            map.serialize_entry("field", field)?;
        }
        for (name, value) in &self.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_escape_what_clients_send() {
        let problem = Problem::invalid("a\"\u{1}\n", "bad").with("limit", 2);
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"about:blank","title":"Unprocessable Content","status":422,"code":"invalid","detail":"bad","field":"a\"\u0001\n","limit":2}"#
        );
        let long = Problem::invalid("票".repeat(5000), "bad");
        assert_eq!(long.field.unwrap().chars().count(), FIELD_CHARS_MAX + 1);
    }
}
