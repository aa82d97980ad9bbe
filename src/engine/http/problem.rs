//! How it is said that something went wrong: problem details (RFC 9457) of a [`Kind`], and the kinds
//! that HTTP itself has. What is served has kinds of its own.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::status::Status;

/// A kind of problem: what is the same each time.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The stable code that clients match on, in snake case.
    pub code: &'static str,
    /// The HTTP status.
    pub status: Status,
    /// A sentence for people.
    pub detail: &'static str,
    /// What `Retry-After` says, in seconds.
    pub retry_after_s: Option<u32>,
}

macro_rules! kinds {
    ($($name:ident = $code:literal $status:ident $detail:literal,)*) => {
        impl Kind {
            /// The kinds that HTTP itself has.
            pub const ALL: &'static [&'static Self] = &[$(Self::$name,)*];
            $(
                #[doc = $detail]
                pub const $name: &'static Self = &Self::new($code, Status::$status, $detail);
            )*
        }
    };
}

kinds! {
    BAD_REQUEST = "bad_request" BadRequest "The request can't be understood.",
    UNAUTHORIZED = "unauthorized" Unauthorized "The request must say who asks.",
    FORBIDDEN = "forbidden" Forbidden "The request is not allowed here.",
    NOT_FOUND = "not_found" NotFound "There is nothing here.",
    METHOD_NOT_ALLOWED = "method_not_allowed" MethodNotAllowed "The path does not take this method; Allow lists those it takes.",
    REQUEST_TIMEOUT = "request_timeout" RequestTimeout "The request did not arrive in time.",
    PRECONDITION_FAILED = "precondition_failed" PreconditionFailed "A condition of the request is not met; nothing was done. There are no entity tags here.",
    CONTENT_TOO_LARGE = "content_too_large" ContentTooLarge "The body is longer than 16 KiB.",
    URI_TOO_LONG = "uri_too_long" UriTooLong "The request line is longer than 4 KiB.",
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type" UnsupportedMediaType "The body must be application/json.",
    EXPECTATION_FAILED = "expectation_failed" ExpectationFailed "The only expectation that is met is 100-continue.",
    MISDIRECTED_REQUEST = "misdirected_request" MisdirectedRequest "This connection is not encrypted: nothing is answered here for an https:// target.",
    INVALID = "invalid" UnprocessableContent "A value is not valid.",
    HEAD_TOO_LARGE = "head_too_large" HeadTooLarge "The head is longer than 8 KiB or has more than 64 header lines.",
    INTERNAL = "internal" InternalServerError "The server failed; the request may or may not have had an effect.",
    NOT_IMPLEMENTED = "not_implemented" NotImplemented "The method or transfer coding is not known here.",
    VERSION_NOT_SUPPORTED = "version_not_supported" VersionNotSupported "Only HTTP/1.1 and HTTP/1.0 are spoken here.",
}

impl Kind {
    /// No place is left for one more connection.
    pub const BUSY: &'static Self = &Self::new(
        "busy",
        Status::ServiceUnavailable,
        "The server has as many connections as it may have.",
    )
    .retry_after_s(1);

    /// Nor for one more of this client's.
    pub const TOO_MANY_CONNECTIONS: &'static Self = &Self::new(
        "busy",
        Status::ServiceUnavailable,
        "The address has as many connections as one may have.",
    )
    .retry_after_s(1);

    /// A kind that says nothing of when to come back.
    pub const fn new(code: &'static str, status: Status, detail: &'static str) -> Self {
        Self { code, status, detail, retry_after_s: None }
    }

    /// The same with a time to come back.
    pub const fn retry_after_s(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }
}

/// Why a request was refused before it was routed. The rest of the connection's input has no known
/// meaning any more: after the answer it is closed, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// The kind.
    pub kind: &'static Kind,
    /// What exactly, for people.
    pub detail: &'static str,
}

impl Reject {
    /// 400 with this sentence.
    pub(super) const fn bad(detail: &'static str) -> Self {
        Self { kind: Kind::BAD_REQUEST, detail }
    }

    /// The kind with its own sentence.
    pub const fn of(kind: &'static Kind) -> Self {
        Self { kind, detail: kind.detail }
    }
}

/// A header that says what would be right. A status has one at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// `Allow`: the methods that the path takes (405, and 204 to OPTIONS).
    Allow(&'static str),
    /// `WWW-Authenticate`: how the client may say who it is (401).
    Authenticate(&'static str),
    /// `Accept`: the media type that is read (415).
    Accept(&'static str),
    /// `Accept-Encoding`: the codings that are read (415).
    AcceptEncoding(&'static str),
}

/// Characters of a client's text that a problem repeats: a response stays bounded.
const FIELD_CHARS_MAX: usize = 64;

/// Problem details (RFC 9457). The type is `about:blank`, so the title is the status' own phrase;
/// what clients match on is the kind's code.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The kind.
    pub kind: &'static Kind,
    /// What exactly, for people.
    pub detail: Cow<'static, str>,
    /// The input that is wrong: a member of the body, a header or a parameter.
    pub field: Option<Cow<'static, str>>,
    /// When to come back, in place of the kind's own time.
    pub retry_after_s: Option<u32>,
    /// What would be right.
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

    /// 422 for this field. A long name, which can only be a client's, is cut.
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: Some(shown(field.into())), ..Self::new(Kind::INVALID, detail) }
    }

    /// 405 with the methods that would be allowed.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::of(Kind::METHOD_NOT_ALLOWED).with_remedy(Remedy::Allow(allow))
    }

    /// Says what would be right.
    pub fn with_remedy(self, remedy: Remedy) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// Adds a member.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }
}

/// A client's name for something, as far as it is repeated.
pub fn shown(name: Cow<'_, str>) -> Cow<'_, str> {
    match name.char_indices().nth(FIELD_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &name[..end])),
        None => name,
    }
}

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
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
