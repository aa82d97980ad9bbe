//! What can go wrong, and how it is said: the one table from a stable code to a status, a sentence,
//! a time to come back, and the number and message that `/buy/ticket` uses for it.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::status::Status;

/// A stable code, as clients match on it. Names are in snake case on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each one is said in words in `row`.
pub enum Code {
    SoldOut,
    LimitReached,
    NotOpen,
    Closed,
    Busy,
    Unavailable,
    Unknown,
    AllowanceExhausted,
    Invalid,
    NotFound,
    UserRequired,
    RateLimited,
    Expired,
    AlreadyConfirmed,
    AlreadyCancelled,
    BadRequest,
    ConfirmNotPublic,
    MethodNotAllowed,
    RequestTimeout,
    ContentTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    ExpectationFailed,
    HeadTooLarge,
    Internal,
    NotImplemented,
    VersionNotSupported,
}

/// How `/buy/ticket` says a [`Code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuyAnswer {
    /// The member `code`: negative, 1 is a grant.
    pub code: i8,
    /// The HTTP status. Sold out is 200, as in the article; the rest is as for a problem.
    pub status: Status,
    /// The member `msg`. No character of it needs an escape in JSON.
    pub msg: &'static str,
}

struct Row {
    name: &'static str,
    status: Status,
    detail: &'static str,
    retry_after_s: Option<u32>,
    buy: Option<BuyAnswer>,
}

const fn row(name: &'static str, status: Status, detail: &'static str) -> Row {
    Row { name, status, detail, retry_after_s: None, buy: None }
}

impl Row {
    const fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    const fn buy(mut self, code: i8, msg: &'static str) -> Self {
        self.buy = Some(BuyAnswer { code, status: self.status, msg });
        self
    }

    const fn buy_ok(mut self, code: i8, msg: &'static str) -> Self {
        self.buy = Some(BuyAnswer { code, status: Status::Ok, msg });
        self
    }
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 27] = [
        Self::SoldOut,
        Self::LimitReached,
        Self::NotOpen,
        Self::Closed,
        Self::Busy,
        Self::Unavailable,
        Self::Unknown,
        Self::AllowanceExhausted,
        Self::Invalid,
        Self::NotFound,
        Self::UserRequired,
        Self::RateLimited,
        Self::Expired,
        Self::AlreadyConfirmed,
        Self::AlreadyCancelled,
        Self::BadRequest,
        Self::ConfirmNotPublic,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::ContentTooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::ExpectationFailed,
        Self::HeadTooLarge,
        Self::Internal,
        Self::NotImplemented,
        Self::VersionNotSupported,
    ];

    #[rustfmt::skip]
    const fn row(self) -> Row {
        match self {
            Self::SoldOut => row("sold_out", Status::Conflict, "The sale has fewer units left than were asked for.")
                .buy_ok(-1, "已售罄"),
            Self::LimitReached => row("limit_reached", Status::Conflict, "The user would have more units than the sale allows one user.")
                .buy(-2, "超过每人限购数量"),
            Self::NotOpen => row("not_open", Status::Conflict, "The sale is not open yet.")
                .buy(-3, "尚未开售"),
            Self::Closed => row("closed", Status::Gone, "The sale is over.")
                .buy(-4, "已停售"),
            Self::Busy => row("busy", Status::ServiceUnavailable, "Too many purchases are waiting; nothing was reserved.")
                .retry_after_s(1).buy(-5, "排队人数过多，请稍后再试"),
            Self::Unavailable => row("unavailable", Status::ServiceUnavailable, "The ledger is out of reach; nothing was reserved.")
                .retry_after_s(1).buy(-6, "服务暂不可用，请稍后再试"),
            Self::Unknown => row("unknown", Status::ServiceUnavailable, "The ledger did not answer in time; the same request with the same Idempotency-Key finds out.")
                .retry_after_s(1).buy(-7, "结果未知，请用同一幂等键重试"),
            Self::AllowanceExhausted => row("allowance_exhausted", Status::ServiceUnavailable, "This instance has used up its own allowance; another may still sell.")
                .retry_after_s(1).buy(-8, "本节点名额已用完，请重试"),
            Self::Invalid => row("invalid", Status::UnprocessableContent, "A value is not valid.")
                .buy(-9, "请求参数无效"),
            Self::NotFound => row("not_found", Status::NotFound, "There is nothing here.")
                .buy(-10, "没有此活动"),
            Self::UserRequired => row("user_required", Status::UnprocessableContent, "The sale has a limit a user, so the user must be named.")
                .buy(-11, "请提供用户标识"),
            Self::RateLimited => row("rate_limited", Status::TooManyRequests, "Too many requests.")
                .retry_after_s(1).buy(-12, "请求过于频繁，请稍后再试"),
            Self::Expired => row("expired", Status::Conflict, "The reservation's hold time is over.")
                .buy(-13, "预订已过期"),
            Self::AlreadyConfirmed => row("already_confirmed", Status::Conflict, "The reservation is confirmed already.")
                .buy(-14, "预订已确认"),
            Self::AlreadyCancelled => row("already_cancelled", Status::Conflict, "The reservation is cancelled already.")
                .buy(-15, "预订已取消"),
            Self::BadRequest => row("bad_request", Status::BadRequest, "The request can't be understood."),
            Self::ConfirmNotPublic => row("confirm_not_public", Status::Forbidden, "Only the shop confirms, at the control port; --public-confirm lets buyers confirm here, for demonstrations."),
            Self::MethodNotAllowed => row("method_not_allowed", Status::MethodNotAllowed, "The path does not take this method; Allow lists those it takes."),
            Self::RequestTimeout => row("request_timeout", Status::RequestTimeout, "The request did not arrive in time."),
            Self::ContentTooLarge => row("content_too_large", Status::ContentTooLarge, "The body is longer than 16 KiB."),
            Self::UriTooLong => row("uri_too_long", Status::UriTooLong, "The request line is longer than 4 KiB."),
            Self::UnsupportedMediaType => row("unsupported_media_type", Status::UnsupportedMediaType, "The body must be application/json."),
            Self::ExpectationFailed => row("expectation_failed", Status::ExpectationFailed, "The only expectation that is met is 100-continue."),
            Self::HeadTooLarge => row("head_too_large", Status::HeadTooLarge, "The head is longer than 8 KiB or has more than 64 header lines."),
            Self::Internal => row("internal", Status::InternalServerError, "The server failed; the request may or may not have had an effect."),
            Self::NotImplemented => row("not_implemented", Status::NotImplemented, "The method or transfer coding is not known here."),
            Self::VersionNotSupported => row("version_not_supported", Status::VersionNotSupported, "Only HTTP/1.1 and HTTP/1.0 are spoken here."),
        }
    }

    /// The code as it stands in a problem.
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// The HTTP status of the problem.
    pub const fn status(self) -> Status {
        self.row().status
    }

    /// A sentence for people.
    pub const fn detail(self) -> &'static str {
        self.row().detail
    }

    /// What `Retry-After` says, in seconds.
    pub const fn retry_after_s(self) -> Option<u32> {
        self.row().retry_after_s
    }

    /// How `/buy/ticket` says it. `None`: it has no words for it and answers with the problem.
    pub const fn buy(self) -> Option<BuyAnswer> {
        self.row().buy
    }
}

/// Why a request was refused before it was routed. The rest of the connection's input has no known
/// meaning any more: after the answer it is closed, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// The kind.
    pub code: Code,
    /// What exactly, for people.
    pub detail: &'static str,
}

impl Reject {
    /// 400 with this sentence.
    pub(super) const fn bad(detail: &'static str) -> Self {
        Self { code: Code::BadRequest, detail }
    }

    /// The code with its own sentence.
    pub const fn of(code: Code) -> Self {
        Self { code, detail: code.detail() }
    }
}

/// Characters of a client's text that a problem repeats: a response stays bounded.
const FIELD_CHARS_MAX: usize = 64;

/// Problem details (RFC 9457). The type is `about:blank`, so the title is the status' own phrase;
/// what clients match on is `code`.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The kind.
    pub code: Code,
    /// What exactly, for people.
    pub detail: Cow<'static, str>,
    /// The input that is wrong: a member of the body, a header or a parameter.
    pub field: Option<Cow<'static, str>>,
    /// When to come back, in place of the code's own time.
    pub retry_after_s: Option<u32>,
    /// The methods that would be allowed (405).
    pub allow: Option<&'static str>,
    /// More members, for instance `opens_at`.
    pub members: Vec<(&'static str, Value)>,
}

impl Problem {
    /// The code with its own sentence.
    pub fn of(code: Code) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.detail()),
            field: None,
            retry_after_s: code.retry_after_s(),
            allow: None,
            members: Vec::new(),
        }
    }

    /// The code with this sentence.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), ..Self::of(code) }
    }

    /// 422 for this field. A long name, which can only be a client's, is cut.
    pub fn invalid(
        field: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let mut field = field.into();
        if let Some((end, _)) = field.char_indices().nth(FIELD_CHARS_MAX) {
            field = Cow::Owned(format!("{}…", &field[..end]));
        }
        Self { field: Some(field), ..Self::new(Code::Invalid, detail) }
    }

    /// 405 with the methods that would be allowed.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::of(Code::MethodNotAllowed) }
    }

    /// Adds a member.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }
}

impl From<Reject> for Problem {
    fn from(reject: Reject) -> Self {
        Self::new(reject.code, reject.detail)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let status = self.code.status();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "about:blank")?;
        map.serialize_entry("title", status.reason())?;
        map.serialize_entry("status", &status.code())?;
        map.serialize_entry("code", self.code.as_str())?;
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
    use std::collections::HashSet;

    #[test]
    fn the_table_is_consistent() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len(), "each code has a name of its own");
        let mut buy: Vec<_> = Code::ALL.iter().filter_map(|code| code.buy()).collect();
        buy.sort_by_key(|answer| -answer.code);
        let codes: Vec<_> = buy.iter().map(|answer| answer.code).collect();
        assert_eq!(codes, (1..=15).map(|n: i8| -n).collect::<Vec<_>>());
        for answer in buy {
            assert!(!answer.msg.contains(['"', '\\']) && !answer.msg.contains(char::is_control));
        }
        for code in Code::ALL {
            let come_back = matches!(code.status().code(), 429 | 503);
            assert_eq!(code.retry_after_s().is_some(), come_back, "{code:?}");
        }
    }

    #[test]
    fn statuses_as_documented() {
        for (code, status) in [
            (Code::SoldOut, 409),
            (Code::LimitReached, 409),
            (Code::NotOpen, 409),
            (Code::Expired, 409),
            (Code::AlreadyConfirmed, 409),
            (Code::AlreadyCancelled, 409),
            (Code::Closed, 410),
            (Code::ConfirmNotPublic, 403),
            (Code::Invalid, 422),
            (Code::UserRequired, 422),
            (Code::RateLimited, 429),
            (Code::HeadTooLarge, 431),
            (Code::AllowanceExhausted, 503),
            (Code::VersionNotSupported, 505),
        ] {
            assert_eq!(code.status().code(), status, "{code:?}");
        }
        assert_eq!(Code::SoldOut.buy().unwrap().status, Status::Ok);
        assert_eq!(Code::LimitReached.buy().unwrap().status.code(), 409);
        assert_eq!(Code::Closed.buy().unwrap().status.code(), 410);
    }

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
