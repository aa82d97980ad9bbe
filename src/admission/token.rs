//! Verifies one token: its form, its key, its signature, and only then its claims.
//!
//! The relevant rules of RFC 8725: the key and not the token chooses the algorithm; `none` and
//! `crit` are rejected; keys in a header (`jwk`, `jku`, `x5u`) are ignored; claims are read only
//! after the signature. A member with a meaning must not be repeated.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::keys::{Algorithm, Key, KeySet, decode};
use super::pass::{Denied, Pass};
use crate::limits::{
    ADMISSION_EDDSA_COST_US, ADMISSION_HS256_COST_US, ADMISSION_LEEWAY_MS, ADMISSION_SALES_MAX,
    ADMISSION_TOKEN_BYTES_MAX, QUANTITY_MAX, TIME_MS_MAX,
};
use crate::sale::{SaleId, User};

/// The requirements for tokens: signed by one of these keys, for this audience.
#[derive(Debug, PartialEq, Eq)]
pub struct Admission {
    /// The keys.
    pub keys: KeySet,
    /// The name of this service, which `aud` must have.
    pub audience: Box<str>,
}

impl Algorithm {
    /// Approximate cost of a verification, in microseconds.
    fn cost_us(self) -> u32 {
        match self {
            Self::Hs256 => ADMISSION_HS256_COST_US,
            Self::EdDsa => ADMISSION_EDDSA_COST_US,
        }
    }
}

/// A parsed token whose key was found, and whose signature is not verified yet.
pub struct Checked<'a> {
    /// The header as it was sent, and the position of the key that it names.
    header: (&'a str, usize),
    key: &'a Key,
    /// The signed part: header and claims with the dot between them.
    signed: &'a [u8],
    claims: &'a str,
    signature: Vec<u8>,
    audience: &'a str,
}

#[derive(Deserialize)]
struct HeaderJson<'a> {
    #[serde(borrow)]
    alg: Option<Text<'a>>,
    #[serde(borrow)]
    kid: Option<Text<'a>>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

/// The header of a verified token, and the position of the key that it names. All tokens of a shop
/// have the same header, which then need not be decoded and parsed for each.
#[derive(Debug, Default)]
pub struct KnownHeader(Option<(Box<str>, usize)>);

impl KnownHeader {
    fn key(&self, header: &str) -> Option<usize> {
        self.0.as_ref().filter(|(known, _)| **known == *header).map(|(_, key)| *key)
    }

    /// Keeps the header of a verified token, so a forged token can't replace it.
    pub fn keep(&mut self, verified: &Checked<'_>) {
        let (header, key) = verified.header;
        if self.key(header).is_none() {
            self.0 = Some((header.into(), key));
        }
    }
}

/// Parses a JSON object. The library would also accept an array of its values. `None`: it is not an
/// object, or has wrong values.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    // Validates UTF-8 once for all strings.
    let text = str::from_utf8(json).ok()?;
    let is_object = text.trim_ascii_start().starts_with('{');
    if is_object { serde_json::from_str(text).ok() } else { None }
}

/// Whether a member is there, whatever its value.
fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A string, borrowed if no character of it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct ClaimsJson {
    sub: Option<String>,
    aud: Option<Several>,
    exp: Option<Time>,
    nbf: Option<Time>,
    sales: Option<Several>,
    max: Option<u32>,
}

const FORM: &str = "it must be header, claims and signature in base64url, with dots between them";

impl Admission {
    /// Parses a token and finds its key. The signature is not verified, so its claims must not be
    /// used. `known`: the header of a token that was verified with these keys.
    ///
    /// # Errors
    /// It can't be parsed, or its key is unknown.
    pub fn read<'a>(&'a self, token: &'a [u8], known: &KnownHeader) -> Result<Checked<'a>, Denied> {
        if token.len() > ADMISSION_TOKEN_BYTES_MAX {
            return Err(Denied::Malformed("it is longer than 3072 bytes"));
        }
        let text = str::from_utf8(token).map_err(|_| Denied::Malformed(FORM))?;
        let (signed, signature) = text.rsplit_once('.').ok_or(Denied::Malformed(FORM))?;
        let (header, claims) = signed.split_once('.').ok_or(Denied::Malformed(FORM))?;
        if claims.contains('.') || claims.is_empty() {
            return Err(Denied::Malformed(FORM));
        }
        let position = match known.key(header) {
            Some(position) => position,
            None => self.key_named(header)?,
        };
        let key = self.keys.at(position).ok_or(Denied::UnknownKey)?;
        let signature = decode(signature).ok_or(Denied::Malformed(FORM))?;
        let (signed, audience) = (signed.as_bytes(), &*self.audience);
        Ok(Checked { header: (header, position), key, signed, claims, signature, audience })
    }

    /// The position of the key that a header names.
    fn key_named(&self, header: &str) -> Result<usize, Denied> {
        let header = decode(header).ok_or(Denied::Malformed(FORM))?;
        let header: HeaderJson<'_> = object(&header)
            .ok_or(Denied::Malformed("its header is no JSON object, or has a member twice"))?;
        if header.crit {
            return Err(Denied::Malformed("its header asks for extensions (crit)"));
        }
        let algorithm = header.alg.ok_or(Denied::Malformed("its header has no alg"))?;
        let algorithm = Algorithm::named(&algorithm.0).ok_or(Denied::Algorithm)?;
        let kid = header.kid.ok_or(Denied::UnknownKey)?;
        let position = self.keys.position(&kid.0).ok_or(Denied::UnknownKey)?;
        match self.keys.at(position) {
            Some(key) if key.algorithm() == algorithm => Ok(position),
            Some(_) => Err(Denied::Algorithm),
            None => Err(Denied::UnknownKey),
        }
    }

    /// Parses and verifies a token at this time, in ms since 1970.
    ///
    /// # Errors
    /// The reason why it is denied.
    pub fn check(&self, token: &[u8], now_ms: u64) -> Result<Pass, Denied> {
        let pass = self.read(token, &KnownHeader::default())?.verify()?;
        pass.check_time(now_ms)?;
        Ok(pass)
    }
}

impl Checked<'_> {
    /// Approximate cost of verifying its signature, in microseconds.
    pub fn cost_us(&self) -> u32 {
        self.key.algorithm().cost_us()
    }

    /// Verifies the signature and the claims, except the time.
    ///
    /// # Errors
    /// The signature is wrong, a required claim is missing, or the audience is another one.
    pub fn verify(&self) -> Result<Pass, Denied> {
        if !self.key.verifies(self.signed, &self.signature) {
            return Err(Denied::Signature);
        }
        let claims = decode(self.claims).ok_or(Denied::Malformed(FORM))?;
        let claims: ClaimsJson = object(&claims).ok_or(Denied::Malformed(
            "its claims are no JSON object, or one stands there twice or has another type",
        ))?;
        claims.check_claims(self.audience)
    }
}

impl ClaimsJson {
    fn check_claims(self, audience: &str) -> Result<Pass, Denied> {
        let user = self.sub.ok_or(Denied::Malformed("it has no sub, the user"))?;
        let user = User::new(&user).map_err(|_| {
            Denied::Malformed("its sub must be 1 to 128 bytes without control characters")
        })?;
        let until = self.exp.ok_or(Denied::Malformed("it has no exp, its end"))?;
        let sales = self.sales.ok_or(Denied::Malformed("it has no sales, their ids"))?.0;
        if sales.iter().any(|sale| SaleId::new(sale).is_err()) {
            return Err(Denied::Malformed("its sales must be ids of sales"));
        }
        if self.max.is_some_and(|max| !(1..=QUANTITY_MAX).contains(&max)) {
            return Err(Denied::Malformed("its max must be 1 to 1000000 units"));
        }
        let audiences = self.aud.map(|several| several.0).unwrap_or_default();
        if !audiences.iter().any(|named| **named == *audience) {
            return Err(Denied::Audience);
        }
        Ok(Pass {
            user,
            sales,
            max: self.max,
            from_ms: self.nbf.map_or(0, |time| time.0.saturating_sub(ADMISSION_LEEWAY_MS)),
            until_ms: until.0.saturating_add(ADMISSION_LEEWAY_MS),
        })
    }
}

/// A time (NumericDate, RFC 7519, section 2), in ms since 1970.
struct Time(u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        // NaN is not in any range.
        let ms = seconds * 1000.0;
        if !(0.0..=TIME_MS_MAX as f64).contains(&ms) {
            return Err(serde::de::Error::custom("not a time"));
        }
        Ok(Self(ms as u64))
    }
}

/// One string, or a list of a few.
struct Several(Box<[Box<str>]>);

impl<'de> Deserialize<'de> for Several {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeveralVisitor)
    }
}

struct SeveralVisitor;

impl<'de> Visitor<'de> for SeveralVisitor {
    type Value = Several;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E>(self, text: &str) -> Result<Several, E> {
        Ok(Several(Box::new([text.into()])))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Several, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<Box<str>>()? {
            if texts.len() == ADMISSION_SALES_MAX {
                return Err(serde::de::Error::custom("too many"));
            }
            texts.push(text);
        }
        if texts.is_empty() {
            return Err(serde::de::Error::custom("none"));
        }
        Ok(Several(texts.into()))
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
