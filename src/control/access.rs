//! Who may use the control port.
//!
//! With a token: who shows it. Without: whoever reaches loopback, but no web page in a browser on
//! this machine. A page can send requests here, which its `Origin` gives away; and its own name can
//! be made to resolve to 127.0.0.1 (DNS rebinding), which the `Host` gives away.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use crate::config::Token;
use crate::engine::http::{Kind, Problem, Remedy};

/// The rules.
#[derive(Debug)]
pub struct Access {
    token: RwLock<Option<Token>>,
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
    /// With the token that clients must show, if there is one.
    pub fn new(token: Option<Token>) -> Self {
        Self { token: RwLock::new(token) }
    }

    /// From now on it is this token.
    pub fn change(&self, token: Option<Token>) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// Whether a request may be answered: what lets it in, as it may be logged.
    pub fn check(&self, shown: &Shown<'_>) -> Result<String, Problem> {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = &*token else {
            return check_local(shown).map(|()| "loopback".to_owned());
        };
        let refuse = |detail: &'static str, header| {
            let remedy = Remedy::Authenticate(header);
            Err(Problem::new(Kind::UNAUTHORIZED, detail).with_remedy(remedy))
        };
        match shown.authorization[..] {
            [] => {
                refuse("The control port wants its token: Authorization: Bearer TOKEN.", "Bearer")
            }
            [value] if bearer(value).is_some_and(|shown| token.matches(shown)) => {
                Ok(format!("token {}", token.fingerprint()))
            }
            _ => refuse("This is not the control port's token.", "Bearer error=\"invalid_token\""),
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

    #[test]
    fn without_a_token_only_local_hosts_and_no_page() {
        let access = Access::new(None);
        for host in
            ["127.0.0.1:3006", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:3006", "[::1]"]
        {
            assert!(access.check(&shown(&[], &[], &[host])).is_ok(), "{host}");
        }
        for host in
            ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "[::1", "::"]
        {
            assert!(access.check(&shown(&[], &[], &[host])).is_err(), "{host}");
        }
        assert!(access.check(&shown(&[], &[], &[])).is_err());
        assert!(access.check(&shown(&[], &[], &["localhost", "localhost"])).is_err());
        assert!(access.check(&shown(&[], &["null"], &["localhost"])).is_err());
    }

    #[test]
    fn with_a_token_only_who_shows_it() {
        let access = Access::new(Some(Token::new("0123456789abcdef").unwrap()));
        for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
            assert!(access.check(&shown(&[right], &[], &["any.example"])).is_ok(), "{right}");
        }
        for wrong in ["", "Bearer", "Bearer ", "Basic 0123456789abcdef", "Bearer 0123456789abcdeF"]
        {
            assert!(access.check(&shown(&[wrong], &[], &["localhost"])).is_err(), "{wrong}");
        }
        assert!(access.check(&shown(&[], &[], &["localhost"])).is_err());
        let twice = ["Bearer 0123456789abcdef"; 2];
        assert!(access.check(&shown(&twice, &[], &["localhost"])).is_err());
    }
}
