//! Whom the buyers' port believes: who is the shop, who may say which user buys, from which address a
//! request comes, and which web pages may read answers.
//!
//! Without proxies and admission everybody names himself. With either, a user counts only if somebody
//! names it who is trusted: a proxy of `--trusted-proxies` or at a Unix socket, in `X-User-Id`; the shop,
//! with its token; a token of admission.

use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use crate::code::Code;
use crate::config::{Config, CorsSetting, ForwardedHeader, Token};
use crate::engine::http::{Bearer, Head, Kind, Problem, Remedy};
use crate::engine::origin::Origin;
use crate::renewed::{Copy, Renewed};
use crate::route::Namer;
use crate::route::forwarded::{self, Hop};

/// What all cores share of it; it changes when settings are read again.
pub type SharedTrust = Renewed<Trust>;
/// A core's copy.
pub type CoreTrust = Copy<Trust>;

/// See the module's header.
#[derive(Debug, Default)]
pub struct Trust {
    shop: Vec<Token>,
    /// Somebody is trusted to name users, so nobody else is.
    has_namers: bool,
    proxies: Vec<IpNet>,
    /// Connections of proxies are their clients': they are passed on below HTTP.
    passed_on: bool,
    forwarded: ForwardedHeader,
    cors: CorsSetting,
}

impl Trust {
    /// As these settings say.
    pub fn of(config: &Config) -> Self {
        Self {
            shop: config.shop_tokens.clone(),
            has_namers: config.has_namers(),
            proxies: config.trusted_proxies.clone(),
            passed_on: config.proxy_protocol,
            forwarded: config.forwarded_header,
            cors: config.cors.clone(),
        }
    }

    /// What lets the web page read the answer from which a request comes, if it may.
    pub fn allowed_origin(&self, head: &Head<'_>) -> Option<Rc<str>> {
        head.origin().and_then(|origin| self.cors.allowed(origin)).map(Rc::from)
    }

    /// The shop, as it may be logged, if a request shows its token. If not: this code, or 401 where it
    /// shows something else.
    pub fn shop(&self, head: &Head<'_>, otherwise: Code) -> Result<String, Problem> {
        let shown = head.bearer();
        if let Some(token) = self.shop_token(shown) {
            return Ok(format!("shop token {}", token.fingerprint()));
        }
        Err(match shown {
            Bearer::None => otherwise.problem(),
            Bearer::Unusable | Bearer::Token(_) => {
                Problem::new(Kind::UNAUTHORIZED, "This is not the shop's token.")
                    .with_remedy(Remedy::Authenticate("Bearer error=\"invalid_token\""))
            }
        })
    }

    /// Whether the shop has a token: without one, nobody who shows something is the shop.
    pub fn has_shop(&self) -> bool {
        !self.shop.is_empty()
    }

    /// Whether a request with this head comes from the shop.
    pub fn is_shop(&self, head: &Head<'_>) -> bool {
        self.has_shop() && self.shop_token(head.bearer()).is_some()
    }

    /// The shop's token that a request shows, if it shows one.
    pub fn shop_token(&self, shown: Bearer<'_>) -> Option<&Token> {
        let Bearer::Token(shown) = shown else { return None };
        Token::shown_of(&self.shop, shown)
    }

    /// Who may name the user of a request, which may be the shop's, and came from there. Asks neither
    /// where everybody may.
    #[inline(always)]
    pub fn namer(&self, is_shop: impl FnOnce() -> bool, origin: impl FnOnce() -> Origin) -> Namer {
        if !self.has_namers || is_shop() {
            return Namer::ANYONE;
        }
        Namer { header: !self.passed_on && origin() == Origin::Proxy, client: false }
    }

    /// The client's address, as far as somebody says it who is trusted. `None`: nobody does.
    pub fn client_address(&self, head: &Head<'_>, origin: Origin) -> Option<IpAddr> {
        if self.passed_on || origin != Origin::Proxy {
            return None;
        }
        let is_proxy = |ip: IpAddr| self.proxies.iter().any(|network| network.contains(&ip));
        let found = match self.forwarded {
            ForwardedHeader::XForwardedFor => {
                forwarded::client(head.values("x-forwarded-for"), forwarded::listed, is_proxy)
            }
            ForwardedHeader::Forwarded => {
                forwarded::client(head.values("forwarded"), forwarded::element, is_proxy)
            }
        };
        match found {
            Some(Hop::Address(ip)) => Some(ip),
            Some(Hop::Unknown) | None => None,
        }
    }
}
