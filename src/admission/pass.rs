//! What a token grants, and why one is denied.

use crate::sale::User;

/// What a verified token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The user: `sub`.
    pub user: User,
    /// The ids of the sales that the user may buy from.
    pub sales: Box<[Box<str>]>,
    /// Maximum number of units per reservation, if the token has one.
    pub max: Option<u32>,
    /// Start of validity, in ms since 1970, with the leeway.
    pub from_ms: u64,
    /// End of validity, in ms since 1970, with the leeway.
    pub until_ms: u64,
}

impl Pass {
    /// Checks the validity at this time, in ms since 1970.
    ///
    /// # Errors
    /// It has expired, or is not valid yet.
    pub fn check_time(&self, now_ms: u64) -> Result<(), Denied> {
        if now_ms >= self.until_ms {
            return Err(Denied::Expired);
        }
        if now_ms < self.from_ms { Err(Denied::NotYetValid) } else { Ok(()) }
    }

    /// Checks that the token is for this sale.
    ///
    /// # Errors
    /// It is for other sales.
    pub fn check_sale(&self, sale: &str) -> Result<(), Denied> {
        self.sales.iter().any(|known| **known == *sale).then_some(()).ok_or(Denied::Sale)
    }

    /// Checks that the token allows this number of units.
    ///
    /// # Errors
    /// It allows fewer.
    pub fn check_quantity(&self, quantity: u32) -> Result<(), Denied> {
        match self.max {
            Some(max) if quantity > max => Err(Denied::Max { max }),
            _ => Ok(()),
        }
    }
}

impl Denied {
    /// The names of the reasons, in snake case.
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

    /// The index of the reason.
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

/// Why a token is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no token.
    #[error("there is no token")]
    Missing,
    /// It is not a JSON Web Token, or lacks a required claim.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its algorithm is not accepted, or not that of the key.
    #[error("the algorithm is not the key's own")]
    Algorithm,
    /// It names an unknown key.
    #[error("the key is not known")]
    UnknownKey,
    /// Its signature is not valid.
    #[error("the signature is not the key's")]
    Signature,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not good yet")]
    NotYetValid,
    /// It has another audience.
    #[error("the token is for another audience")]
    Audience,
    /// It is for other sales.
    #[error("the token is for other sales")]
    Sale,
    /// It allows fewer units.
    #[error("the token is for at most {max} units")]
    Max {
        /// Maximum number of units per reservation.
        max: u32,
    },
    /// The core has verified as many tokens as it may in this tick; the token was not verified.
    #[error("too many tokens are to be checked")]
    Busy,
}
