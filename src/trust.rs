//! Which callers the public port trusts: the shop, sources that may name users, proxies that may
//! name the client's address, and web pages that may read answers.
//!
//! Without proxies and admission, any caller may name any user. With either, a user counts only if
//! a trusted source names it: a proxy of `--trusted-proxies` or at a Unix socket, in `X-User-Id`;
//! the shop, with its token; or a token of admission.

use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;

use crate::code::ErrorCode;
use crate::config::{Config, CorsSetting, ForwardedHeader, Token};
use crate::engine::http::{Bearer, Head, Kind, Problem, Remedy};
use crate::engine::peer::Peer;
use crate::reloadable::{Cached, Reloadable};
use crate::route::UserSources;
use crate::route::forwarded::{self, Hop};

/// The part that all cores share; it changes when settings are reloaded.
pub type SharedTrust = Reloadable<Trust>;
/// A core's copy.
pub type CoreTrust = Cached<Trust>;

/// See the module's header.
#[derive(Debug, Default)]
pub struct Trust {
    shop: Vec<Token>,
    /// Some source is trusted to name users, so no other source is.
    trusts_user_names: bool,
    proxies: Vec<IpNet>,
    /// Proxies forward connections below HTTP (PROXY protocol), so a connection is its client's.
    passed_on: bool,
    forwarded: ForwardedHeader,
    cors: CorsSetting,
}

impl Trust {
    /// With these settings.
    pub fn of(config: &Config) -> Self {
        Self {
            shop: config.shop_tokens.clone(),
            trusts_user_names: config.trusts_user_names(),
            proxies: config.trusted_proxies.clone(),
            passed_on: config.proxy_protocol,
            forwarded: config.forwarded_header,
            cors: config.cors.clone(),
        }
    }

    /// The value that lets the request's web page read the answer, if it may.
    pub fn allowed_origin(&self, head: &Head<'_>) -> Option<Rc<str>> {
        head.origin().and_then(|origin| self.cors.allowed(origin)).map(Rc::from)
    }

    /// The shop's name for the log, if the request has the shop's token. Otherwise an error: this
    /// code, or 401 if it has another credential.
    pub fn shop(&self, head: &Head<'_>, otherwise: ErrorCode) -> Result<String, Problem> {
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

    /// Whether the shop has a token.
    pub fn has_shop(&self) -> bool {
        !self.shop.is_empty()
    }

    /// Whether a request with this head comes from the shop.
    pub fn is_shop(&self, head: &Head<'_>) -> bool {
        self.has_shop() && self.shop_token(head.bearer()).is_some()
    }

    /// The shop's token that a request has, if any.
    pub fn shop_token(&self, shown: Bearer<'_>) -> Option<&Token> {
        let Bearer::Token(shown) = shown else { return None };
        Token::shown_of(&self.shop, shown)
    }

    /// Which sources may name the user of a request. The closures are called only if that is
    /// restricted.
    #[inline(always)]
    pub fn user_sources(
        &self,
        is_shop: impl FnOnce() -> bool,
        peer: impl FnOnce() -> Peer,
    ) -> UserSources {
        if !self.trusts_user_names || is_shop() {
            return UserSources::ANYONE;
        }
        UserSources { header: !self.passed_on && peer() == Peer::Proxy, client: false }
    }

    /// The client's address, if a trusted proxy names it.
    pub fn client_address(&self, head: &Head<'_>, peer: Peer) -> Option<IpAddr> {
        if self.passed_on || peer != Peer::Proxy {
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
