//! The media type of a body (RFC 9110, sections 8.3 and 8.4), for requests with JSON.

use super::head::{Head, RareFlags};
use super::problem::{Kind, Problem, Remedy};
use super::response::JSON;

/// The media type that a request declares for its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Media {
    /// `application/json`, not encoded.
    Json,
    /// Any type with a content coding.
    Encoded,
    /// Another type, or none.
    #[default]
    Other,
}

impl Media {
    /// The type that this head declares.
    #[inline]
    pub fn of(head: &Head<'_>) -> Self {
        match head.content_type {
            _ if head.rare.has(RareFlags::ENCODED) => Self::Encoded,
            Some(content_type) if is_json(content_type) => Self::Json,
            _ => Self::Other,
        }
    }

    /// `Ok` for JSON; otherwise 415, with the accepted type (RFC 9110, section 15.5.16).
    pub fn check_json(self) -> Result<(), Problem> {
        let problem = Problem::of(Kind::UNSUPPORTED_MEDIA_TYPE);
        match self {
            Self::Json => Ok(()),
            Self::Other => Err(problem.with_remedy(Remedy::Accept(JSON))),
            Self::Encoded => Err(Problem {
                detail: "The body must not be encoded.".into(),
                ..problem.with_remedy(Remedy::AcceptEncoding("identity"))
            }),
        }
    }
}

fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|&b| b == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::http::parse_head;

    #[test]
    fn only_json_is_accepted() {
        for (headers, media) in [
            ("Content-Type: application/json", Media::Json),
            ("Content-Type: Application/JSON", Media::Json),
            ("Content-Type: application/json; charset=utf-8", Media::Json),
            ("Content-Type: application/json;", Media::Json),
            ("Content-Type: application/json\r\nContent-Encoding: identity", Media::Json),
            ("Content-Type: application/json\r\nContent-Encoding: , Identity,", Media::Json),
            ("Content-Type: application/json\r\nContent-Encoding:", Media::Json),
            ("Content-Type: application/json\r\nContent-Encoding: gzip", Media::Encoded),
            ("Content-Type: text/plain\r\nContent-Encoding: identity, br", Media::Encoded),
            ("Content-Encoding: gzip\r\nContent-Encoding: identity", Media::Encoded),
            ("Content-Type:", Media::Other),
            ("Content-Type: text/plain", Media::Other),
            ("Content-Type: application/jsonp", Media::Other),
            ("Content-Type: application/problem+json", Media::Other),
            ("Content-Type: application/x-www-form-urlencoded", Media::Other),
            ("Content-Type: json", Media::Other),
            ("X: y", Media::Other),
        ] {
            let input = format!("POST / HTTP/1.0\r\n{headers}\r\n\r\n");
            let head = parse_head(input.as_bytes()).unwrap().unwrap();
            assert_eq!(Media::of(&head), media, "{headers}");
        }
        let remedy = |media: Media| media.check_json().unwrap_err().remedy;
        assert_eq!(remedy(Media::Other), Some(Remedy::Accept("application/json")));
        assert_eq!(remedy(Media::Encoded), Some(Remedy::AcceptEncoding("identity")));
        assert_eq!(Media::Json.check_json(), Ok(()));
    }
}
