//! Who may use the control port, and what for.
//!
//! With a token: who shows it. Who shows one of the shop's may settle reservations and look at sales; who
//! shows the token of those who only look may see how the server and its sales are, but not who has
//! bought. Without a token: whoever reaches loopback, but no web page in a browser on this machine. A page can send requests here, which its `Origin` gives away;
//! and its own name can be made to resolve to 127.0.0.1 (DNS rebinding), which the `Host` gives away.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

use super::request::Wanted;
use crate::config::{Token, Tokens};
use crate::engine::http::{Bearer, Head, Kind, Method, Problem, Remedy};
use crate::route::table::Right;

/// The rules.
#[derive(Debug)]
pub struct Access {
    keys: RwLock<Keys>,
}

/// All that opens the port.
#[derive(Debug)]
struct Keys {
    tokens: Tokens,
    shop: Vec<Token>,
}

/// The right that a request takes for which the table has this. Whatever the port does not have takes
/// the most, so that nobody without a right learns what there is.
pub fn right_for(method: Method, wanted: &Wanted) -> Right {
    match wanted {
        Wanted::Endpoint(endpoint, _) => endpoint.control.unwrap_or(Right::Operate),
        Wanted::Path(methods) if method == Method::Options => methods.least,
        Wanted::Path(_) | Wanted::Nothing => Right::Operate,
    }
}

/// What a request shows of itself.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Its credential.
    pub bearer: Bearer<'a>,
    /// All values of `Origin`.
    pub origin: Vec<&'a [u8]>,
    /// All values of `Host`, or the one that the target names in its place.
    pub host: Vec<&'a [u8]>,
}

impl<'a> Shown<'a> {
    /// What the request with this head shows.
    pub fn of(head: &Head<'a>) -> Self {
        Self {
            bearer: head.bearer(),
            origin: head.values("origin").collect(),
            host: match head.target_host() {
                Some(host) => vec![host],
                None => head.values("host").collect(),
            },
        }
    }
}

impl Access {
    /// With these tokens (see [`Tokens`]) and those of the shop.
    pub fn new(tokens: Tokens, shop: Vec<Token>) -> Self {
        Self { keys: RwLock::new(Keys { tokens, shop }) }
    }

    /// From now on they are these.
    pub fn change(&self, tokens: Tokens, shop: Vec<Token>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Keys { tokens, shop };
    }

    /// Whether a request may be answered: what lets it in, as it may be logged.
    pub fn check(&self, shown: &Shown<'_>, right: Right) -> Result<String, Problem> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = &keys.tokens.operates else {
            return check_local(shown).map(|()| "loopback".to_owned());
        };
        let refuse = |kind, detail: &'static str, header| {
            Err(Problem::new(kind, detail).with_remedy(Remedy::Authenticate(header)))
        };
        let shown = match shown.bearer {
            Bearer::None => {
                let detail = "The control port wants its token: Authorization: Bearer TOKEN.";
                return refuse(Kind::UNAUTHORIZED, detail, "Bearer");
            }
            Bearer::Unusable => None,
            Bearer::Token(token) => Some(token),
        };
        // All are compared in any case: the time does not tell which of them is nearly right.
        let is = |token: &&Token| shown.is_some_and(|shown| token.matches(shown));
        let operates = Some(token).filter(is);
        let looks = keys.tokens.looks.as_ref().filter(is);
        let shop = shown.and_then(|shown| Token::shown_of(&keys.shop, shown));
        let named = |token: &Token| Ok(format!("token {}", token.fingerprint()));
        let may_not =
            |detail| refuse(Kind::FORBIDDEN, detail, "Bearer error=\"insufficient_scope\"");
        match (operates, shop, looks, right) {
            (Some(token), _, _, _)
            | (_, Some(token), _, Right::Open | Right::Shop | Right::SeeSales)
            | (_, _, Some(token), Right::Open | Right::SeeSales | Right::SeeServer) => named(token),
            (_, Some(_), _, _) => may_not(
                "This token is the shop's: it may settle reservations and look at sales. Everything \
                 else wants the control port's own token.",
            ),
            (_, _, Some(_), _) => may_not(
                "This token may only look: GET /metrics, /v1/sales, /v1/sales/SALE and \
                 /v1/instances. Everything else wants the control port's own token.",
            ),
            (None, None, None, _) => {
                let detail = "This is not the control port's token.";
                refuse(Kind::UNAUTHORIZED, detail, "Bearer error=\"invalid_token\"")
            }
        }
    }
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
    use crate::engine::http::parse_head;
    use crate::route::table::{Port, find};

    /// What a request with these header lines shows, by the parser that reads those of every request.
    fn shown(authorization: &[&str], origin: &[&str], host: &[&str]) -> Shown<'static> {
        let line = |name: &'static str| move |value: &&str| format!("{name}: {value}\r\n");
        let authorization = authorization.iter().map(line("Authorization"));
        let origin = origin.iter().map(line("Origin"));
        let lines: String = authorization.chain(origin).collect();
        let text: &'static str = format!("GET / HTTP/1.0\r\n{lines}\r\n").leak();
        let head = parse_head(text.as_bytes()).unwrap().unwrap();
        // No parser lets two of them pass.
        let host = host.iter().map(|host| &*host.as_bytes().to_vec().leak()).collect();
        Shown { host, ..Shown::of(&head) }
    }

    fn access(operates: Option<Token>, looks: Option<Token>) -> Access {
        Access::new(Tokens { operates, looks }, Vec::new())
    }

    fn check(access: &Access, shown: &Shown<'_>) -> Result<(), Problem> {
        access.check(shown, Right::Operate).map(drop)
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
        for purpose in [Right::SeeSales, Right::SeeServer, Right::Shop, Right::Operate] {
            assert_eq!(status("0123456789abcdef", purpose), 200);
            assert_eq!(status("looks-0123456780", purpose), 401);
            assert_eq!(status("", purpose), 401);
        }
        for (right, wanted) in [
            (Right::SeeSales, 200),
            (Right::SeeServer, 200),
            (Right::Shop, 403),
            (Right::Operate, 403),
        ] {
            assert_eq!(status("looks-0123456789", right), wanted, "{right:?}");
        }
    }

    #[test]
    fn each_of_the_shops_tokens_settles_reservations_and_sees_sales() {
        let token = |text| Token::new(text).unwrap();
        let tokens = Tokens { operates: Some(token("0123456789abcdef")), looks: None };
        let access =
            Access::new(tokens, vec![token("shop-new-0123456"), token("shop-old-0123456")]);
        let status = |shown_token: &str, right| {
            let value = format!("Bearer {shown_token}");
            let answer = access.check(&shown(&[&value], &[], &["any.example"]), right);
            answer.map_or_else(|problem| problem.kind.status as u16, |_| 200)
        };
        for shop in ["shop-new-0123456", "shop-old-0123456"] {
            for (right, wanted) in [
                (Right::Shop, 200),
                (Right::SeeSales, 200),
                (Right::SeeServer, 403),
                (Right::Operate, 403),
            ] {
                assert_eq!(status(shop, right), wanted, "{right:?}");
            }
        }
        assert_eq!(status("shop-odd-0123456", Right::Shop), 401);
    }

    fn right(method: Method, path: &str) -> Right {
        right_for(method, &find(Port::Control, method, path).into())
    }

    #[test]
    fn only_what_names_no_buyer_and_changes_nothing_is_a_look() {
        for path in ["/metrics", "/v1/sales", "/v1/sales/ticket", "/v1/instances"] {
            for method in [Method::Get, Method::Head, Method::Options] {
                let right = right(method, path);
                assert!(matches!(right, Right::SeeSales | Right::SeeServer), "{path}");
            }
            for method in [Method::Post, Method::Delete, Method::Put, Method::Other] {
                assert_eq!(right(method, path), Right::Operate, "{path}");
            }
        }
        for path in [
            "/v1/audit",
            "/v1/sales/ticket/close",
            "/v1/sales/ticket/",
            "/v1",
            "/metrics/",
            "metrics",
            "/",
            "",
        ] {
            assert_eq!(right(Method::Get, path), Right::Operate, "{path}");
        }
        assert_eq!(right(Method::Get, "/v1/reservations/ticket~1"), Right::Shop);
    }
}
