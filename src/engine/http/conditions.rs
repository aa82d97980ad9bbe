//! Conditions of requests (RFC 9110, section 13), where nothing has an entity tag or a time of its last
//! change.
//!
//! So an `If-Match` with tags is never met, an `If-None-Match` with tags always, and `*` asks whether
//! there is a representation. `If-Modified-Since`, `If-Unmodified-Since` and `If-Range` must be ignored
//! without a time of change (sections 13.1.3 to 13.1.5), `Range` may be (section 14.2), and are.

use super::head::{Head, Method, Oddities};
use super::status::Status;

impl Head<'_> {
    /// What must be answered in place of a success, with nothing done: 412, or 304 where only to look
    /// was asked. `None`: the conditions are met, if there are any. `has_representation`: there is
    /// something to be shown at the path.
    ///
    /// Who is answered something else than a success anyway is answered that (section 13.2.1).
    #[inline]
    pub fn unmet(&self, has_representation: bool) -> Option<Status> {
        if self.oddities.has(Oddities::CONDITIONAL) {
            self.look_at_conditions(has_representation)
        } else {
            None
        }
    }

    #[cold]
    fn look_at_conditions(&self, has_representation: bool) -> Option<Status> {
        if matches!(self.method, Method::Options | Method::Trace) {
            return None;
        }
        let is_any = |value: &[u8]| value == b"*";
        let mut tags = self.values("if-match").peekable();
        if tags.peek().is_some() && !(has_representation && tags.all(is_any)) {
            return Some(Status::PreconditionFailed);
        }
        let none = has_representation && self.values("if-none-match").any(is_any);
        let reads = matches!(self.method, Method::Get | Method::Head);
        none.then_some(if reads { Status::NotModified } else { Status::PreconditionFailed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::http::parse_head;

    #[test]
    fn conditions_without_validators() {
        let failed = Some(Status::PreconditionFailed);
        let same = Some(Status::NotModified);
        for (method, headers, shown, not_shown) in [
            ("GET", "", None, None),
            ("GET", "If-Match: \"x\"\r\n", failed, failed),
            ("GET", "if-match: W/\"x\", \"y\"\r\n", failed, failed),
            ("GET", "If-Match:\r\n", failed, failed),
            ("GET", "If-Match: x\r\n", failed, failed),
            ("GET", "If-Match: \"*\"\r\n", failed, failed),
            ("GET", "If-Match: *\r\n", None, failed),
            ("GET", "If-Match: *\r\nIf-Match: \"x\"\r\n", failed, failed),
            ("POST", "If-Match: *\r\n", None, failed),
            ("GET", "If-None-Match: \"x\"\r\n", None, None),
            ("GET", "If-None-Match: *\r\n", same, None),
            ("HEAD", "If-None-Match: *\r\n", same, None),
            ("POST", "If-None-Match: *\r\n", failed, None),
            ("GET", "If-Match: \"x\"\r\nIf-None-Match: *\r\n", failed, failed),
            ("OPTIONS", "If-Match: \"x\"\r\n", None, None),
            ("TRACE", "If-Match: \"x\"\r\n", None, None),
            ("GET", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", None, None),
            ("POST", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", None, None),
        ] {
            let input = format!("{method} / HTTP/1.0\r\n{headers}\r\n");
            let head = parse_head(input.as_bytes()).unwrap().unwrap();
            let got = (head.unmet(true), head.unmet(false));
            assert_eq!(got, (shown, not_shown), "{method} {headers}");
        }
    }
}
