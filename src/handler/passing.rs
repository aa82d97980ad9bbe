//! Who may pass to a purchase, where limits or admission stand before it.
//!
//! The order: the address first, which costs least. Then, without an idempotency key, what the core
//! knows: a sale that is sold out is so for everybody, and no signature is checked for it. Then the
//! token, and only then anything that it says, that the request asks, or that the sale is. So what is
//! answered to a forged token does not depend on what exists. The user's limit comes last.
//!
//! The shop, with its own token, needs no other one, and its address is not limited: it asks for many.

use std::rc::Rc;

use crate::admission::{Denied, Pass, Visitor};
use crate::code::Code;
use crate::engine::addresses::Address;
use crate::engine::core::Core;
use crate::engine::gate::Token;
use crate::engine::http::{Bearer, Head, Problem};
use crate::engine::origin::Origin;
use crate::ledger::batch::Asker;
use crate::limiter::Limited;
use crate::route::{Misnamed, Namer, USER_FIELD, USER_HEADER, buyer, user_not_trusted};
use crate::sale::User;
use crate::trust::Trust;
use crate::turnstile::Turnstile;

/// Why a request does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Its address or its user comes too soon.
    TooSoon(Limited),
    /// Its token admits nobody to that.
    Denied(Denied),
}

impl From<Limited> for Stopped {
    fn from(limited: Limited) -> Self {
        Self::TooSoon(limited)
    }
}

impl From<Denied> for Stopped {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl Stopped {
    /// What it is told by.
    pub fn code(self) -> Code {
        match self {
            Self::TooSoon(_) => Code::RateLimited,
            Self::Denied(denied) => match denied {
                Denied::Missing => Code::TokenMissing,
                Denied::Malformed(_) => Code::TokenMalformed,
                Denied::Algorithm => Code::TokenAlgorithm,
                Denied::UnknownKey => Code::TokenUnknownKey,
                Denied::Signature => Code::TokenSignature,
                Denied::Expired => Code::TokenExpired,
                Denied::NotYetValid => Code::TokenNotYetValid,
                Denied::Audience => Code::TokenAudience,
                Denied::Sale => Code::TokenSale,
                Denied::Max { .. } => Code::TokenMax,
                Denied::Busy => Code::Busy,
            },
        }
    }

    /// When to come back, if that is not what the code says.
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::TooSoon(limited) => Some(limited.retry_after_s),
            Self::Denied(_) => None,
        }
    }

    /// The problem that says so.
    pub fn problem(self) -> Problem {
        let problem = self.code().problem();
        match self {
            Self::TooSoon(Limited { retry_after_s }) => {
                Problem { retry_after_s: Some(retry_after_s), ..problem }
            }
            Self::Denied(Denied::Malformed(why)) => {
                Problem { detail: format!("The token can't be used: {why}.").into(), ..problem }
            }
            Self::Denied(Denied::Max { max }) => problem.with("max", max),
            Self::Denied(Denied::Busy) => {
                let detail = "Too many tokens are to be checked; nothing was done.";
                Problem { detail: detail.into(), ..problem }
            }
            Self::Denied(_) => problem,
        }
    }
}

/// A request that wants to pass.
pub struct Passing<'a, 'b> {
    turnstile: &'a Turnstile,
    trust: &'a Trust,
    head: &'a Head<'b>,
    origin: Origin,
    /// What the request shows of itself, if that can matter.
    shown: Bearer<'b>,
    is_shop: bool,
    /// The core's clock and the time of day, in ms.
    now_ms: u64,
    wall_ms: u64,
}

impl<'a, 'b> Passing<'a, 'b> {
    /// The request with this head, on the connection of this asker.
    pub fn of(
        core: &Core,
        asker: Asker,
        head: &'a Head<'b>,
        turnstile: &'a Turnstile,
        trust: &'a Trust,
    ) -> Self {
        let origin = core.origin(Token::from_number(asker.0));
        // The header is looked for once, and only where somebody asks for it.
        let matters = trust.has_shop() || turnstile.has_admission();
        let shown = if matters { head.bearer() } else { Bearer::None };
        let is_shop = trust.shop_token(shown).is_some();
        let (now_ms, wall_ms) = (core.clock.now_ms(), core.clock.wall_ms());
        Self { turnstile, trust, head, origin, shown, is_shop, now_ms, wall_ms }
    }

    fn address(&self) -> Option<Address> {
        match self.origin {
            Origin::Client(address) => Some(address),
            Origin::Proxy => self.trust.client_address(self.head, self.origin).map(Address::of),
            Origin::Gone => None,
        }
    }

    /// Whether a purchase may come from there.
    pub fn pass_address(&self) -> Result<(), Stopped> {
        if !self.is_shop
            && let Some(address) = self.address()
        {
            self.turnstile.pass_address(address, self.now_ms)?;
        }
        Ok(())
    }

    /// Whether its user may buy once more.
    pub fn pass_user(&self, user: Option<&User>) -> Result<(), Stopped> {
        if let Some(user) = user {
            self.turnstile.pass_user(user, self.now_ms)?;
        }
        Ok(())
    }

    /// Whether it needs a token of admission.
    pub fn needs_token(&self) -> bool {
        !self.is_shop && self.turnstile.has_admission()
    }

    /// Whom its token admits to this sale. `None`: it needs none.
    pub fn admit(&self, sale: &str) -> Result<Option<Rc<Pass>>, Stopped> {
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
        let visitor = Visitor { address, now_ms: self.wall_ms };
        Ok(self.turnstile.admit(token, visitor, |pass| pass.check_sale(sale))?)
    }

    /// Whether a pass is for so many units.
    pub fn check_quantity(&self, pass: &Pass, quantity: u32) -> Result<(), Stopped> {
        let checked = pass.check_quantity(quantity);
        Ok(checked.inspect_err(|denied| self.turnstile.note_denied(*denied))?)
    }

    /// Whose word counts for the user, where no token says who he is.
    pub fn namer(&self) -> Namer {
        self.trust.namer(|| self.is_shop, || self.origin)
    }

    /// Whether head and query name nobody but the user of a token. Who is trusted to name users and names
    /// another one contradicts it; who is not trusted is not believed.
    pub fn check_named(&self, user: &User) -> Result<(), Misnamed<'b>> {
        let named = buyer(self.head, Namer::ANYONE)?;
        if named.is_none_or(|named| named == user.as_str()) {
            return Ok(());
        }
        Err(match self.head.user {
            Some(_) if self.namer().header => Misnamed::Wrong(USER_HEADER.into()),
            Some(_) => Misnamed::NotTrusted(USER_HEADER),
            None => Misnamed::NotTrusted(USER_FIELD),
        })
    }

    /// The same of a request whose body names the user, if need be, as a problem.
    pub fn check_header(&self, user: &User) -> Result<(), Problem> {
        match self.head.user {
            Some(named) if named != user.as_str().as_bytes() => Err(match self.namer().header {
                true => Problem::invalid(USER_HEADER, "X-User-Id is not the user of the token"),
                false => user_not_trusted(USER_HEADER),
            }),
            _ => Ok(()),
        }
    }
}
