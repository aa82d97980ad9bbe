//! Whom a token admits to what, and why one admits nobody.

use crate::sale::User;

/// What a verified token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Who buys: `sub`.
    pub user: User,
    /// The ids of the sales that the user may buy from.
    pub sales: Box<[Box<str>]>,
    /// The most units of one reservation, if the token has a bound.
    pub max: Option<u32>,
    /// From when on it is good, in ms since 1970, with the leeway.
    pub from_ms: u64,
    /// Until when it is good, in ms since 1970, with the leeway.
    pub until_ms: u64,
}

impl Pass {
    /// Whether it is good at this time, in ms since 1970.
    ///
    /// # Errors
    /// It is too late, or too early.
    pub fn check_time(&self, now_ms: u64) -> Result<(), Denied> {
        if now_ms >= self.until_ms {
            return Err(Denied::Expired);
        }
        if now_ms < self.from_ms { Err(Denied::NotYetValid) } else { Ok(()) }
    }

    /// Whether it is for this sale.
    ///
    /// # Errors
    /// It is for others.
    pub fn check_sale(&self, sale: &str) -> Result<(), Denied> {
        self.sales.iter().any(|known| **known == *sale).then_some(()).ok_or(Denied::Sale)
    }

    /// Whether it is for so many units.
    ///
    /// # Errors
    /// They are too many.
    pub fn check_quantity(&self, quantity: u32) -> Result<(), Denied> {
        match self.max {
            Some(max) if quantity > max => Err(Denied::Max { max }),
            _ => Ok(()),
        }
    }
}

impl Denied {
    /// What each kind is called, as a code says it.
    pub const NAMES: [&'static str; 11] = [
        "token_missing",
        "token_malformed",
        "token_algorithm",
        "token_unknown_key",
        "token_signature",
        "token_expired",
        "token_not_yet_valid",
        "token_audience",
        "token_sale",
        "token_max",
        "busy",
    ];

    /// Which of the kinds it is.
    pub fn index(self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Malformed(_) => 1,
            Self::Algorithm => 2,
            Self::UnknownKey => 3,
            Self::Signature => 4,
            Self::Expired => 5,
            Self::NotYetValid => 6,
            Self::Audience => 7,
            Self::Sale => 8,
            Self::Max { .. } => 9,
            Self::Busy => 10,
        }
    }
}

/// Why a token admits nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is none.
    #[error("there is no token")]
    Missing,
    /// It is no JSON Web Token, or one that lacks what it must have.
    #[error("{0}")]
    Malformed(&'static str),
    /// It is signed in a way that is not taken, or not the key's own.
    #[error("the algorithm is not the key's own")]
    Algorithm,
    /// It names no key of ours.
    #[error("the key is not known")]
    UnknownKey,
    /// Its signature is not the key's.
    #[error("the signature is not the key's")]
    Signature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not begun.
    #[error("the token is not good yet")]
    NotYetValid,
    /// It is for another service.
    #[error("the token is for another audience")]
    Audience,
    /// It is for other sales.
    #[error("the token is for other sales")]
    Sale,
    /// It is for fewer units.
    #[error("the token is for at most {max} units")]
    Max {
        /// The most units of one reservation.
        max: u32,
    },
    /// The core has checked as many as it may; it is not known whether it is good.
    #[error("too many tokens are to be checked")]
    Busy,
}
