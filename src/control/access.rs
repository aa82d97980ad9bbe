//! Who may use the control port, and for what.
//!
//! With tokens, the token decides. A shop's token may change reservations and read sales. The read
//! token may read the state of the server and of its sales, but not who has bought. Without a token,
//! every caller that reaches loopback by an address is allowed.
//!
//! A web page in a browser on this machine can send requests here. Its `Origin` or `Sec-Fetch-Site`
//! gives it away, and pages of other sites are refused. The live page, whose origin is the port's own,
//! may read. It may change something only with the operator's token, also on loopback. The host name
//! of a site can be made to resolve to 127.0.0.1 (DNS rebinding), but the `Host` gives that away:
//! without a token it must be an address.

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

/// All tokens of the port.
#[derive(Debug)]
struct Keys {
    tokens: Tokens,
    shop: Vec<Token>,
}

/// The right that a request needs, by its row of the table. An unknown path needs the highest
/// right, so that a caller without it does not learn which paths exist.
pub fn right_for(method: Method, wanted: &Wanted) -> Right {
    match wanted {
        Wanted::Endpoint(endpoint, _) => endpoint.control.unwrap_or(Right::Operate),
        Wanted::Path(methods) if method == Method::Options => methods.least,
        Wanted::Path(_) | Wanted::Nothing => Right::Operate,
    }
}

/// The parts of a request that decide about its access.
#[derive(Debug)]
pub struct RequestCredentials<'a> {
    /// Its credential.
    pub bearer: Bearer<'a>,
    /// All values of `Origin`.
    pub origin: Vec<&'a [u8]>,
    /// All values of `Host`, or the host of an absolute target instead.
    pub host: Vec<&'a [u8]>,
    /// All values of `Sec-Fetch-Site`: how a browser names the page that has sent the request.
    pub site: Vec<&'a [u8]>,
    /// A browser shows the answer in a tab of its own, where no page can read it.
    pub opens_tab: bool,
}

/// Whether the sender of a request may make changes from a web page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// The request has the operator's token.
    Allowed,
    /// With the operator's token.
    WantToken,
    /// Nothing: the server has no operator's token.
    NeedTokenFile,
}

impl Changes {
    /// Its name for the live page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::WantToken => "want_token",
            Self::NeedTokenFile => "need_token_file",
        }
    }
}

impl<'a> RequestCredentials<'a> {
    /// Those of the request with this head.
    pub fn of(head: &Head<'a>) -> Self {
        Self {
            bearer: head.bearer(),
            origin: head.values("origin").collect(),
            host: match head.target_host() {
                Some(host) => vec![host],
                None => head.values("host").collect(),
            },
            site: head.values("sec-fetch-site").collect(),
            opens_tab: matches!(head.method, Method::Get | Method::Head)
                && head.values("sec-fetch-mode").eq([&b"navigate"[..]])
                && head.values("sec-fetch-dest").eq([&b"document"[..]]),
        }
    }
}

impl Access {
    /// With these tokens (see [`Tokens`]) and the shop's tokens.
    pub fn new(tokens: Tokens, shop: Vec<Token>) -> Self {
        Self { keys: RwLock::new(Keys { tokens, shop }) }
    }

    /// Replaces the tokens.
    pub fn change(&self, tokens: Tokens, shop: Vec<Token>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Keys { tokens, shop };
    }

    /// Whether a request is allowed; returns the name of its credential for the log.
    pub fn check(&self, shown: &RequestCredentials<'_>, right: Right) -> Result<String, Problem> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let looks_only = matches!(right, Right::Open | Right::SeeSales | Right::SeeServer);
        let page_changes = is_from_page(shown)? && !looks_only;
        let Some(token) = &keys.tokens.operator else {
            return check_local(shown, page_changes).map(|()| "loopback".to_owned());
        };
        let refuse = |kind, detail: &'static str, header| {
            Err(Problem::new(kind, detail).with_remedy(Remedy::Authenticate(header)))
        };
        let shown = match shown.bearer {
            Bearer::None => {
                let detail = "The control port needs its token: Authorization: Bearer TOKEN.";
                return refuse(Kind::UNAUTHORIZED, detail, "Bearer");
            }
            Bearer::Unusable => None,
            Bearer::Token(token) => Some(token),
        };
        // All tokens are always compared, so that the time does not show which one is nearly right.
        let is = |token: &&Token| shown.is_some_and(|shown| token.matches(shown));
        let operator = Some(token).filter(is);
        let reader = keys.tokens.reader.as_ref().filter(is);
        let shop = shown.and_then(|shown| Token::shown_of(&keys.shop, shown));
        let named = |token: &Token| Ok(format!("token {}", token.fingerprint()));
        let may_not =
            |detail| refuse(Kind::FORBIDDEN, detail, "Bearer error=\"insufficient_scope\"");
        match (operator, shop, reader, right) {
            (Some(token), _, _, _) | (_, Some(token), _, Right::Open | Right::SeeSales) => {
                named(token)
            }
            (_, Some(token), _, Right::Shop) if !page_changes => named(token),
            (_, _, Some(token), Right::Open | Right::SeeSales | Right::SeeServer) => named(token),
            (_, Some(_), _, _) => may_not(
                "This is the shop's token: it can change reservations and read sales. Everything \
                 else needs the control port's own token.",
            ),
            (_, _, Some(_), _) => may_not(
                "This token can only read: GET /metrics, /v1/live, /v1/sales, /v1/sales/SALE and \
                 /v1/instances. Everything else needs the control port's own token.",
            ),
            (None, None, None, _) => {
                let detail = "This is not the control port's token.";
                refuse(Kind::UNAUTHORIZED, detail, "Bearer error=\"invalid_token\"")
            }
        }
    }

    /// Whether a web page with these credentials may make changes.
    pub fn changes(&self, shown: &RequestCredentials<'_>) -> Changes {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        match (&keys.tokens.operator, shown.bearer) {
            (None, _) => Changes::NeedTokenFile,
            (Some(token), Bearer::Token(shown)) if token.matches(shown) => Changes::Allowed,
            (Some(_), _) => Changes::WantToken,
        }
    }
}

/// Whether a script of a web page has sent the request. A page of another site is refused.
fn is_from_page(shown: &RequestCredentials<'_>) -> Result<bool, Problem> {
    let own = match (&shown.origin[..], &shown.host[..]) {
        ([], _) => false,
        ([origin], [host]) if is_origin_of(origin, host) => true,
        _ => return Err(Problem::new(Kind::FORBIDDEN, FOREIGN_PAGE)),
    };
    match shown.site[..] {
        [] => Ok(own),
        [b"same-origin"] => Ok(true),
        [b"none"] if !own => Ok(false),
        _ if shown.opens_tab && !own => Ok(false),
        _ => Err(Problem::new(Kind::FORBIDDEN, FOREIGN_PAGE)),
    }
}

const FOREIGN_PAGE: &str = "A web page of another site may not use the control port. After a proxy, the \
                            Host must be the one that the browser has sent.";

/// Whether a page of this origin was served from this host.
fn is_origin_of(origin: &[u8], host: &[u8]) -> bool {
    let after = |scheme: &[u8]| origin.strip_prefix(scheme);
    let of = after(b"http://").or_else(|| after(b"https://"));
    of.is_some_and(|of| !of.is_empty() && of.eq_ignore_ascii_case(host))
}

/// `page_changes`: a web page requests a change.
fn check_local(shown: &RequestCredentials<'_>, page_changes: bool) -> Result<(), Problem> {
    let refuse = |detail: &'static str| Err(Problem::new(Kind::FORBIDDEN, detail));
    match shown.host[..] {
        [host] if is_literal(host) && page_changes => refuse(
            "A web page changes something only with the operator's token: start the server with \
             --control-token-file FILE.",
        ),
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

    /// Parses these header lines with the parser of every request.
    fn shown(
        authorization: &[&str],
        origin: &[&str],
        host: &[&str],
    ) -> RequestCredentials<'static> {
        let line = |name: &'static str| move |value: &&str| format!("{name}: {value}\r\n");
        let authorization = authorization.iter().map(line("Authorization"));
        let origin = origin.iter().map(line("Origin"));
        let lines: String = authorization.chain(origin).collect();
        let text: &'static str = format!("GET / HTTP/1.0\r\n{lines}\r\n").leak();
        let head = parse_head(text.as_bytes()).unwrap().unwrap();
        // No parser accepts two `Host` lines.
        let host = host.iter().map(|host| &*host.as_bytes().to_vec().leak()).collect();
        RequestCredentials { host, ..RequestCredentials::of(&head) }
    }

    fn access(operator: Option<Token>, reader: Option<Token>) -> Access {
        Access::new(Tokens { operator, reader }, Vec::new())
    }

    fn check(access: &Access, shown: &RequestCredentials<'_>) -> Result<(), Problem> {
        access.check(shown, Right::Operate).map(drop)
    }

    #[test]
    fn without_a_token_remote_hosts_and_pages_are_refused() {
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
    fn a_configured_token_must_be_shown() {
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
    fn the_read_token_only_reads() {
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
    fn every_shop_token_has_exactly_the_rights_of_the_shop() {
        let token = |text| Token::new(text).unwrap();
        let tokens = Tokens { operator: Some(token("0123456789abcdef")), reader: None };
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
    fn read_rights_exclude_changes_and_buyer_data() {
        for path in ["/metrics", "/v1/sales", "/v1/sales/ticket", "/v1/instances", "/v1/live"] {
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
            "",
        ] {
            assert_eq!(right(Method::Get, path), Right::Operate, "{path}");
        }
        assert_eq!(right(Method::Get, "/v1/reservations/ticket~1"), Right::Shop);
        assert_eq!(right(Method::Get, "/"), Right::Open);
        assert_eq!(right(Method::Post, "/"), Right::Operate);
    }

    /// The status of a request with these header lines.
    fn status(access: &Access, method: &str, lines: &[&str], right: Right) -> u16 {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let text = format!("{method} / HTTP/1.1\r\n{lines}\r\n");
        let head = parse_head(text.as_bytes()).unwrap().unwrap();
        let answer = access.check(&RequestCredentials::of(&head), right);
        answer.map_or_else(|problem| problem.kind.status.code(), |_| 200)
    }

    const HOST: &str = "Host: 127.0.0.1:3006";
    const OWN: &str = "Origin: http://127.0.0.1:3006";
    const SAME: &str = "Sec-Fetch-Site: same-origin";

    #[test]
    fn without_a_token_only_the_live_page_may_read() {
        let access = access(None, None);
        let looks = |lines: &[&str]| status(&access, "GET", lines, Right::SeeServer);
        let changes = |lines: &[&str]| status(&access, "POST", lines, Right::Operate);
        for lines in [&[HOST][..], &[HOST, OWN], &[HOST, SAME], &[HOST, OWN, SAME]] {
            assert_eq!(looks(lines), 200, "{lines:?}");
            assert_eq!(changes(lines), if lines.len() == 1 { 200 } else { 403 }, "{lines:?}");
        }
        for origin in [
            "Origin: http://127.0.0.1:3005",
            "Origin: http://127.0.0.1",
            "Origin: http://localhost:3006",
            "Origin: http://127.0.0.1:3006.evil.example",
            "Origin: ftp://127.0.0.1:3006",
            "Origin: 127.0.0.1:3006",
            "Origin: http://",
            "Origin: ",
            "Origin: null",
        ] {
            assert_eq!((looks(&[HOST, origin]), changes(&[HOST, origin])), (403, 403), "{origin}");
            assert_eq!(looks(&[HOST, origin, SAME]), 403, "{origin}");
        }
        assert_eq!(looks(&[HOST, OWN, OWN]), 403);
        for site in ["cross-site", "same-site", "", "none, same-origin"] {
            let site = format!("Sec-Fetch-Site: {site}");
            assert_eq!((looks(&[HOST, &site]), changes(&[HOST, &site])), (403, 403), "{site}");
        }
        // A foreign host name that resolves to this machine is not a local address.
        let named = ["Host: evil.example:3006", "Origin: http://evil.example:3006", SAME];
        assert_eq!(looks(&named), 403);
    }

    #[test]
    fn top_level_navigation_may_read_and_frames_may_not() {
        let access = access(None, None);
        let tab = ["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
        for site in ["none", "same-site", "cross-site"] {
            let site = format!("Sec-Fetch-Site: {site}");
            let lines = [HOST, &site, tab[0], tab[1]];
            assert_eq!(status(&access, "GET", &lines, Right::SeeServer), 200, "{site}");
            assert_eq!(status(&access, "POST", &[HOST, OWN, &site], Right::Operate), 403);
        }
        let framed = [HOST, "Sec-Fetch-Site: cross-site", tab[0], "Sec-Fetch-Dest: iframe"];
        assert_eq!(status(&access, "GET", &framed, Right::SeeServer), 403);
        let form = [HOST, "Sec-Fetch-Site: cross-site", tab[0], tab[1]];
        assert_eq!(status(&access, "POST", &form, Right::Operate), 403);
    }

    #[test]
    fn a_page_needs_the_operator_token_for_changes() {
        let token = |text| Token::new(text).unwrap();
        let tokens = Tokens {
            operator: Some(token("0123456789abcdef")),
            reader: Some(token("looks-0123456789")),
        };
        let access = Access::new(tokens, vec![token("shop-0123456789a")]);
        let (host, own) = ("Host: ops.example", "Origin: https://ops.example");
        let bearer = |token: &str| format!("Authorization: Bearer {token}");
        let [operates, looks, shop] =
            ["0123456789abcdef", "looks-0123456789", "shop-0123456789a"].map(bearer);
        for (token, right, wanted) in [
            (&operates, Right::Operate, 200),
            (&operates, Right::Shop, 200),
            (&looks, Right::SeeServer, 200),
            (&looks, Right::Operate, 403),
            (&shop, Right::SeeSales, 200),
            (&shop, Right::Shop, 403),
        ] {
            assert_eq!(status(&access, "POST", &[host, own, SAME, token], right), wanted);
            let foreign = [host, "Origin: https://evil.example", token];
            assert_eq!(status(&access, "POST", &foreign, right), 403);
        }
        // The shop's back end is not a page.
        assert_eq!(status(&access, "POST", &[host, &shop], Right::Shop), 200);
        assert_eq!(status(&access, "POST", &[host, own], Right::Operate), 401);
        let changes = |lines: &[&str]| {
            let text = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
            let head = parse_head(text.as_bytes()).unwrap().unwrap();
            access.changes(&RequestCredentials::of(&head))
        };
        assert_eq!(changes(&[host, &operates]), Changes::Allowed);
        assert_eq!(changes(&[host, &looks]), Changes::WantToken);
        assert_eq!(changes(&[host]), Changes::WantToken);
    }
}
