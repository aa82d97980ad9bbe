//! The bearer credential of a request in `Authorization` (RFC 6750, section 2.1).

use super::head::{Head, RareFlags};

/// The credential of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// There is no `Authorization`.
    None,
    /// There is one, but it is not one bearer token: another scheme, no token, or two headers.
    Unusable,
    /// A bearer token, not verified yet.
    Token(&'a [u8]),
}

impl<'a> Head<'a> {
    /// The credential of the request.
    #[inline]
    pub fn bearer(&self) -> Bearer<'a> {
        if self.rare.has(RareFlags::AUTHORIZED) { self.shown() } else { Bearer::None }
    }

    #[cold]
    fn shown(&self) -> Bearer<'a> {
        let mut values = self.values("authorization");
        match (values.next(), values.next()) {
            (Some(value), None) => bearer(value).map_or(Bearer::Unusable, Bearer::Token),
            _ => Bearer::Unusable,
        }
    }
}

/// The token in `Bearer TOKEN`; the scheme is case-insensitive.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::http::parse_head;

    #[test]
    fn only_a_single_bearer_token_is_usable() {
        let shown = |headers: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
            let head: &'static str = head.leak();
            parse_head(head.as_bytes()).unwrap().unwrap().bearer()
        };
        assert_eq!(shown(""), Bearer::None);
        assert_eq!(shown("Authorization: Bearer a.b\r\n"), Bearer::Token(b"a.b"));
        assert_eq!(shown("authorization:bearer   a.b  \r\n"), Bearer::Token(b"a.b"));
        for wrong in ["", "Bearer", "Bearer ", "Basic YTpi", "Bearera"] {
            assert_eq!(shown(&format!("Authorization: {wrong}\r\n")), Bearer::Unusable, "{wrong}");
        }
        let twice = "Authorization: Bearer a\r\n".repeat(2);
        assert_eq!(shown(&twice), Bearer::Unusable);
    }
}
