//! The answers to buyers: one table from a stable code to a status, a sentence, `Retry-After`, and
//! the number and message of `/buy/ticket`.

pub mod control;

use crate::engine::http::{Kind, Problem, Remedy, Status};

/// A stable code that clients match on. In snake case on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Each one is said in words in `row`.
pub enum ErrorCode {
    SoldOut,
    LimitReached,
    NotOpen,
    Closed,
    Busy,
    Unavailable,
    Unknown,
    AllowanceExhausted,
    Invalid,
    NotFound,
    UserRequired,
    KeyReused,
    RateLimited,
    Expired,
    AlreadyConfirmed,
    AlreadyCancelled,
    AlreadyRefunded,
    ReservationsExhausted,
    ExtensionLimitReached,
    RemainingTooLarge,
    ConfirmNotPublic,
    ShopOnly,
    UserNotTrusted,
    TokenMissing,
    TokenMalformed,
    TokenAlgorithm,
    TokenUnknownKey,
    TokenSignature,
    TokenExpired,
    TokenNotYetValid,
    TokenAudience,
    TokenSale,
    TokenMax,
    Internal,
}

/// The answer of `/buy/ticket` for an [`ErrorCode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuyAnswer {
    /// The member `code`: negative; 1 is a grant.
    pub code: i8,
    /// The HTTP status. Sold out is 200, as in the article; the rest is as for a problem.
    pub status: Status,
    /// The member `msg`. No character of it needs an escape in JSON.
    pub msg: &'static str,
}

/// A code as a problem, and the answer of `/buy/ticket`.
struct Row {
    kind: &'static Kind,
    buy: Option<BuyAnswer>,
}

/// A kind of problem for buyers.
macro_rules! kind {
    ($code:literal, $status:ident, $detail:literal $(, $retry_after_s:literal s)?) => {{
        const KIND: &Kind =
            &Kind::new($code, Status::$status, $detail)$(.retry_after_s($retry_after_s))?;
        KIND
    }};
}

const fn row(kind: &'static Kind) -> Row {
    Row { kind, buy: None }
}

impl Row {
    const fn buy(mut self, code: i8, msg: &'static str) -> Self {
        self.buy = Some(BuyAnswer { code, status: self.kind.status, msg });
        self
    }

    const fn buy_ok(mut self, code: i8, msg: &'static str) -> Self {
        self.buy = Some(BuyAnswer { code, status: Status::Ok, msg });
        self
    }
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 34] = [
        Self::SoldOut,
        Self::LimitReached,
        Self::NotOpen,
        Self::Closed,
        Self::Busy,
        Self::Unavailable,
        Self::Unknown,
        Self::AllowanceExhausted,
        Self::Invalid,
        Self::NotFound,
        Self::UserRequired,
        Self::KeyReused,
        Self::RateLimited,
        Self::Expired,
        Self::AlreadyConfirmed,
        Self::AlreadyCancelled,
        Self::AlreadyRefunded,
        Self::ReservationsExhausted,
        Self::ExtensionLimitReached,
        Self::RemainingTooLarge,
        Self::ConfirmNotPublic,
        Self::ShopOnly,
        Self::UserNotTrusted,
        Self::TokenMissing,
        Self::TokenMalformed,
        Self::TokenAlgorithm,
        Self::TokenUnknownKey,
        Self::TokenSignature,
        Self::TokenExpired,
        Self::TokenNotYetValid,
        Self::TokenAudience,
        Self::TokenSale,
        Self::TokenMax,
        Self::Internal,
    ];

    #[rustfmt::skip]
    const fn row(self) -> Row {
        match self {
            Self::SoldOut => row(kind!("sold_out", Conflict, "The sale has fewer units left than were requested."))
                .buy_ok(-1, "已售罄"),
            Self::LimitReached => row(kind!("limit_reached", Conflict, "The user would have more units than the sale allows per user."))
                .buy(-2, "超过每人限购数量"),
            Self::NotOpen => row(kind!("not_open", Conflict, "The sale is not open yet."))
                .buy(-3, "尚未开售"),
            Self::Closed => row(kind!("closed", Gone, "The sale is over."))
                .buy(-4, "已停售"),
            Self::Busy => row(kind!("busy", ServiceUnavailable, "Too many purchases are waiting; nothing was reserved.", 1 s))
                .buy(-5, "排队人数过多，请稍后再试"),
            Self::Unavailable => row(kind!("unavailable", ServiceUnavailable, "The ledger is unreachable; nothing was reserved.", 1 s))
                .buy(-6, "服务暂不可用，请稍后再试"),
            Self::Unknown => row(kind!("unknown", ServiceUnavailable, "The ledger did not answer in time; repeat the request with the same Idempotency-Key to learn the outcome.", 1 s))
                .buy(-7, "结果未知，请用同一幂等键重试"),
            Self::AllowanceExhausted => row(kind!("allowance_exhausted", ServiceUnavailable, "This instance has used up its own allowance; another may still sell.", 1 s))
                .buy(-8, "本节点名额已用完，请重试"),
            Self::Invalid => row(Kind::INVALID)
                .buy(-9, "请求参数无效"),
            Self::NotFound => row(Kind::NOT_FOUND)
                .buy(-10, "没有此活动"),
            Self::UserRequired => row(kind!("user_required", UnprocessableContent, "The sale has a limit or a bound per user, so the request must name the user."))
                .buy(-11, "请提供用户标识"),
            Self::KeyReused => row(kind!("key_reused", UnprocessableContent, "The Idempotency-Key was used for another request; nothing was reserved."))
                .buy(-17, "幂等键已用于另一请求"),
            Self::RateLimited => row(kind!("rate_limited", TooManyRequests, "Too many requests.", 1 s))
                .buy(-12, "请求过于频繁，请稍后再试"),
            Self::Expired => row(kind!("expired", Conflict, "The reservation's hold time is over."))
                .buy(-13, "预订已过期"),
            Self::AlreadyConfirmed => row(kind!("already_confirmed", Conflict, "The reservation is confirmed already."))
                .buy(-14, "预订已确认"),
            Self::AlreadyCancelled => row(kind!("already_cancelled", Conflict, "The reservation is cancelled already."))
                .buy(-15, "预订已取消"),
            Self::AlreadyRefunded => row(kind!("already_refunded", Conflict, "The reservation is refunded already."))
                .buy(-16, "预订已退款"),
            Self::ReservationsExhausted => row(kind!("reservations_exhausted", Conflict, "The sale has reached its maximum number of reservations, cancelled and expired ones included."))
                .buy(-19, "预订次数已用完"),
            Self::ExtensionLimitReached => row(kind!("extension_limit_reached", Conflict, "The reservation would be held for longer than the sale allows; nothing changed.")),
            Self::RemainingTooLarge => row(kind!("remaining_too_large", Conflict, "The reservation has fewer units than would remain; nothing changed.")),
            Self::ConfirmNotPublic => row(kind!("confirm_not_public", Forbidden, "Only the shop can confirm, with its token or at the control port; --public-confirm lets buyers confirm at this port, for demonstrations.")),
            Self::ShopOnly => row(kind!("shop_only", Unauthorized, "Only the shop can make this request, with its token.")),
            Self::UserNotTrusted => row(kind!("user_not_trusted", Forbidden, "The request names a user, but only trusted proxies, the shop or a token can name users.")).buy(-18, "用户身份不可信"),
            Self::TokenMissing => row(kind!("token_missing", Unauthorized, "The request needs a token: Authorization: Bearer TOKEN."))
                .buy(-20, "缺少购票令牌"),
            Self::TokenMalformed => row(kind!("token_malformed", Unauthorized, "The token is malformed."))
                .buy(-21, "购票令牌格式错误"),
            Self::TokenAlgorithm => row(kind!("token_algorithm", Unauthorized, "The token's algorithm is not that of its key."))
                .buy(-22, "购票令牌签名算法不符"),
            Self::TokenUnknownKey => row(kind!("token_unknown_key", Unauthorized, "The token's key (kid) is unknown."))
                .buy(-23, "购票令牌密钥未知"),
            Self::TokenSignature => row(kind!("token_signature", Unauthorized, "The token's signature is not valid."))
                .buy(-24, "购票令牌签名无效"),
            Self::TokenExpired => row(kind!("token_expired", Unauthorized, "The token has expired (exp)."))
                .buy(-25, "购票令牌已过期"),
            Self::TokenNotYetValid => row(kind!("token_not_yet_valid", Unauthorized, "The token is not valid yet (nbf)."))
                .buy(-26, "购票令牌尚未生效"),
            Self::TokenAudience => row(kind!("token_audience", Unauthorized, "The token is for another service (aud)."))
                .buy(-27, "购票令牌受众不符"),
            Self::TokenSale => row(kind!("token_sale", Forbidden, "The token is not for this sale."))
                .buy(-28, "购票令牌不适用于此活动"),
            Self::TokenMax => row(kind!("token_max", Forbidden, "The token is for fewer units."))
                .buy(-29, "超过购票令牌允许的数量"),
            Self::Internal => row(Kind::INTERNAL),
        }
    }

    /// The kind of problem.
    pub const fn kind(self) -> &'static Kind {
        self.row().kind
    }

    /// The problem with its own sentence and its `WWW-Authenticate`.
    pub fn problem(self) -> Problem {
        let problem = Problem::of(self);
        match self.challenge() {
            Some(challenge) => problem.with_remedy(Remedy::Authenticate(challenge)),
            None => problem,
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750, section 3), if the code is about a token.
    pub const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::TokenMissing | Self::ShopOnly => Some("Bearer"),
            Self::TokenMalformed
            | Self::TokenAlgorithm
            | Self::TokenUnknownKey
            | Self::TokenSignature
            | Self::TokenExpired
            | Self::TokenNotYetValid
            | Self::TokenAudience => Some("Bearer error=\"invalid_token\""),
            Self::TokenSale | Self::TokenMax => Some("Bearer error=\"insufficient_scope\""),
            _ => None,
        }
    }

    /// The answer of `/buy/ticket`. `None`: it has none and answers with the problem.
    pub const fn buy(self) -> Option<BuyAnswer> {
        self.row().buy
    }
}

impl From<ErrorCode> for &'static Kind {
    fn from(code: ErrorCode) -> Self {
        code.kind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_is_consistent() {
        let names: HashSet<_> = ErrorCode::ALL.iter().map(|code| code.kind().code).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len(), "each code has a name of its own");
        let buy: Vec<_> = ErrorCode::ALL.iter().filter_map(|code| code.buy()).collect();
        let codes: HashSet<_> = buy.iter().map(|answer| answer.code).collect();
        assert_eq!(codes.len(), buy.len(), "each code has a number of its own");
        assert!(codes.iter().all(|code| *code < 0));
        for answer in buy {
            assert!(!answer.msg.contains(['"', '\\']) && !answer.msg.contains(char::is_control));
        }
        for code in ErrorCode::ALL {
            let come_back = matches!(code.kind().status.code(), 429 | 503);
            assert_eq!(code.kind().retry_after_s.is_some(), come_back, "{code:?}");
            let challenges = code.kind().status == Status::Unauthorized;
            assert!(!challenges || code.challenge().is_some(), "{code:?}");
        }
    }

    #[test]
    fn statuses_are_as_documented() {
        for (code, status) in [
            (ErrorCode::SoldOut, 409),
            (ErrorCode::LimitReached, 409),
            (ErrorCode::NotOpen, 409),
            (ErrorCode::Expired, 409),
            (ErrorCode::AlreadyConfirmed, 409),
            (ErrorCode::AlreadyCancelled, 409),
            (ErrorCode::AlreadyRefunded, 409),
            (ErrorCode::ReservationsExhausted, 409),
            (ErrorCode::ExtensionLimitReached, 409),
            (ErrorCode::RemainingTooLarge, 409),
            (ErrorCode::Closed, 410),
            (ErrorCode::ConfirmNotPublic, 403),
            (ErrorCode::Invalid, 422),
            (ErrorCode::UserRequired, 422),
            (ErrorCode::KeyReused, 422),
            (ErrorCode::RateLimited, 429),
            (ErrorCode::AllowanceExhausted, 503),
        ] {
            assert_eq!(code.kind().status.code(), status, "{code:?}");
        }
        assert_eq!(ErrorCode::SoldOut.buy().unwrap().status, Status::Ok);
        assert_eq!(ErrorCode::LimitReached.buy().unwrap().status.code(), 409);
        assert_eq!(ErrorCode::Closed.buy().unwrap().status.code(), 410);
    }
}
