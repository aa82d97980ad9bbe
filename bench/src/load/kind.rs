//! What an answer says, as one small number: the index of a counter.

use stampede::code::Code;
use stampede::engine::http::Kind as Refusal;

use crate::error::{Result, fail};

/// A kind of answer that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(u8);

const OWN: usize = 9;

/// What a server may say of the request itself.
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

/// How many kinds there are.
pub const KINDS: usize = OWN + Code::ALL.len() + HTTP.len();

impl Kind {
    /// A ticket was granted.
    pub const GRANTED: Self = Self(0);
    /// TechEmpower's plaintext.
    pub const PLAINTEXT: Self = Self(1);
    /// TechEmpower's JSON.
    pub const JSON: Self = Self(2);
    /// HttpArena's sum of the query.
    pub const SUM: Self = Self(5);
    /// The same with what was posted.
    pub const SUM_WITH_BODY: Self = Self(6);
    /// HttpArena's `ok`.
    pub const OK: Self = Self(7);
    /// A reservation that this user and key had already.
    pub const REPEATED: Self = Self(8);
    /// 429 with a body that is not ours: a proxy's rate limit.
    pub const HTTP_429: Self = Self(3);
    /// 503 with a body that is not ours: a proxy or a peer that has enough.
    pub const HTTP_503: Self = Self(4);

    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..KINDS as u8).map(Self)
    }

    /// The kind of a refusal by its number, as `/buy/ticket` has it: -1 is sold out.
    pub fn of_number(number: i8) -> Option<Self> {
        Self::of_code(|code| code.buy().is_some_and(|answer| answer.code == number))
    }

    /// The kind of a refusal by its name, as a problem has it: `sold_out`. `None` also if the problem
    /// has another status than its name.
    pub fn of_name(name: &[u8], status: u16) -> Option<Self> {
        let is =
            |refusal: &Refusal| refusal.code.as_bytes() == name && refusal.status.code() == status;
        let http = HTTP.iter().position(|refusal| is(refusal));
        let http = http.map(|at| Self((OWN + Code::ALL.len() + at) as u8));
        http.or_else(|| Self::of_code(|code| is(code.kind())))
    }

    fn of_code(is: impl Fn(&Code) -> bool) -> Option<Self> {
        Code::ALL.iter().position(is).map(|at| Self((OWN + at) as u8))
    }

    /// Its name in settings and in every table.
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
        let codes = Code::ALL.iter().map(|code| code.kind().code);
        let mut names = own.into_iter().chain(codes).chain(HTTP.iter().map(|refusal| refusal.code));
        names.nth(self.index()).expect("a kind has a name")
    }

    /// Its counter.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The sale said no, in whatever words.
    pub fn is_refusal(self) -> bool {
        let texts = [Self::PLAINTEXT, Self::JSON, Self::SUM, Self::SUM_WITH_BODY, Self::OK];
        !matches!(self, Self::GRANTED | Self::REPEATED) && !texts.contains(&self)
    }
}

/// The kinds that a run may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected(u64);

const _: () = assert!(KINDS <= 64, "a bit for each kind");

impl Expected {
    /// `any`, or names of kinds with commas between them.
    pub fn read(text: &str) -> Result<Self> {
        if text == "any" {
            return Ok(Self(u64::MAX));
        }
        let mut kinds = 0;
        for name in text.split(',') {
            let Some(kind) = Kind::all().find(|kind| kind.name() == name) else {
                let names: Vec<_> = Kind::all().map(Kind::name).collect();
                return fail(format!(
                    "--expect {name}: no such answer; there are any, {}",
                    names.join(", ")
                ));
            };
            kinds |= 1 << kind.index();
        }
        Ok(Self(kinds))
    }

    /// Whether this kind is among them.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind.index() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_and_are_found_by_them() {
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
