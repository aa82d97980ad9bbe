//! Conditional requests (RFC 9110, section 13), for resources without entity tags and times of
//! change.
//!
//! So an `If-Match` with tags is never met, an `If-None-Match` with tags always, and `*` asks
//! whether there is a representation. `If-Modified-Since`, `If-Unmodified-Since` and `If-Range`
//! must be ignored without a time of change (sections 13.1.3 to 13.1.5), `Range` may be (section
//! 14.2); all are ignored.

use super::head::{Head, Method, RareFlags};
use super::status::Status;

impl Head<'_> {
    /// The status that replaces a success, with nothing done, if a condition is not met: 412, or
    /// 304 for a request that only reads. `None`: all conditions are met. `has_representation`: the
    /// path has something to show.
    ///
    /// A request that would not be a success gets its normal answer (section 13.2.1).
    #[inline]
    pub fn unmet_precondition(&self, has_representation: bool) -> Option<Status> {
        if self.rare.has(RareFlags::CONDITIONAL) {
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
    fn preconditions_are_judged_without_validators() {
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
            let got = (head.unmet_precondition(true), head.unmet_precondition(false));
            assert_eq!(got, (shown, not_shown), "{method} {headers}");
        }
    }
}
