//! The kind of an answer as a small number: the index of a counter.

use stampede::code::ErrorCode;
use stampede::engine::http::Kind as Refusal;

use crate::error::{Result, fail};

/// A known kind of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(u8);

const OWN: usize = 9;

/// Refusals of the request itself.
const HTTP: [&Refusal; 12] = [
    Refusal::BAD_REQUEST,
    Refusal::UNAUTHORIZED,
    Refusal::FORBIDDEN,
    Refusal::METHOD_NOT_ALLOWED,
    Refusal::REQUEST_TIMEOUT,
    Refusal::CONTENT_TOO_LARGE,
    Refusal::URI_TOO_LONG,
    Refusal::UNSUPPORTED_MEDIA_TYPE,
    Refusal::EXPECTATION_FAILED,
    Refusal::HEAD_TOO_LARGE,
    Refusal::NOT_IMPLEMENTED,
    Refusal::VERSION_NOT_SUPPORTED,
];

/// Number of kinds.
pub const KINDS: usize = OWN + ErrorCode::ALL.len() + HTTP.len();

impl Kind {
    /// A ticket was granted.
    pub const GRANTED: Self = Self(0);
    /// TechEmpower's plaintext.
    pub const PLAINTEXT: Self = Self(1);
    /// TechEmpower's JSON.
    pub const JSON: Self = Self(2);
    /// HttpArena's sum of the query.
    pub const SUM: Self = Self(5);
    /// HttpArena's sum of the query and the body.
    pub const SUM_WITH_BODY: Self = Self(6);
    /// HttpArena's `ok`.
    pub const OK: Self = Self(7);
    /// An earlier reservation of this user and key.
    pub const REPEATED: Self = Self(8);
    /// 429 with a foreign body: a proxy's rate limit.
    pub const HTTP_429: Self = Self(3);
    /// 503 with a foreign body: an overloaded proxy or peer.
    pub const HTTP_503: Self = Self(4);

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..KINDS as u8).map(Self)
    }

    /// The kind of a refusal by its number in `/buy/ticket`: -1 is sold out.
    pub fn of_number(number: i8) -> Option<Self> {
        Self::of_code(|code| code.buy().is_some_and(|answer| answer.code == number))
    }

    /// The kind of a refusal by its name in a problem, such as `sold_out`. `None` also if the status
    /// does not fit the name.
    pub fn of_name(name: &[u8], status: u16) -> Option<Self> {
        let is =
            |refusal: &Refusal| refusal.code.as_bytes() == name && refusal.status.code() == status;
        let http = HTTP.iter().position(|refusal| is(refusal));
        let http = http.map(|at| Self((OWN + ErrorCode::ALL.len() + at) as u8));
        http.or_else(|| Self::of_code(|code| is(code.kind())))
    }

    fn of_code(is: impl Fn(&ErrorCode) -> bool) -> Option<Self> {
        ErrorCode::ALL.iter().position(is).map(|at| Self((OWN + at) as u8))
    }

    /// The kind's name in settings and tables.
    pub fn name(self) -> &'static str {
        let own = [
            "granted",
            "plaintext",
            "json",
            "http_429",
            "http_503",
            "sum",
            "sum_with_body",
            "ok",
            "repeated",
        ];
        let codes = ErrorCode::ALL.iter().map(|code| code.kind().code);
        let mut names = own.into_iter().chain(codes).chain(HTTP.iter().map(|refusal| refusal.code));
        names.nth(self.index()).expect("a kind has a name")
    }

    /// Index of its counter.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Whether the sale refused, for any reason.
    pub fn is_refusal(self) -> bool {
        let texts = [Self::PLAINTEXT, Self::JSON, Self::SUM, Self::SUM_WITH_BODY, Self::OK];
        !matches!(self, Self::GRANTED | Self::REPEATED) && !texts.contains(&self)
    }
}

/// The expected kinds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected(u64);

const _: () = assert!(KINDS <= 64, "a bit for each kind");

impl Expected {
    /// Reads `any`, or names of kinds separated by commas.
    pub fn read(text: &str) -> Result<Self> {
        if text == "any" {
            return Ok(Self(u64::MAX));
        }
        let mut kinds = 0;
        for name in text.split(',') {
            let Some(kind) = Kind::all().find(|kind| kind.name() == name) else {
                let names: Vec<_> = Kind::all().map(Kind::name).collect();
                return fail(format!(
                    "--expect {name}: no such answer; the answers are any, {}",
                    names.join(", ")
                ));
            };
            kinds |= 1 << kind.index();
        }
        Ok(Self(kinds))
    }

    /// Whether the run expects this kind.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind.index() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_kinds_are_found_by_name_and_number() {
        let sold_out = Kind::of_number(-1).expect("a refusal");
        assert_eq!((sold_out.name(), sold_out.is_refusal()), ("sold_out", true));
        assert_eq!(Kind::of_name(b"sold_out", 409), Some(sold_out));
        assert_eq!(Kind::of_name(b"sold_out", 200), None);
        assert_eq!(
            (Kind::of_number(1), Kind::of_number(-99), Kind::of_name(b"x", 404)),
            (None, None, None)
        );
        let names: std::collections::HashSet<_> = Kind::all().map(Kind::name).collect();
        assert_eq!(names.len(), KINDS);

        let both = Expected::read("granted,sold_out").expect("two kinds");
        assert!(both.has(Kind::GRANTED) && both.has(sold_out) && !both.has(Kind::JSON));
        assert!(Kind::all().all(|kind| Expected::read("any").expect("all").has(kind)));
        assert!(Expected::read("granted,soldout").is_err());
    }
}
