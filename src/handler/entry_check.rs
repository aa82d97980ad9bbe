//! The check before a purchase when rate limits or admission are set.
//!
//! The order: first the address, which costs least. Then, without an idempotency key, the core's
//! own knowledge: a sold-out sale is sold out for everybody, so no signature is verified for it.
//! Then the token. Its claims, the rest of the request and the sale come only after that, so the
//! answer to a forged token does not depend on what exists. The user's rate limit comes last.
//!
//! The shop, with its own token, needs no token of admission, and its address has no rate limit: it
//! asks for many buyers.

use std::rc::Rc;

use crate::admission::{Denied, Pass, VerifyContext};
use crate::code::ErrorCode;
use crate::engine::addresses::Address;
use crate::engine::core::Core;
use crate::engine::http::{Bearer, Head, Problem};
use crate::engine::peer::Peer;
use crate::engine::reactor::Token;
use crate::gatekeeper::Gatekeeper;
use crate::ledger::batch::WaiterId;
use crate::limiter::Limited;
use crate::route::{USER_FIELD, USER_HEADER, UserFieldError, UserSources, buyer, user_not_trusted};
use crate::sale::User;
use crate::trust::Trust;

/// Why a request does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryRefused {
    /// A rate limit, of its address or its user.
    TooSoon(Limited),
    /// Its token does not admit it.
    Denied(Denied),
}

impl From<Limited> for EntryRefused {
    fn from(limited: Limited) -> Self {
        Self::TooSoon(limited)
    }
}

impl From<Denied> for EntryRefused {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl EntryRefused {
    /// The code of the answer.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::TooSoon(_) => ErrorCode::RateLimited,
            Self::Denied(denied) => match denied {
                Denied::Missing => ErrorCode::TokenMissing,
                Denied::Malformed(_) => ErrorCode::TokenMalformed,
                Denied::Algorithm => ErrorCode::TokenAlgorithm,
                Denied::UnknownKey => ErrorCode::TokenUnknownKey,
                Denied::Signature => ErrorCode::TokenSignature,
                Denied::Expired => ErrorCode::TokenExpired,
                Denied::NotYetValid => ErrorCode::TokenNotYetValid,
                Denied::Audience => ErrorCode::TokenAudience,
                Denied::Sale => ErrorCode::TokenSale,
                Denied::Max { .. } => ErrorCode::TokenMax,
                Denied::Busy => ErrorCode::Busy,
            },
        }
    }

    /// `Retry-After`, if it is not that of the code.
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::TooSoon(limited) => Some(limited.retry_after_s),
            Self::Denied(_) => None,
        }
    }

    /// The problem of the answer.
    pub fn problem(self) -> Problem {
        let problem = self.code().problem();
        match self {
            Self::TooSoon(Limited { retry_after_s }) => {
                Problem { retry_after_s: Some(retry_after_s), ..problem }
            }
            Self::Denied(Denied::Malformed(why)) => {
                Problem { detail: format!("The token is malformed: {why}.").into(), ..problem }
            }
            Self::Denied(Denied::Max { max }) => problem.with("max", max),
            Self::Denied(Denied::Busy) => {
                let detail = "Too many tokens are waiting to be verified; nothing was done.";
                Problem { detail: detail.into(), ..problem }
            }
            Self::Denied(_) => problem,
        }
    }
}

/// A request that is being checked.
pub struct EntryCheck<'a, 'b> {
    gatekeeper: &'a Gatekeeper,
    trust: &'a Trust,
    head: &'a Head<'b>,
    peer: Peer,
    /// The credential of the request, if any setting needs it.
    shown: Bearer<'b>,
    is_shop: bool,
    /// The core's clock and the time of day, in ms.
    now_ms: u64,
    wall_ms: u64,
}

impl<'a, 'b> EntryCheck<'a, 'b> {
    /// The check of the request with this head, on the connection of this asker.
    pub fn of(
        core: &Core,
        asker: WaiterId,
        head: &'a Head<'b>,
        gatekeeper: &'a Gatekeeper,
        trust: &'a Trust,
    ) -> Self {
        let peer = core.peer(Token::from_number(asker.0));
        // The header is parsed once, and only if it is needed.
        let matters = trust.has_shop() || gatekeeper.has_admission();
        let shown = if matters { head.bearer() } else { Bearer::None };
        let is_shop = trust.shop_token(shown).is_some();
        let (now_ms, wall_ms) = (core.clock.now_ms(), core.clock.wall_ms());
        Self { gatekeeper, trust, head, peer, shown, is_shop, now_ms, wall_ms }
    }

    fn address(&self) -> Option<Address> {
        match self.peer {
            Peer::Client(address) => Some(address),
            Peer::Proxy => self.trust.client_address(self.head, self.peer).map(Address::of),
            Peer::Gone => None,
        }
    }

    /// Checks the rate limit of the client's address.
    pub fn check_address(&self) -> Result<(), EntryRefused> {
        if !self.is_shop
            && let Some(address) = self.address()
        {
            self.gatekeeper.check_address(address, self.now_ms)?;
        }
        Ok(())
    }

    /// Checks the rate limit of the user.
    pub fn check_user(&self, user: Option<&User>) -> Result<(), EntryRefused> {
        if let Some(user) = user {
            self.gatekeeper.check_user(user, self.now_ms)?;
        }
        Ok(())
    }

    /// Whether the request needs a token of admission.
    pub fn needs_token(&self) -> bool {
        !self.is_shop && self.gatekeeper.has_admission()
    }

    /// Verifies the token for this sale. `None`: the request needs none.
    pub fn admit(&self, sale: &str) -> Result<Option<Rc<Pass>>, EntryRefused> {
        if self.is_shop {
            return Ok(None);
        }
        let token = match self.shown {
            Bearer::Token(token) => Ok(token),
            Bearer::None => Err(Denied::Missing),
            Bearer::Unusable => {
                Err(Denied::Malformed("Authorization must be one `Bearer` and a token"))
            }
        };
        let address = self.address().map(Address::number);
        let context = VerifyContext { address, now_ms: self.wall_ms };
        Ok(self.gatekeeper.admit(token, context, |pass| pass.check_sale(sale))?)
    }

    /// Checks that a pass is for this number of units.
    pub fn check_quantity(&self, pass: &Pass, quantity: u32) -> Result<(), EntryRefused> {
        let checked = pass.check_quantity(quantity);
        Ok(checked.inspect_err(|denied| self.gatekeeper.note_denied(*denied))?)
    }

    /// Which sources may name the user, if no token does.
    pub fn user_sources(&self) -> UserSources {
        self.trust.user_sources(|| self.is_shop, || self.peer)
    }

    /// Checks that header and query name nobody but the user of the token. If a trusted source
    /// names another user, the two contradict each other; any other source is not trusted.
    pub fn check_named(&self, user: &User) -> Result<(), UserFieldError<'b>> {
        let named = buyer(self.head, UserSources::ANYONE)?;
        if named.is_none_or(|named| named == user.as_str()) {
            return Ok(());
        }
        Err(match self.head.user {
            Some(_) if self.user_sources().header => UserFieldError::Wrong(USER_HEADER.into()),
            Some(_) => UserFieldError::NotTrusted(USER_HEADER),
            None => UserFieldError::NotTrusted(USER_FIELD),
        })
    }

    /// The same for a request whose body names the user, as a problem.
    pub fn check_header(&self, user: &User) -> Result<(), Problem> {
        match self.head.user {
            Some(named) if named != user.as_str().as_bytes() => {
                Err(match self.user_sources().header {
                    true => Problem::invalid(USER_HEADER, "X-User-Id is not the user of the token"),
                    false => user_not_trusted(USER_HEADER),
                })
            }
            _ => Ok(()),
        }
    }
}
