//! Who may use the control port, and what for.
//!
//! With a token: who shows it. Who shows the token of those who only look may do that: see how the
//! server and its sales are, but not who has bought. Without a token: whoever reaches loopback, but no
//! web page in a browser on this machine. A page can send requests here, which its `Origin` gives away;
//! and its own name can be made to resolve to 127.0.0.1 (DNS rebinding), which the `Host` gives away.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use crate::config::{Token, Tokens};
use crate::engine::http::{Kind, Method, Problem, Remedy};

/// The rules.
#[derive(Debug)]
pub struct Access {
    tokens: RwLock<Tokens>,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To see how the server and its sales are.
    Look,
    /// Anything else: to change something, to see who has bought, to have the whole ledger read.
    Operate,
}

impl Purpose {
    /// Of a request to a path without unneeded encodings.
    pub fn of(method: Method, path: &str) -> Self {
        let looks = matches!(method, Method::Get | Method::Head | Method::Options);
        let parts: Vec<&str> = path.split('/').skip(1).take(4).collect();
        match parts[..] {
            ["metrics"] | ["v1", "sales" | "instances"] | ["v1", "sales", _] if looks => Self::Look,
            _ => Self::Operate,
        }
    }
}

/// What a request shows of itself. Each header with all its values.
#[derive(Debug, Default)]
pub struct Shown<'a> {
    /// `Authorization`.
    pub authorization: Vec<&'a [u8]>,
    /// `Origin`.
    pub origin: Vec<&'a [u8]>,
    /// `Host`.
    pub host: Vec<&'a [u8]>,
}

impl Access {
    /// With these tokens: see [`Tokens`].
    pub fn new(tokens: Tokens) -> Self {
        Self { tokens: RwLock::new(tokens) }
    }

    /// From now on they are these.
    pub fn change(&self, tokens: Tokens) {
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// Whether a request may be answered: what lets it in, as it may be logged.
    pub fn check(&self, shown: &Shown<'_>, purpose: Purpose) -> Result<String, Problem> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = &tokens.operates else {
            return check_local(shown).map(|()| "loopback".to_owned());
        };
        let refuse = |kind, detail: &'static str, header| {
            Err(Problem::new(kind, detail).with_remedy(Remedy::Authenticate(header)))
        };
        let shown = match shown.authorization[..] {
            [] => {
                let detail = "The control port wants its token: Authorization: Bearer TOKEN.";
                return refuse(Kind::UNAUTHORIZED, detail, "Bearer");
            }
            [value] => bearer(value),
            _ => None,
        };
        // Both are compared in any case: the time does not tell which of them is nearly right.
        let is = |token: &Token| shown.is_some_and(|shown| token.matches(shown));
        let (operates, looks) = (is(token), tokens.looks.as_ref().filter(|token| is(token)));
        let named = |token: &Token| Ok(format!("token {}", token.fingerprint()));
        match (purpose, looks) {
            _ if operates => named(token),
            (Purpose::Look, Some(looks)) => named(looks),
            (Purpose::Operate, Some(_)) => refuse(
                Kind::FORBIDDEN,
                "This token may only look: GET /metrics, /v1/sales, /v1/sales/SALE and \
                 /v1/instances. Everything else wants the control port's own token.",
                "Bearer error=\"insufficient_scope\"",
            ),
            _ => {
                let detail = "This is not the control port's token.";
                refuse(Kind::UNAUTHORIZED, detail, "Bearer error=\"invalid_token\"")
            }
        }
    }
}

/// The token in `Bearer TOKEN` (RFC 6750, section 2.1); the scheme's case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn check_local(shown: &Shown<'_>) -> Result<(), Problem> {
    let refuse = |detail: &'static str| Err(Problem::new(Kind::FORBIDDEN, detail));
    if !shown.origin.is_empty() {
        return refuse("A web page may not use a control port without a token.");
    }
    match shown.host[..] {
        [host] if is_literal(host) => Ok(()),
        _ => refuse(
            "Without a token, the Host must be an address or localhost, as in http://127.0.0.1:3006.",
        ),
    }
}

/// Whether a `Host` is an address or `localhost`, with or without a port.
fn is_literal(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let host = host.trim();
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(ip, port)| {
            ip.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || port.starts_with(':'))
        });
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<'a>(authorization: &[&'a str], origin: &[&'a str], host: &[&'a str]) -> Shown<'a> {
        let bytes = |values: &[&'a str]| values.iter().map(|value| value.as_bytes()).collect();
        Shown { authorization: bytes(authorization), origin: bytes(origin), host: bytes(host) }
    }

    fn access(operates: Option<Token>, looks: Option<Token>) -> Access {
        Access::new(Tokens { operates, looks })
    }

    fn check(access: &Access, shown: &Shown<'_>) -> Result<(), Problem> {
        access.check(shown, Purpose::Operate).map(drop)
    }

    #[test]
    fn without_a_token_only_local_hosts_and_no_page() {
        let access = access(None, None);
        for host in
            ["127.0.0.1:3006", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:3006", "[::1]"]
        {
            assert!(check(&access, &shown(&[], &[], &[host])).is_ok(), "{host}");
        }
        for host in
            ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "[::1", "::"]
        {
            assert!(check(&access, &shown(&[], &[], &[host])).is_err(), "{host}");
        }
        assert!(check(&access, &shown(&[], &[], &[])).is_err());
        assert!(check(&access, &shown(&[], &[], &["localhost", "localhost"])).is_err());
        assert!(check(&access, &shown(&[], &["null"], &["localhost"])).is_err());
    }

    #[test]
    fn with_a_token_only_who_shows_it() {
        let access = access(Some(Token::new("0123456789abcdef").unwrap()), None);
        for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
            assert!(check(&access, &shown(&[right], &[], &["any.example"])).is_ok(), "{right}");
        }
        for wrong in ["", "Bearer", "Bearer ", "Basic 0123456789abcdef", "Bearer 0123456789abcdeF"]
        {
            assert!(check(&access, &shown(&[wrong], &[], &["localhost"])).is_err(), "{wrong}");
        }
        assert!(check(&access, &shown(&[], &[], &["localhost"])).is_err());
        let twice = ["Bearer 0123456789abcdef"; 2];
        assert!(check(&access, &shown(&twice, &[], &["localhost"])).is_err());
    }

    #[test]
    fn who_may_look_may_do_nothing_else() {
        let token = |text| Token::new(text).unwrap();
        let access = access(Some(token("0123456789abcdef")), Some(token("looks-0123456789")));
        let status = |shown_token: &str, purpose| {
            let value = format!("Bearer {shown_token}");
            let answer = access.check(&shown(&[&value], &[], &["any.example"]), purpose);
            answer.map_or_else(|problem| problem.kind.status as u16, |_| 200)
        };
        for purpose in [Purpose::Look, Purpose::Operate] {
            assert_eq!(status("0123456789abcdef", purpose), 200);
            assert_eq!(status("looks-0123456780", purpose), 401);
            assert_eq!(status("", purpose), 401);
        }
        assert_eq!(status("looks-0123456789", Purpose::Look), 200);
        assert_eq!(status("looks-0123456789", Purpose::Operate), 403);
    }

    #[test]
    fn only_what_names_no_buyer_and_changes_nothing_is_a_look() {
        for path in ["/metrics", "/v1/sales", "/v1/sales/ticket", "/v1/instances"] {
            for method in [Method::Get, Method::Head, Method::Options] {
                assert_eq!(Purpose::of(method, path), Purpose::Look, "{path}");
            }
            for method in [Method::Post, Method::Delete, Method::Put, Method::Other] {
                assert_eq!(Purpose::of(method, path), Purpose::Operate, "{path}");
            }
        }
        for path in [
            "/v1/audit",
            "/v1/sales/ticket/reservations",
            "/v1/sales/ticket/close",
            "/v1/reservations/ticket~1",
            "/v1/sales/ticket/",
            "/v1",
            "/metrics/",
            "metrics",
            "/",
            "",
        ] {
            assert_eq!(Purpose::of(Method::Get, path), Purpose::Operate, "{path}");
        }
    }
}
